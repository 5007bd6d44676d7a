"""How long it takes to plan a large grid and to open a large store.

The trials are a toy's, with two metrics a language. "Cold" is a folder whose `scores.parquet` is not there.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.job import Job, make_job, settle
from engine.plan import make_plan
from engine.status import status_of
from engine.store import Pass, Result
from grids.grid import load, parse
from grids.mixture import Trial
from tasks.base import Score
from tests.benchmarks.measured import Measured

LARGE, STORED = 147, 20_000  # languages of the grid to plan, 110,250 trials; results in the store
PHASES = {"data": 0.1234, "load": 0.1234, "train": 1.2345, "evaluate": 1.2345, "keep": 0.0123}
NUMERICS = {"threads": 1, "workers": 1, "precision": "fp32", "torch": "2.11.0", "deterministic": True}


def toy(folder: Path, languages: int) -> Job:
    """A job of the toy task with ten seeds."""
    codes = [f"l{number:03}" for number in range(languages)]
    table = {"task": "toy", "corpus": "synthetic", "languages": codes, "seeds": 10, "samples": 60}
    return settle(make_job(parse({**table, "tracking": {"wandb": "off"}}, "planning"), folder))


def result(job: Job, trial: Trial) -> Result:
    """A trial that has finished, with a configuration of the usual size."""
    codes = trial.mixture.languages
    scores = tuple(
        Score(code, metric, 0.5, 0, primary=metric == "score", higher_is_better=True)
        for code in codes
        for metric in ("score", "error")
    )
    ran = Pass(codes, PHASES, "cpu", NUMERICS, job.code_version, "2026-01-01T00:00:00+00:00")
    return Result(trial, scores, (ran,), 120, 30, job.identity.config_sha, "d", job.identity.config)


def fill(job: Job, count: int) -> None:
    """Puts results into a store as fast as the disk takes them."""
    folder = job.results / "trials"
    folder.mkdir()
    for trial in job.grid.trials()[:count]:
        (folder / f"{trial.slug}.json").write_bytes(result(job, trial).to_json())


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path) -> Iterator[Measured]:
    """A large grid, and a folder that holds a fifth of it."""
    job = toy(folder / "store", LARGE)
    fill(job, STORED)
    empty = toy(folder / "empty", LARGE)
    works: dict[str, Callable[[], object]] = {
        "planning 110,250 trials, no result yet": lambda: make_plan(empty),
        "planning 110,250 trials, 20,000 results, cold": lambda: make_plan(job),
        "opening a store of 20,000 results, cold": lambda: job.store.compact(job.grid.samples),
        "opening a store of 20,000 results": lambda: job.store.compact(job.grid.samples),
        "planning 110,250 trials, 20,000 results": lambda: make_plan(job),
        "status of 110,250 trials, 20,000 results": lambda: status_of(job.store, load(job.store.grid_path)),
    }
    for what, work in works.items():
        yield Measured(f"seconds: {what}", [seconds(work)], "5")
