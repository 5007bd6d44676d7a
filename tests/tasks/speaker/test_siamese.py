"""Siamese pairs and their loss: balanced, stable, matched; and an encoder of either kind."""

from dataclasses import replace

import pytest
import torch

from engine.inputs import collate
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks.base import Batch, Setup
from tasks.data.clips import Clip
from tasks.speaker.siamese import Siamese, SiameseOptions, contrastive_loss, training_pairs
from tests.tasks.waves import make_clips, wave

CLIPS = (*make_clips("no", "train", speakers=6, clips_each=5), *make_clips("zh-CN", "train", speakers=4, clips_each=4))


def drawn(clips: tuple[Clip, ...] = CLIPS, seed: int = 1, epoch: int = 0, matched: bool = False) -> list:
    return [(e.clips[0].name, e.clips[1].name, e.label) for e in training_pairs(clips, seed, epoch, matched)]


@pytest.mark.parametrize("matched", [False, True])
def test_pairs_are_balanced_and_what_they_say(matched: bool) -> None:
    pairs = training_pairs(CLIPS, 1, 0, matched)
    assert len(pairs) == len(CLIPS)
    assert [pair.label for pair in pairs] == [True, False] * (len(CLIPS) // 2), "every batch is balanced"
    for pair in pairs:
        one, other = pair.clips
        assert one != other
        assert one.language == other.language
        assert (one.speaker == other.speaker) is pair.label
        assert one.gender == other.gender or not matched
    assert len({pair.clips[0] for pair in pairs}) == len(CLIPS), "every clip is the first side once"


def test_unmatched_pairs_cross_genders() -> None:
    assert any(e.clips[0].gender != e.clips[1].gender for e in training_pairs(CLIPS, 1, 0, False))


def test_pairs_are_a_function_of_clips_seed_and_epoch() -> None:
    assert drawn() == drawn(CLIPS[::-1])
    assert drawn() != drawn(seed=2)
    assert drawn() != drawn(epoch=1)


def test_a_language_has_the_same_pairs_in_every_mixture() -> None:
    own = [pair for pair in drawn() if pair[0].startswith("no-")]
    assert set(own) == set(drawn(CLIPS[:30]))


def test_a_clip_without_gender_is_in_no_matched_pair_of_two_speakers() -> None:
    clips = tuple(replace(clip, gender="" if n % 4 == 0 else clip.gender) for n, clip in enumerate(CLIPS))
    pairs = training_pairs(clips, 1, 0, True)
    assert {c.gender for pair in pairs if not pair.label for c in pair.clips} == {"female", "male"}
    assert sum(pair.label for pair in pairs) * 2 == len(pairs)


def test_clips_that_give_no_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="no pair of one speaker; needed: clips_per_speaker >= 2"):
        training_pairs(make_clips("no", "train", speakers=6, clips_each=1), 1, 0, False)
    with pytest.raises(UserError, match="no pair of two speakers"):
        training_pairs(make_clips("no", "train", speakers=1, clips_each=6), 1, 0, False)
    assert training_pairs((), 1, 0, False) == []


def test_contrastive_loss_by_hand() -> None:
    """Squares of the distance of one speaker, and of what is lacking to the margin of two."""
    found = contrastive_loss(torch.tensor([0.5, 0.5, 1.5]), torch.tensor([True, False, False]), 1.2)
    assert torch.allclose(found, torch.tensor([0.25, 0.49, 0.0]))


@pytest.mark.parametrize("backbone", ["none", "tiny"])
def test_either_encoder_gives_unit_embeddings_and_finite_gradients(backbone: str) -> None:
    task = Siamese(SiameseOptions(channels=16), Model(backbone=backbone))
    assert bool(task.weights_sha()) is (backbone == "tiny")
    network = task.network(Setup(Mixture.of({"no": 30}), CLIPS, 1))
    pairs = training_pairs(CLIPS, 1, 0, False)[:4]
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
