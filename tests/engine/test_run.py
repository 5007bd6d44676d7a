"""Whole runs through Ray: complete, resumed after a kill, failing, stopped; and the planted matrix comes back."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.job import make_job, settle
from engine.plan import make_plan
from engine.store import Store
from engine.train import run_trial
from grids.errors import UserError
from grids.grid import load
from tasks.data.store import open_language
from tasks.toy import planted_r
from tests.engine.processes import hearing_ctrl_c, name_of, names, wait_until, workers
from tests.engine.runs import ROOT, command, engine, environ, gender_grid, scores, write_grid
from tests.tasks.data.hostile import plain_release

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOY = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "no", "zh-CN"], "seeds": 12, "samples": 8}


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


def test_kill_9_of_the_driver_then_the_same_command(undisturbed: Path, grid: Path, folder: Path) -> None:
    """The driver alone: what it leaves behind ends by itself and is not in the way."""
    results = folder / "killed"
    run = start("run", grid, "--results", results, cache=folder / "cache")
    finished = wait_for_results(results, 4)
    orphans = workers(run.pid)
    run.kill()
    run.communicate()
    assert orphans
    wait_until("the orphans have ended", lambda: not any(map(name_of, orphans)))
    kept = {path: path.stat().st_mtime_ns for path in (results / "trials").glob("*.json")}
    assert 0 < finished <= len(kept) < 15
    done = engine("run", grid, "--results", results, cache=folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(kept)} of 15 trials are finished" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished trial ran again"
    assert scores(results).equals(scores(undisturbed))
    assert names(results / "claims") | names(results / "runs") == set()


def test_two_engines_at_once_share_the_trials(undisturbed: Path, grid: Path, folder: Path) -> None:
    results, written = folder / "shared", set[tuple[str, int]]()
    engines = [start("run", grid, "--results", results, cache=folder / "cache") for _ in range(2)]
    while any(run.poll() is None for run in engines):
        for path in (results / "trials").glob("[!.]*"):
            with suppress(FileNotFoundError):
                written.add((path.name, path.stat().st_ino))
        time.sleep(0.005)
    ended = {run.returncode: "".join(run.communicate()) for run in engines}
    assert 0 in ended, ended
    assert set(ended) <= {0, 75}, ended
    assert 75 not in ended or "being trained by another run" in ended[75]
    assert scores(results).equals(scores(undisturbed))
    assert len(written) - 15 <= 2 * len(os.sched_getaffinity(0)), "too many trials were trained twice"
    assert names(results / "claims") | names(results / "runs") == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_lets_running_trials_finish_and_says_that_there_is_more_to_do(
    folder: Path, number: signal.Signals
) -> None:
    grid = write_grid(folder / "soft.toml", **{**TOY, "options": {"seconds": 2.0}})
    results = folder / number.name
    run = start("run", grid, "--results", results)
    wait_until("trials run", lambda: names(results / "claims"))
    run.send_signal(number)
    claimed = names(results / "claims")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 75, out + err
    assert "stopped as asked; the same command continues" in out
    assert {f"{slug}.json" for slug in claimed} <= names(results / "trials")
    assert len(names(results / "trials")) < 20
    assert names(results / "claims") | names(results / "runs") | names(results / "failures") == set()


def test_a_killed_worker_leaves_its_cause_and_stops_no_other(folder: Path) -> None:
    one = {"languages": ["ca", "no"], "seeds": 1, "options": {"seconds": 2.0}, "resources": {"max_retries": 0}}
    grid, results = write_grid(folder / "dying.toml", **{**TOY, **one}), folder / "dying"
    run = start("run", grid, "--results", results)
    wait_until("a trial runs", lambda: names(results / "claims"))
    os.kill(workers(run.pid)[0], signal.SIGKILL)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 1, out + err
    assert "1 trials are missing" in out
    assert "the worker process died" in out
    assert len(names(results / "trials")) == 4
    assert names(results / "claims") == set()


def test_the_place_of_a_killed_worker_is_filled_though_trials_are_shorter_than_a_start(folder: Path) -> None:
    grid = write_grid(folder / "short.toml", **{**TOY, "seeds": 12, "options": {"seconds": 0.3}})
    run = start("run", grid, "--results", folder / "short")
    wait_until("six trials", lambda: len(names(folder / "short" / "trials")) >= 6)
    os.kill(workers(run.pid)[0], signal.SIGKILL)
    seen = set[int]()
    while run.poll() is None:
        seen.update(workers(run.pid))
        time.sleep(0.05)
    assert run.returncode == 0
    assert 3 <= len(seen) <= 4, "a process that was starting was ended, again and again"


def test_every_attempt_keeps_its_cause(folder: Path) -> None:
    one = {"languages": ["ca", "no"], "seeds": 1, "options": {"fail": ["no"]}, "resources": {"max_retries": 1}}
    grid, results = write_grid(folder / "twice.toml", **{**TOY, **one}), folder / "twice"
    assert engine("run", grid, "--results", results, "--only", "base").returncode == 1
    (failure,) = Store(results).failures()
    assert failure.path.read_text().count("Traceback") == 2
    assert failure.cause == "RuntimeError: the toy was told to fail on 'no'"


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 100), Path.unlink], ids=["cut", "missing"])
def test_clips_damaged_after_the_start_are_named_and_stop_no_other(
    grid: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("CLTM_CACHE", str(folder / f"damaged-{damage.__name__}"))
    job = settle(make_job(load(grid), folder / f"late-{damage.__name__}"))
    (audio,) = job.cache.rglob("zh-CN/audio.i16")
    damage(audio)
    open_language.cache_clear()
    by_language = {item.trial.mixture.languages: item for item in make_plan(job).pending}
    with pytest.raises((UserError, OSError), match=r"zh-CN/audio\.i16"):
        run_trial(job, by_language["zh-CN",])
    assert run_trial(job, by_language["no",]) is not None


def test_a_folder_that_cannot_be_written_to_is_one_clear_line_before_anything_runs(folder: Path) -> None:
    (folder / "file").write_text("")
    done = engine("run", write_grid(folder / "toy.toml", **TOY), "--results", folder / "file" / "results")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to the results folder")
    assert "Traceback" not in done.stderr


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
    run = start("run", grid, "--results", folder / "slow")
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
    wait_until(f"{count} results", lambda: len(names(results / "trials")) >= count)
    return len(names(results / "trials"))


def start(*arguments: object, cache: Path | None = None) -> subprocess.Popen[str]:
    """Starts `python -m engine` in a process group of its own, deaf to Ctrl-C only if it makes itself so."""
    with hearing_ctrl_c():
        return subprocess.Popen(
            command(*arguments), cwd=ROOT, env=environ(cache), start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


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
