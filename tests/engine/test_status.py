"""What `status` says of a folder."""

import os
from pathlib import Path
from typing import Any

from engine.job import settle
from engine.plan import make_plan
from engine.status import status_of
from engine.store import Pass, Result, Store
from grids.grid import load
from tasks.base import Score
from tests.engine.jobs import toy_job

MINUTE = 60 * 10**9


def finish(
    results: Path,
    count: int,
    version: str = "1",
    threads: int = 1,
    minutes: float = 0,
    device: str = "cpu",
    **numerics: Any,
) -> None:
    """Finishes the next trials of a toy grid, one a minute."""
    job = settle(toy_job(results))
    for number, item in enumerate(make_plan(job).pending[:count]):
        scores = tuple(Score(code, "score", 0.5, 7, primary=True, higher_is_better=True) for code in item.languages)
        ran = Pass(
            item.languages, {"train": 3.0, "load": 1.0}, device, {"threads": threads, **numerics}, version, "2026-01-01"
        )
        job.store.write(Result(item.trial, scores, (ran,), 8, 1, "c", "d", {}))
        stamp = int((minutes + number) * MINUTE) + 10**18
        os.utime(results / "trials" / f"{item.trial.slug}.json", ns=(stamp, stamp))


def status(results: Path) -> tuple[dict[str, str], str, tuple[str, ...], int]:
    """Rows, warnings, failures and the number of missing trials."""
    store = Store(results)
    found = status_of(store, load(store.grid_path))
    return dict(found.rows), "\n".join(found.warnings), found.failures, found.missing


def test_an_empty_folder_has_nothing_to_say(tmp_path: Path) -> None:
    settle(toy_job(tmp_path))
    rows, warnings, failures, missing = status(tmp_path)
    assert rows["finished"] == "0 of 15 trials"
    assert (warnings, failures, missing) == ("", (), 15)
    assert "phases" not in rows


def test_phases_rate_and_devices(tmp_path: Path) -> None:
    finish(tmp_path, 4, minutes=-600)
    finish(tmp_path, 11)
    rows, warnings, _, missing = status(tmp_path)
    assert missing == 0
    assert rows["phases"].startswith("train 75%, load 25% of 0.0167 hours")
    assert rows["lately"].startswith("60 trials an hour, by the last 11")
    assert rows["devices"] == "cpu (15)"
    assert warnings == ""


def test_results_of_more_than_one_kind_are_warned_of(tmp_path: Path) -> None:
    finish(tmp_path, 3)
    finish(tmp_path, 2, version="2", threads=4, device="H200")
    _, warnings, _, _ = status(tmp_path)
    assert "differ in code_version: 1 (3), 2 (2)" in warnings
    assert "differ in threads: 1 (3), 4 (2)" in warnings
    assert "differ in device: cpu (3), H200 (2)" in warnings
    assert "precision" not in warnings


def test_results_of_a_gpu_from_before_tf32_was_noted_are_warned_of(tmp_path: Path) -> None:
    finish(tmp_path, 3)
    finish(tmp_path, 2, tf32=False)
    assert "differ in tf32: unknown (3), False (2)" in status(tmp_path)[1]


def test_failures_are_grouped_by_cause_with_one_example(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    trials = job.grid.trials()
    for number, trial in enumerate(trials[:4]):
        job.store.write_failure(trial, f"Traceback\nFloatingPointError: nan at step {number} of 'clip {number}'")
    job.store.write_failure(trials[4], "Traceback\nRuntimeError: CUDA out of memory")
    _, _, failures, missing = status(tmp_path)
    assert missing == len(trials), "a failed trial is missing"
    assert [line.split(" (e.g.")[0] for line in failures] == [
        "4 failed: FloatingPointError: nan at step 0 of 'clip 0'",
        "1 failed: RuntimeError: CUDA out of memory",
    ]
    assert str(tmp_path / "failures") in failures[0]


def test_status_writes_nothing(tmp_path: Path) -> None:
    finish(tmp_path, 3)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    status(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
