"""Validation: the best epoch on dev clips is what remains, and looking at it changes nothing in the training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.checkpoints import PausedError
from engine.learner import Learner
from engine.selection import Selection
from grids.grid import Train
from tasks.base import Metric
from tests.engine.groups import run_group
from tests.engine.learners import CLIPS, StopsAt, gender_learner
from tests.engine.test_fitting import probabilities, with_dropout
from tests.tasks.waves import make_clips

DEV = {"no": make_clips("no", "dev", speakers=4, clips_each=3)}
VALIDATED = Train(learning_rate=1e-3, batch_size=5, epochs=4, select_by="accuracy")
EPOCH = 3  # steps of 12 clips


class Planted(Learner):
    """Reports dev scores that were planted; what a network is then does not matter."""

    scores: tuple[float, ...] = ()

    def _dev_score(self, dev: Any, stages: Any) -> float:
        """The next one."""
        value, *rest = self.scores
        object.__setattr__(self, "scores", tuple(rest))
        return value


def planted(train: Train, scores: tuple[float, ...]) -> Planted:
    one = Planted(**vars(gender_learner(train)))
    object.__setattr__(one, "scores", scores)
    return one


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [(Metric("auc"), (0.5, 0.9, 0.9, 0.7), 2), (Metric("eer", higher_is_better=False), (0.5, 0.2, 0.3, 0.2), 2),
     (Metric("auc"), (0.0, -1.0), 1)],
)  # fmt: skip
def test_the_best_is_kept_and_the_first_of_equal_ones(metric: Metric, values: tuple[float, ...], best: int) -> None:
    network, selection = torch.nn.Linear(1, 1), Selection(metric, set())
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            network.weight.fill_(float(step))
        selection.offer(step, value, network)
    selection.put_back(network)
    assert (selection.step, selection.value) == (best, values[best - 1])
    assert network.weight.item() == best


@pytest.mark.parametrize("best", [1, 2, 4])
def test_the_network_of_the_best_epoch_is_the_result(best: int) -> None:
    validated = planted(VALIDATED, tuple(float(epoch == best) for epoch in (1, 2, 3, 4)))
    fitted = validated.fit([CLIPS], seed=1, dev=DEV)
    assert (fitted.steps, fitted.selected) == (4 * EPOCH, best * EPOCH)
    shorter = gender_learner(Train(learning_rate=1e-3, batch_size=5, epochs=best))
    assert shorter.fit([CLIPS], seed=1).selected == 0
    assert np.array_equal(probabilities(shorter), probabilities(validated))


def test_only_epochs_of_the_last_stage_are_candidates() -> None:
    one = planted(VALIDATED, (0.1, 0.9, 0.2, 0.3))
    assert one.fit([CLIPS, CLIPS[:5]], seed=1, dev=DEV).selected == 4 * EPOCH + 2
    steps = planted(Train(batch_size=5, budget="steps", steps=7, select_by="accuracy"), (0.1, 0.2, 0.3))
    assert steps.fit([CLIPS], seed=1, dev=DEV).selected == 7


def test_looking_at_dev_clips_changes_nothing_in_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout and masking draw the same numbers whether or not somebody looked, even by a network that draws."""
    losses = []
    for train in (VALIDATED, Train(learning_rate=1e-3, batch_size=5, epochs=4)):
        logged: list[Mapping[str, Any]] = []
        one = with_dropout(train)
        outputs = one.task.outputs
        monkeypatch.setattr(
            one.task, "outputs",
            lambda network, batch, own=outputs: own(network, batch) if torch.rand(3) @ np.random.rand(3) else None,
        )  # fmt: skip
        object.__setattr__(one, "log", lambda step, values, logged=logged: logged.append(values))
        torch.manual_seed(3)
        one.fit([CLIPS], seed=1, dev=DEV if train.select_by else None)
        losses.append([float(values["loss"]) for values in logged])
        seen = [step for step, values in enumerate(logged, start=1) if "dev_accuracy" in values]
        assert seen == ([EPOCH * epoch for epoch in (1, 2, 3, 4)] if train.select_by else [])
    assert losses[0] == losses[1]


def test_the_dev_score_is_the_tasks_own_on_dev_clips_mean_over_languages() -> None:
    one = gender_learner(VALIDATED)
    dev = {**DEV, "zh-CN": make_clips("zh-CN", "dev", speakers=2, clips_each=4)}
    found = one._dev_score(dev, [CLIPS])
    tests = one.evaluate(dev)
    assert tests is not None
    scores = [s.value for s in one.task.score(one.network, tests).scores if s.metric == "accuracy"]
    assert found == pytest.approx(np.mean(scores))
    one._dev_score(dev, [CLIPS])
    assert one.network.training, "else dropout would be off from here on"


@pytest.mark.parametrize("step", [2, 3, 7])
def test_a_validated_training_goes_on_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole = with_dropout(VALIDATED)
    fitted = whole.fit([CLIPS], seed=1, dev=DEV)
    with pytest.raises(PausedError):
        with_dropout(VALIDATED).fit([CLIPS], 1, StopsAt(tmp_path / "a.pt", step), DEV)
    rest = with_dropout(VALIDATED)
    torch.manual_seed(99)  # where another process would be
    assert rest.fit([CLIPS], 1, StopsAt(tmp_path / "a.pt", -1), DEV) == fitted
    assert np.array_equal(probabilities(whole), probabilities(rest))


def test_what_was_best_before_an_interruption_can_still_win(tmp_path: Path) -> None:
    with pytest.raises(PausedError):
        planted(VALIDATED, (0.9,)).fit([CLIPS], 1, StopsAt(tmp_path / "a.pt", EPOCH + 1), DEV)
    rest = planted(VALIDATED, (0.1, 0.2, 0.3))
    assert rest.fit([CLIPS], 1, StopsAt(tmp_path / "a.pt", -1), DEV).selected == EPOCH
    first = gender_learner(Train(learning_rate=1e-3, batch_size=5, epochs=1))
    first.fit([CLIPS], seed=1)
    assert np.array_equal(probabilities(first), probabilities(rest))


def worker(rank: int, size: int, folder: Path) -> None:
    """One of the workers: trains with validation, and writes what it selected and what the network then is."""
    one = gender_learner(VALIDATED)
    fitted = one.fit([CLIPS], seed=1, dev=DEV)
    weights = torch.cat([weight.flatten() for weight in one.network.state_dict().values()])
    np.savez(folder / f"{size}-{rank}.npz", selected=fitted.selected, weights=weights.numpy())


@pytest.mark.slow
def test_all_workers_select_the_same_as_one(tmp_path: Path) -> None:
    for size in (1, 2):
        run_group(worker, size, tmp_path)
    one, *two = (np.load(tmp_path / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    assert one["selected"] == two[0]["selected"] == two[1]["selected"] > 0
    assert np.array_equal(two[0]["weights"], two[1]["weights"])
    assert np.allclose(one["weights"], two[0]["weights"], rtol=0, atol=1e-5)
