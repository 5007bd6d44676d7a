"""The arithmetic of a trial: steps, stages, precision, and that the number of workers changes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.checkpoints import PausedError
from engine.fitting import rate_factor
from grids.grid import Train
from tasks.data.clips import Clip
from tests.engine.groups import run_group
from tests.engine.learners import CLIPS, TESTS, StopsAt, gender_learner


def fit(train: Train, stages: list[tuple[Clip, ...]]) -> tuple[int, list[Mapping[str, Any]]]:
    """Fits and returns the number of steps and what was logged."""
    logged: list[Mapping[str, Any]] = []
    done = gender_learner(train, lambda step, values: logged.append(values)).fit(stages, seed=1)
    return done.steps, logged


@pytest.mark.parametrize(
    ("train", "sizes", "steps"),
    [
        (Train(batch_size=5), [12], 3),
        (Train(batch_size=5, epochs=2), [12], 6),
        (Train(batch_size=1), [4], 4),
        (Train(batch_size=5, epochs=2), [12, 4], 8),
        (Train(batch_size=5, budget="steps", steps=7), [12], 7),
        (Train(batch_size=5, budget="steps", steps=7), [4], 7),
        (Train(batch_size=2, budget="steps", steps=8), [12, 4], 8),
        (Train(), [], 0),
    ],
)
def test_number_of_steps(train: Train, sizes: list[int], steps: int) -> None:
    done, logged = fit(train, [CLIPS[:size] for size in sizes])
    assert done == len(logged) == steps


def test_learning_rate_rises_and_falls() -> None:
    constant = Train(warmup=0.2)
    assert [rate_factor(constant, step, 10) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]
    linear = Train(warmup=0.2, schedule="linear")
    assert [rate_factor(linear, step, 10) for step in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.125]
    assert rate_factor(Train(), 0, 1) == 1.0


def test_stages_are_trained_in_order() -> None:
    """The last stage counts most: a model that ends on one label only prefers it."""
    female = tuple(clip for clip in CLIPS if clip.gender == "female")
    male = tuple(clip for clip in CLIPS if clip.gender == "male")
    preference = []
    for stages in ([female, male], [male, female]):
        one = gender_learner(Train(learning_rate=1e-2, batch_size=3, epochs=4))
        one.fit(stages, seed=1)
        tests = one.evaluate(TESTS)
        assert tests is not None
        preference.append(float(tests["no"].stack("probability")[:, 0].mean()))
    assert preference[0] < 0.5 < preference[1]


def test_non_finite_loss_stops_and_names_step_and_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gender_learner(Train(batch_size=4))
    real, calls = one.task.loss, []

    def broken(network: Any, batch: Any) -> torch.Tensor:
        calls.append(1)
        return real(network, batch) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(one.task, "loss", broken)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 2, on the clips no/no-train-\d"):
        one.fit([CLIPS], seed=1)


def test_gradients_are_clipped() -> None:
    """Gradients far below AdamW's epsilon, 1e-8, move next to nothing."""
    moved = []
    for clip in (0.0, 1e-12):
        one = gender_learner(Train(learning_rate=1e-3, batch_size=4, gradient_clip=clip))
        before = one.network.head.weight.detach().clone()
        one.fit([CLIPS], seed=1)
        moved.append(float((one.network.head.weight.detach() - before).abs().max()))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-6


def test_outputs_that_are_not_finite_are_no_scores() -> None:
    one = gender_learner(Train(batch_size=4))
    with torch.no_grad():
        one.network.head.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="output 'probability' of the clip no/no-test"):
        one.evaluate(TESTS)


def test_each_test_clip_has_its_own_outputs() -> None:
    """Batches are of clips of like length; the outputs come back in the order of the clips."""
    one = gender_learner(Train())
    clips = TESTS["no"]
    assert [clip.length for clip in clips] != sorted((clip.length for clip in clips), reverse=True)
    together = one.evaluate({"no": clips})
    alone = [one.evaluate({"no": (clip,)}) for clip in clips]
    assert together is not None
    assert together["no"].clips == clips
    for output, single in zip(together["no"].outputs, alone, strict=True):
        assert single is not None
        assert np.allclose(output["embedding"], single["no"].outputs[0]["embedding"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_and_scores_nearly_the_same(precision: Any) -> None:
    found = []
    for train in (
        Train(learning_rate=1e-3, batch_size=4),
        Train(learning_rate=1e-3, batch_size=4, precision=precision),
    ):
        one = gender_learner(train)
        one.fit([CLIPS], seed=1)
        tests = one.evaluate(TESTS)
        assert tests is not None
        found.append(tests["no"].stack("probability"))
    assert found[0] == pytest.approx(found[1], abs=0.02)
    assert not np.array_equal(*found)


def worker(rank: int, size: int, folder: Path, backbone: str, pause: bool = False) -> None:
    """One of the workers: trains, evaluates, and writes what it has; after a pause at step 10, if asked."""
    one = gender_learner(Train(learning_rate=1e-3, batch_size=5, epochs=4), backbone=backbone)
    if pause:
        with pytest.raises(PausedError):
            one.fit([CLIPS], seed=1, checkpoints=StopsAt(folder / "state.pt", 1))
        one = gender_learner(one.train, backbone=backbone)
    one.fit([CLIPS], seed=1, checkpoints=StopsAt(folder / "state.pt", -1) if pause else None)
    tests = one.evaluate(TESTS)
    if rank == 0:
        assert tests is not None
        found = [tests[language].stack("probability") for language in sorted(tests)]
        np.save(folder / f"{size}.npy", np.concatenate(found))
    else:
        assert tests is None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("backbone", ["tiny", "tiny-groupnorm"])
def test_one_two_and_three_workers_train_the_same(tmp_path: Path, backbone: str) -> None:
    """12 clips in batches of 5, 5 and 2 over 1, 2, 3 workers: uneven shares, and workers with none."""
    for size in (1, 2, 3):
        run_group(worker, size, tmp_path, backbone)
    one, two, three = (np.load(tmp_path / f"{size}.npy") for size in (1, 2, 3))
    assert one.shape == (28, 2)
    assert np.allclose(one, two, rtol=0, atol=1e-5)
    assert np.allclose(one, three, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_workers_go_on_where_they_paused(tmp_path: Path) -> None:
    for name, pause in (("whole", False), ("paused", True)):
        (tmp_path / name).mkdir()
        run_group(worker, 2, tmp_path / name, "tiny", pause)
    assert np.array_equal(*(np.load(tmp_path / name / "2.npy") for name in ("whole", "paused")))
