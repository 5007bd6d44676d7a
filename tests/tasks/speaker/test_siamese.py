"""The contrastive loss by hand, and an encoder of either kind."""

from dataclasses import replace

import pytest
import torch

from engine.inputs import collate
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks.base import Batch, Setup
from tasks.speaker.pairs import training_pairs
from tasks.speaker.siamese import Siamese, SiameseOptions, contrastive_loss
from tests.tasks.waves import make_clips, wave

CLIPS = (*make_clips("no", "train", speakers=6, clips_each=5), *make_clips("zh-CN", "train", speakers=4, clips_each=4))


def test_contrastive_loss_by_hand() -> None:
    """Squares of the distance of one speaker, and of what is lacking to the margin of two."""
    found = contrastive_loss(torch.tensor([0.5, 0.5, 1.5]), torch.tensor([True, False, False]), 1.2)
    assert torch.allclose(found, torch.tensor([0.25, 0.49, 0.0]))


@pytest.mark.parametrize("backbone", ["none", "tiny"])
def test_either_encoder_gives_unit_embeddings_and_finite_gradients(backbone: str) -> None:
    task = Siamese(SiameseOptions(channels=16), Model(backbone=backbone))
    assert bool(task.weights_sha()) is (backbone == "tiny")
    network = task.network(Setup(Mixture.of({"no": 30}), CLIPS, 1))
    pairs = training_pairs(CLIPS, 1, 0)[:4]
    twins = [replace(pair, clips=(pair.clips[0], pair.clips[0])) if pair.label else pair for pair in pairs]
    batch = collate([wave(clip) for pair in twins for clip in pair.clips])
    losses = task.loss(network, Batch(batch.values, batch.lengths, task.labels(network, twins)))
    losses.sum().backward()
    assert losses.shape == (4,)
    assert torch.allclose(losses[::2], torch.zeros(2), atol=1e-6), "a clip lies on itself"
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert torch.allclose(network.embed(batch).norm(dim=1), torch.ones(8))


@pytest.mark.parametrize(("table", "message"), [({"margin": 0.0}, "margin"), ({"channels": 0}, "channels")])
def test_options_that_cannot_be(table: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"{message} in \[options\] is 0"):
        SiameseOptions(**table)
