"""What the embedding of the mHuBERT system is made of."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from grids.grid import Model
from grids.mixture import Mixture
from tasks.base import Batch, Setup
from tasks.encoder import masked_mean
from tasks.speaker.mhubert import IdentificationOptions, SpeakerIdentification
from tests.tasks.waves import MadeWaves, make_clips


@pytest.mark.parametrize("layers", [1, 2])
def test_an_embedding_is_of_the_last_layers_and_of_length_1(layers: int) -> None:
    clips = make_clips("no", "test", speakers=2, clips_each=1)
    task = SpeakerIdentification(IdentificationOptions(layers=layers), Model(backbone="tiny"))
    network = task.network(Setup(Mixture(), clips, 0)).eval()
    waves = [torch.from_numpy(wave) for wave in MadeWaves().arrays(clips)]
    batch = Batch(torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor([len(w) for w in waves]))
    with torch.no_grad():
        frames = network.encoder(batch.values, batch.lengths, states=None)
        found = np.stack([output["embedding"] for output in task.outputs(network, batch)])
    hidden = sum(frames.hidden[-1 - k] for k in range(layers)) / layers
    expected = functional.normalize(masked_mean(torch.as_tensor(hidden), frames.mask), dim=1)
    assert np.allclose(found, expected.numpy(), rtol=0, atol=1e-5)
