"""A training that is interrupted, that does not fit into memory, that runs ahead of itself: the same numbers."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.checkpoints import Checkpoints, PausedError
from engine.fitting import Fitting, World
from engine.inputs import ahead
from engine.learner import Learner
from grids.errors import UserError
from grids.grid import Train
from tasks.base import Batch
from tests.engine.learners import CLIPS, TESTS, StopsAt, gender_learner


def probabilities(one: Learner) -> np.ndarray:
    tests = one.evaluate(TESTS)
    assert tests is not None
    return np.concatenate([tests[language].stack("probability") for language in sorted(tests)])


def with_dropout(train: Train) -> Learner:
    """The gender task with dropout and masking on, so that each step draws."""
    torch.manual_seed(5)
    np.random.seed(5)  # masking draws from it
    one = gender_learner(train)
    one.network.encoder.model.config.apply_spec_augment = True
    for part in one.network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.3
    return one


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("step", [1, 4])
def test_interrupted_and_uninterrupted_training_end_bit_identical(tmp_path: Path, precision: Any, step: int) -> None:
    train = Train(learning_rate=1e-3, batch_size=5, epochs=3, precision=precision, warmup=0.2, schedule="linear")
    whole = with_dropout(train)
    whole.fit([CLIPS[:7], CLIPS[7:]], seed=1)
    with pytest.raises(PausedError):
        with_dropout(train).fit([CLIPS[:7], CLIPS[7:]], seed=1, checkpoints=StopsAt(tmp_path / "a.pt", step))
    logged: list[int] = []
    rest = with_dropout(train)
    torch.manual_seed(99)  # where another process would be
    np.random.seed(99)
    object.__setattr__(rest, "log", lambda number, values: logged.append(number))
    assert rest.fit([CLIPS[:7], CLIPS[7:]], seed=1, checkpoints=StopsAt(tmp_path / "a.pt", -1)).steps == 9
    assert logged == list(range(step + 1, 10))
    assert np.array_equal(probabilities(whole), probabilities(rest))


@pytest.mark.parametrize("damage", ["other settings", "cut short"])
def test_a_state_that_does_not_fit_is_not_used(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    train, path = Train(learning_rate=1e-3, batch_size=5), tmp_path / "a.pt"
    with pytest.raises(PausedError):
        gender_learner(train).fit([CLIPS], seed=1, checkpoints=StopsAt(path, 1))
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-500])
    assert StopsAt(path, 1, "there" if damage == "other settings" else "here").load() is None
    assert "the training starts anew" in caplog.text


def test_states_are_left_by_the_clock_and_a_young_training_is_not_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("engine.checkpoints.time.monotonic", lambda: now[0])
    asked = [False]
    one = Checkpoints(tmp_path / "a.pt", {}, 300.0, lambda: asked[0])
    due = []
    for now[0] in (10.0, 299.0, 300.0, 300.5, 302.0):
        due.append(one.due())
    assert due == ["", "", "save", "", "save"]
    one.save({})
    asked[0] = True
    for now[0] in (310.0, 333.0):
        due.append(one.due())
    assert due[5:] == ["", "pause"]


class NeverTooMuch:
    """Runs out of memory above some examples, as a GPU does."""

    def __init__(self, one: Learner, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        for name in ("loss", "outputs"):
            real = getattr(one.task, name)

            def limited(network: Any, batch: Batch, real: Any = real) -> Any:
                if len(batch.values) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                self.sizes.append(len(batch.values))
                return real(network, batch)

            monkeypatch.setattr(one.task, name, limited)


def test_a_batch_that_does_not_fit_is_halved_and_counts_as_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train, steps = Train(learning_rate=1e-3, batch_size=12, epochs=2), list[list[float]]()

    def log(step: int, values: Mapping[str, Any]) -> None:
        steps.append([float(values["loss"]), float(values["gradient_norm"])])

    roomy = gender_learner(train, log)
    roomy.fit([CLIPS], seed=1)
    expected = probabilities(roomy)
    tight = gender_learner(train, log)
    seen = NeverTooMuch(tight, 4, monkeypatch)
    fitted = tight.fit([CLIPS], seed=1)
    assert (fitted.steps, fitted.micro) == (2, 3)
    assert seen.sizes == [3] * 8
    assert "3 of 12 examples at once" in caplog.text
    assert np.allclose(expected, probabilities(tight), rtol=0, atol=1e-5)
    assert np.allclose(steps[:2], steps[2:], rtol=1e-4), "AdamW hides a gradient of another size"


def test_a_batch_of_evaluation_that_does_not_fit_is_halved_and_that_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = gender_learner(Train())
    expected, size = probabilities(one), one.room.seconds
    seen = NeverTooMuch(one, 6, monkeypatch)
    assert np.allclose(expected, probabilities(one), rtol=0, atol=1e-5)
    assert one.room.seconds < size
    before, remembered = len(seen.sizes), one.room.seconds
    probabilities(one)
    assert len(seen.sizes) > before, "it was scored again"
    assert one.room.seconds == remembered, "nothing had to be halved any more"


def test_one_example_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gender_learner(Train(batch_size=4))
    NeverTooMuch(one, 0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        one.fit([CLIPS], seed=1)
    with pytest.raises(torch.OutOfMemoryError):
        one.evaluate(TESTS)


def test_batch_norm_over_workers_without_gpus_is_refused() -> None:
    one = gender_learner(Train())
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(UserError, match="batch norm"):
        Fitting(one.task, network, Train(), 1, torch.device("cpu"), World(0, 2), one._training_batch)


def test_items_are_made_ahead_in_order_and_errors_arrive() -> None:
    made: list[int] = []
    asked = threading.Event()

    def make(item: int) -> int:
        if item == 2:
            assert asked.wait(10)
        made.append(item)
        if item == 4:
            raise ValueError("four")
        return 10 * item

    found: Iterator[int] = ahead(iter(range(6)), make)
    assert next(found) == 0
    asked.set()
    assert [next(found), next(found), next(found)] == [10, 20, 30]
    with pytest.raises(ValueError, match="four"):
        next(found)
    assert made[:5] == [0, 1, 2, 3, 4]


def test_model_with_dropout_draws_in_training() -> None:
    """Else the test of resuming could not fail."""
    one, other = with_dropout(Train()), with_dropout(Train())
    for seed, learner in ((1, one), (2, other)):
        torch.manual_seed(seed)
        learner.fit([CLIPS], seed=1)
    assert not np.array_equal(probabilities(one), probabilities(other))
