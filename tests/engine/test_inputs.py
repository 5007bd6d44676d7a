"""Inputs: a clip that has no frozen output ends the trial with its name, what is damaged is never used; lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.inputs import CheckedWaves, FrozenOutputs, Waves, rung
from grids.errors import UserError
from grids.grid import Data
from tasks.base import Batch, Frozen
from tasks.data.clips import Clip
from tasks.data.prepare import prepare
from tasks.data.store import AUDIO, language_place, open_language
from tests.tasks.data.hostile import plain_release
from tests.tasks.waves import MadeWaves, make_clips

CPU = torch.device("cpu")
CLIPS = make_clips("no", "train", speakers=2, clips_each=4)


class Part:
    """A frozen part that remembers its batches and fails on batches of more than `most` clips, or on one clip."""

    def __init__(self, most: int = 100, bad: Clip | None = None, value: float | None = None) -> None:
        self.sizes, self.most, self.bad, self.value = list[int](), most, bad, value

    def __call__(self, batch: Batch) -> Sequence[np.ndarray]:
        self.sizes.append(len(batch.values))
        if len(batch.values) > self.most:
            raise torch.OutOfMemoryError("too much")
        found = [values[:length].numpy()[:4] for values, length in zip(batch.values, batch.lengths, strict=True)]
        is_bad = [self.bad is not None and int(length) == self.bad.length for length in batch.lengths]
        if any(is_bad) and self.value is None:
            raise ValueError("no speech in it")
        return [row * self.value if bad else row for row, bad in zip(found, is_bad, strict=True)]


def outputs(part: Part, folder: Path) -> FrozenOutputs:
    return FrozenOutputs(Frozen("part", part), MadeWaves(), folder, CPU, seconds=100.0)


def kept(folder: Path) -> int:
    return len(list(folder.rglob("*.npy")))


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    part = Part(most=3)
    assert outputs(part, tmp_path).prepare(CLIPS) == kept(tmp_path) == len(CLIPS)
    assert part.sizes == [8, 4, 2, 2, 4, 2, 2]
    whole = outputs(Part(), tmp_path / "whole").arrays(CLIPS)
    assert all(np.array_equal(a, b) for a, b in zip(outputs(part, tmp_path).arrays(CLIPS), whole, strict=True))


def test_what_comes_after_the_preparation_is_not_kept(tmp_path: Path) -> None:
    """It may be computed in another precision: a training's TF32 is the whole process's."""
    part = Part()
    inputs = outputs(part, tmp_path)
    inputs.prepare(CLIPS[:5])
    late = inputs.arrays(CLIPS)
    assert kept(tmp_path) == 5
    assert all(np.array_equal(a, b) for a, b in zip(late, outputs(part, tmp_path / "b").arrays(CLIPS), strict=True))


def test_a_clip_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=rf"no frozen output of the clip no/{CLIPS[5].name}: no speech in it"):
        outputs(Part(bad=CLIPS[5]), tmp_path).prepare(CLIPS)


def test_an_output_that_is_not_finite_is_named_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=rf"the clip no/{CLIPS[2].name} is not finite"):
        outputs(Part(bad=CLIPS[2], value=float("nan")), tmp_path).prepare(CLIPS)
    assert kept(tmp_path) == 0


def test_a_damaged_file_of_the_cache_is_named(tmp_path: Path) -> None:
    inputs = outputs(Part(), tmp_path)
    inputs.prepare(CLIPS)
    path = next(tmp_path.rglob(f"{CLIPS[1].sha}.npy"))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"of the clip no/{CLIPS[1].name} cannot be read.*remove {path}"):
        inputs.arrays(CLIPS)


def test_samples_that_are_not_those_that_were_prepared_are_never_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole in a copied file reads as zeros, which are audio like any other."""
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path / "cache"))
    open_language.cache_clear()
    corpus = prepare(str(plain_release(tmp_path, ("no",))), ("no",), Data()).folder
    clips = open_language(corpus, "no").clips
    with (language_place(corpus, "no") / AUDIO).open("r+b") as file:
        file.seek(2 * clips[3].offset)
        file.write(bytes(2 * clips[3].length))
    open_language.cache_clear()
    assert not Waves(corpus).arrays([clips[3]])[0].any()
    CheckedWaves(corpus).arrays(clips[:3])
    part = Part()
    inputs = FrozenOutputs(Frozen("part", part), CheckedWaves(corpus), tmp_path / "frozen", CPU, 100.0)
    with pytest.raises(UserError, match=rf"samples of the clip no/{clips[3].name} are not those that were prepared"):
        inputs.prepare(clips)
    assert part.sizes == []


@given(st.integers(0, 500_000), st.integers(0, 500_000), st.floats(0, 0.5))
def test_a_rung_is_the_next_of_a_ladder_and_adds_little(samples: int, other: int, share: float) -> None:
    found = rung(samples, share)
    assert samples <= found == rung(found, share)
    assert found <= rung(samples + other, share)
    assert found - samples <= max(share * samples, 319 if samples > 400 else 400)


def test_rungs_are_whole_frames_and_few() -> None:
    assert [rung(samples, 0.05) for samples in (0, 400, 401, 721, 12_881)] == [400, 400, 720, 1040, 13_520]
    rungs = {rung(samples, 0.05) for samples in range(48_000, 96_000)}
    assert 10 <= len(rungs) <= 16
    assert all(samples % 320 == 80 for samples in rungs)
    assert len({rung(samples, 0.0) for samples in range(48_000, 48_100)}) == 100
