"""The zero-training baseline: nothing is trained, and nothing but the test set matters."""

import numpy as np
import torch

from engine.inputs import collate
from grids.grid import Model
from grids.mixture import Mixture
from tasks.base import Setup
from tasks.speaker.mhubert import SpeakerIdentification
from tasks.speaker.untrained import Untrained
from tests.tasks.waves import MadeWaves, make_clips

CLIPS = make_clips("no", "train")


def test_it_is_the_identification_system_without_training_whatever_the_mixture() -> None:
    batch, found = collate(MadeWaves().arrays(CLIPS[:4])), []
    for system in (Untrained, SpeakerIdentification):
        task = system(system.Options(), Model(backbone="tiny"))
        for clips in ((), CLIPS):
            network = task.network(Setup(Mixture(), clips, 1)).eval()
            with torch.no_grad():
                found.append(np.stack([output["embedding"] for output in task.outputs(network, batch)]))
            assert bool(task.examples(network, CLIPS, 1, 0)) == (system is SpeakerIdentification)
    assert all(np.array_equal(found[0], other) for other in found[1:])
