"""Whole runs through Ray: complete, resumed after a kill, failing, stopped; and the planted matrix comes back."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.job import make_job, settle
from engine.plan import make_plan
from engine.store import Store
from engine.train import run_trial
from grids.grid import load
from tasks.toy import planted_r
from tests.engine.runs import ROOT, command, engine, environ, gender_grid, scores, write_grid
from tests.tasks.data.hostile import plain_release

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOY = {"task": "toy", "corpus": "none", "languages": ["ca", "no", "zh-CN"], "seeds": 12, "samples": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def grid(folder: Path) -> Path:
    """A grid of real trainings."""
    return gender_grid(folder / "small.toml", plain_release(folder, ("no", "zh-CN")))


@pytest.fixture(scope="module")
def undisturbed(folder: Path, grid: Path) -> Path:
    """Its results when nothing happens."""
    done = engine("run", grid, "--results", folder / "undisturbed", cache=folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "undisturbed"


def test_planted_matrix_comes_back(folder: Path) -> None:
    grid, results = write_grid(folder / "toy.toml", **TOY), folder / "toy"
    done = engine("run", grid, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete: no trial is missing" in done.stdout
    analysed = subprocess.run(
        [sys.executable, "-m", "analysis.cltm", str(results)], cwd=ROOT, capture_output=True, text=True
    )
    assert analysed.returncode == 0, analysed.stderr
    cells = pd.read_parquet(results / "analysis" / "cells.parquet")
    cells = cells[cells.target != cells.donor]
    planted = np.array([planted_r(t, d) for t, d in zip(cells.target, cells.donor, strict=True)])
    assert np.abs(cells.r - planted).max() < 0.25
    assert ((cells.lower < planted) & (planted < cells.upper)).sum() >= 5
    assert json.loads((results / "analysis" / "summary.json").read_text())["missing_cells"] == 0


def test_a_complete_grid_runs_nothing_and_does_not_start_ray(undisturbed: Path, grid: Path, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json")}
    start = time.monotonic()
    done = engine("run", grid, "--results", undisturbed, cache=folder / "cache")
    assert done.returncode == 0
    assert "15 of 15 trials are finished" in done.stdout
    assert time.monotonic() - start < 60
    assert {
        path: path.stat().st_mtime_ns for path in (undisturbed / "trials").rglob("*.json")
    }.items() <= before.items()


def test_kill_9_of_the_group_then_the_same_command(undisturbed: Path, grid: Path, folder: Path) -> None:
    results = folder / "killed"
    arguments = command("run", grid, "--results", results)
    run = subprocess.Popen(
        arguments, cwd=ROOT, env=environ(folder / "cache"), start_new_session=True, stdout=subprocess.DEVNULL
    )
    finished = wait_for_results(results, 4)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(2)
    kept = {path: path.stat().st_mtime_ns for path in (results / "trials").glob("*.json")}
    assert 0 < finished <= len(kept) < 15
    done = engine("run", grid, "--results", results, cache=folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(kept)} of 15 trials are finished" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished trial ran again"
    assert scores(results).equals(scores(undisturbed))


def test_a_trial_in_a_warm_process_equals_the_same_trial_alone_in_a_fresh_one(
    undisturbed: Path, grid: Path, folder: Path
) -> None:
    """The last trial of the undisturbed run came after others in its process; here it is alone in this one."""
    os.environ["CLTM_CACHE"] = str(folder / "cache")
    try:
        job = make_job(load(grid), folder / "fresh")
    finally:
        del os.environ["CLTM_CACHE"]
    settle(job)
    item = make_plan(job).pending[-1]
    alone = run_trial(job, item)
    warm = Store(undisturbed).read(item.trial)
    assert alone is not None
    assert warm is not None
    assert alone.scores == warm.scores
    assert (alone.config_sha, alone.data_sha) == (warm.config_sha, warm.data_sha)
    assert alone.passes[0].numerics == warm.passes[0].numerics


def test_a_failing_trial_is_reported_with_its_cause_and_stops_no_other(folder: Path) -> None:
    grid, results = (
        write_grid(folder / "fail.toml", **{**TOY, "seeds": 1, "options": {"fail": ["no"]}}),
        folder / "fail",
    )
    done = engine("run", grid, "--results", results)
    assert done.returncode == 1
    assert "2 trials are missing" in done.stdout
    assert "RuntimeError: the toy was told to fail on 'no'" in done.stdout
    assert len(list((results / "trials").glob("*.json"))) == 7
    assert all("Traceback" in path.read_text() for path in (results / "failures").iterdir())
    status = engine("status", results)
    assert status.returncode == 1
    assert "7 of 9 trials" in status.stdout
    assert "told to fail" in status.stdout


def test_ctrl_c_keeps_what_is_finished(folder: Path) -> None:
    grid = write_grid(folder / "slow.toml", **{**TOY, "options": {"seconds": 0.5}})
    run = subprocess.Popen(
        command("run", grid, "--results", folder / "slow"), cwd=ROOT, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for_results(folder / "slow", 3)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, out + err
    assert "interrupted; what is finished is kept" in out
    assert "Traceback" not in err
    kept = len(list((folder / "slow" / "trials").glob("*.json")))
    assert kept >= 3
    assert len(set(scores(folder / "slow")["trial"].to_pylist())) == kept


def test_two_workers_train_what_one_trains(folder: Path, grid: Path, undisturbed: Path) -> None:
    """One mixture, one seed, as a DDP worker group."""
    pair = load(grid)
    two = gender_grid(
        folder / "two.toml",
        Path(pair.corpus),
        mode="list",
        mixtures=["no"],
        seeds=1,
        resources={"workers_per_trial": 2},
    )
    done = engine("run", two, "--results", folder / "two", cache=folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = Store(folder / "two").results()
    alone = Store(undisturbed).read(result.trial)
    assert alone is not None
    assert result.passes[0].numerics["workers"] == 2
    assert [s.value for s in result.scores] == pytest.approx([s.value for s in alone.scores], abs=1e-5)


def wait_for_results(results: Path, count: int) -> int:
    """Waits until a run has stored so many results. Returns how many there are."""
    for _ in range(1200):
        if (found := len(list((results / "trials").glob("[!.]*.json")))) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {count} results within a minute")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "gendr"}, "unknown task 'gendr' (did you mean 'gender'?)"),
        ({"languages": ["no", "zh-cn"]}, "'zh-cn' (did you mean 'zh-CN'?)"),
        ({"sample": 4}, "unknown key 'sample' (did you mean 'samples'?)"),
        ({"corpus": "/no/such/release"}, "no/such/release"),
        ({"samples": 400}, "'no'"),
        ({"resources": {"cpus_per_trial": 999}}, "one trial needs 999 CPUs"),
        ({"resources": {"gpus_per_trial": 1.0}}, "GPU"),
        ({"model": {"backbone": "tinny"}}, "backbone 'tinny'"),
        ({"train": {"learning_rate": -1.0}}, "learning_rate in [train] is -1.0"),
    ],
)
def test_a_mistake_is_one_clear_line(folder: Path, grid: Path, changes: dict[str, object], message: str) -> None:
    bad = gender_grid(folder / "bad.toml", Path(load(grid).corpus), **changes)
    done = engine("run", bad, "--results", folder / "bad" / message, cache=folder / "cache")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if re.match("error: ", line)]
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert "Traceback" not in done.stderr
