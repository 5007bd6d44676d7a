"""What a worker does with the trial that it is handed, without Ray: claim it, look, train, store, report."""

from pathlib import Path
from typing import Any

import pytest

from engine.claims import Run, running
from engine.job import settle
from engine.plan import Pending, make_plan
from engine.run import Chunk, _run_in_actor
from engine.store import Result
from engine.train import run_trial
from tests.engine.jobs import toy_job


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The slugs of trials that were trained; the training is this process's, and no `TorchTrainer`'s."""
    slugs: list[str] = []

    def train(chunk: Chunk, pending: Pending) -> Result | None:
        slugs.append(pending.trial.slug)
        return run_trial(chunk.job, pending)

    monkeypatch.setattr("engine.run._train", train)
    return slugs


def first_of(results: Path, **changes: Any) -> tuple[Chunk, Pending]:
    """A chunk without a run of its own yet, and its first trial."""
    job = settle(toy_job(results, **changes))
    items = {item.trial.slug: item for item in make_plan(job).pending}
    return Chunk(job, Run(results, "nobody"), items, results), next(iter(items.values()))


def handed(chunk: Chunk, run: Run, item: Pending) -> Any:
    """The outcome of handing a trial to a worker of this run."""
    mine = Chunk(chunk.job, run, chunk.items, chunk.scratch)
    return _run_in_actor({"trial": item.trial.slug}, mine)["outcome"]


def test_a_trial_handed_out_twice_is_trained_once(tmp_path: Path, trained: list[str]) -> None:
    chunk, item = first_of(tmp_path)
    with running(tmp_path) as run:
        assert [handed(chunk, run, item) for _ in range(2)] == ["stored", "stored"]
        assert run.claimed() == []
    assert trained == [item.trial.slug]
    assert chunk.job.store.has(item.trial, item.languages)


def test_a_trial_that_another_run_trains_is_left_to_it(tmp_path: Path, trained: list[str]) -> None:
    chunk, item = first_of(tmp_path)
    with running(tmp_path) as run, running(tmp_path) as other:
        other.claim(item.trial.slug)
        assert handed(chunk, run, item) == "held"
        assert other.claimed() == [item.trial.slug]
    assert trained == []


def test_a_run_that_was_asked_to_stop_starts_nothing(tmp_path: Path, trained: list[str]) -> None:
    chunk, item = first_of(tmp_path)
    with running(tmp_path) as run:
        run.ask_to_stop()
        assert handed(chunk, run, item) == "stopped"
    assert trained == []


def test_a_failure_keeps_its_cause_and_gives_the_trial_back(tmp_path: Path, trained: list[str]) -> None:
    chunk, item = first_of(tmp_path, options={"fail": ["ca"]})
    with running(tmp_path) as run:
        with pytest.raises(RuntimeError, match="told to fail"):
            handed(chunk, run, item)
        assert run.claimed() == []
    assert chunk.job.store.cause(item.trial) == "RuntimeError: the toy was told to fail on 'ca'"
    assert not chunk.job.store.has(item.trial, item.languages)
