"""The W&B mirror: one run a trial with what it says, and a logger that breaks breaks nothing."""

import json
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import tracking
from engine.job import settle
from engine.plan import make_plan
from engine.tracking import Tracker
from engine.train import run_trial
from engine.wandb_rows import write_rows
from grids.grid import load
from tests.engine.jobs import TOY, toy_grid, toy_job
from tests.engine.runs import ROOT, command, engine, gender_grid, write_grid
from tests.engine.wandb_files import read_runs, server
from tests.tasks.data.hostile import plain_release


@pytest.mark.parametrize(
    ("chosen", "key", "mode"),
    [
        ("auto", "", "offline"),
        ("auto", "k", "online"),
        ("off", "k", "off"),
        ("offline", "k", "offline"),
        ("online", "", "online"),
    ],
)
def test_mode_follows_the_grid_and_then_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, key: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.delenv("WANDB_MODE")
    assert toy_job(tmp_path, tracking={"wandb": chosen}).wandb == mode


@pytest.mark.parametrize(("asked", "mode"), [("offline", "offline"), ("disabled", "off"), ("online", "online")])
def test_the_usual_environment_variable_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", asked)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert toy_job(tmp_path, tracking={"wandb": "auto"}).wandb == mode


def test_off_never_imports_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_start", lambda job, trial: pytest.fail("started"))
    job = toy_job(tmp_path, tracking={"wandb": "off"})
    tracker = Tracker(job, job.grid.trials()[0])
    tracker.log(1, {"loss": 1.0})
    tracker.finish(None)


class BrokenRun:
    """A run that breaks at the given call."""

    def __init__(self, breaks_at: str) -> None:
        self.breaks_at, self.calls, self.summary = breaks_at, list[str](), dict[str, Any]()

    def log(self, values: dict[str, float], step: int) -> None:
        self._call("log")

    def finish(self, exit_code: int) -> None:
        self._call("finish")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.breaks_at:
            raise ConnectionError("429 Too Many Requests")


@pytest.mark.parametrize("breaks_at", ["start", "log", "finish"])
def test_a_failing_logger_fails_nothing_and_is_not_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks_at: str
) -> None:
    run = BrokenRun(breaks_at)

    def start(job: Any, trial: Any) -> BrokenRun:
        run._call("start")
        return run

    monkeypatch.setattr(tracking, "_start", start)
    job = toy_job(tmp_path, tracking={"wandb": "offline"})
    item = make_plan(job).pending[0]
    tracker = Tracker(job, item.trial)
    tracker.log(1, {"loss": 1.0})
    tracker.log(10, {"loss": 1.0})
    result = run_trial(job, item, tracker.log)
    tracker.finish(result)
    tracking.drain()
    assert result is not None
    assert run.calls[-1] == breaks_at


def test_only_drain_waits_for_the_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, run = threading.Event(), BrokenRun("")

    def start(job: Any, trial: Any) -> BrokenRun:
        assert written.wait(10)
        return run

    monkeypatch.setattr(tracking, "_start", start)
    job = toy_job(tmp_path, tracking={"wandb": "offline"})
    tracker = Tracker(job, make_plan(job).pending[0].trial)
    tracker.log(1, {"loss": 1.0})
    tracker.finish(None)
    assert run.calls == []
    written.set()
    tracking.drain()
    assert run.calls == ["log", "finish"]


def test_a_logger_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, run = threading.Event(), BrokenRun("")

    def start(job: Any, trial: Any) -> BrokenRun:
        hangs.wait(10)
        return run

    monkeypatch.setattr(tracking, "_start", start)
    monkeypatch.setattr(tracking, "HANGS_SECONDS", 0.1)
    job = toy_job(tmp_path, tracking={"wandb": "offline"})
    Tracker(job, make_plan(job).pending[0].trial).finish(None)
    tracking.drain()
    Tracker(job, make_plan(job).pending[1].trial).finish(None)  # does not wait again
    tracking.drain()
    hangs.set()
    tracking._thread().submit(lambda: None).result(10)
    assert run.calls == []
    tracking._hanging().clear()


def test_points_of_a_curve_are_as_far_apart_as_asked_and_say_the_throughput(tmp_path: Path) -> None:
    job = toy_job(tmp_path, tracking={"wandb": "offline", "granularity": "row", "log_every": 7})
    trial = job.grid.trials()[0]
    tracker = Tracker(job, trial)
    for step in range(1, 36):
        tracker.log(step, {"loss": 1.0 / step})
    tracker.finish(run_trial(job, make_plan(job).pending[0]))
    tracking.drain()
    curve = json.loads(job.store.kept_path("curves", trial, ".json").read_text())
    assert [point["step"] for point in curve] == [1, 7, 14, 21, 28, 35]
    assert curve[2]["loss"] == pytest.approx(1 / 14)
    with_rate = [point["step"] for point in curve if "samples_per_second" in point]
    assert with_rate == [21]  # not of fewer steps than a device may be behind
    assert all(point["samples_per_second"] > 0 for point in curve if point["step"] in with_rate)


@pytest.mark.slow
def test_an_offline_run_is_read_back(tmp_path: Path) -> None:
    job = toy_job(tmp_path, tracking={"wandb": "offline", "project": "p"}, languages=["ca", "zh-CN"])
    item = make_plan(job).pending[-1]
    tracker = Tracker(job, item.trial)
    for step in range(1, 21):
        tracker.log(step, {"loss": 1.0 / step, "learning_rate": 1e-3, "gradient_norm": 2.0})
    result = run_trial(job, item)
    tracker.finish(result)
    tracking.drain()
    assert result is not None
    (run,) = read_runs(tmp_path)
    about = run.about
    assert (about.project, about.run_group, about.job_type) == (
        "p",
        f"toy/{Path(job.grid.model.backbone).name}",
        "cross",
    )
    assert about.display_name == item.trial.slug
    assert list(about.tags) == ["ca", "zh-CN", "Indo-European", "Sino-Tibetan"]
    known = {key: run.config[key] for key in ("target", "donor", "mixture", "seed", "task", "config_sha", "cells")}
    assert known == {
        "target": "ca", "donor": "zh-CN", "mixture": "ca+zh-CN", "seed": 2, "task": "toy",
        "config_sha": job.identity.config_sha, "cells": ["ca from zh-CN", "zh-CN from ca"],
    }  # fmt: skip
    assert [point["_step"] for point in run.history] == [1, 10, 20]
    assert run.history[1]["loss"] == pytest.approx(0.1)
    assert {"learning_rate", "gradient_norm", "samples_per_second"} <= run.history[2].keys()
    scores = {f"{score.metric}/{score.language}": score.value for score in result.scores}
    assert {name: run.summary[name] for name in scores} == scores
    assert run.summary["n_test/ca"] == result.scores[0].n_test
    assert {"n_train", "steps", "seconds", "seconds/train", "data_sha", "code_version"} <= run.summary.keys()
    assert (run.summary["failed"], run.exit_code) == (0, 0)


@pytest.mark.slow
def test_a_failed_trial_is_a_failed_run(tmp_path: Path) -> None:
    job = toy_job(tmp_path, tracking={"wandb": "offline"})
    Tracker(job, make_plan(job).pending[0].trial).finish(None)
    tracking.drain()
    (run,) = read_runs(tmp_path)
    assert (run.summary["failed"], run.exit_code) == (1, 1)


@pytest.mark.slow
@pytest.mark.ray
def test_every_trial_of_a_run_is_one_finished_run(tmp_path: Path) -> None:
    """The last run of a process was lost: Ray ends its actors without warning."""
    grid = write_grid(tmp_path / "toy.toml", **{**TOY, "seeds": 2, "tracking": {"wandb": "offline"}})
    done = engine("run", grid, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = read_runs(tmp_path / "results")
    assert sorted(run.about.display_name for run in runs) == sorted(trial.slug for trial in load(grid).trials())
    assert {run.exit_code for run in runs} == {0}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
def test_two_workers_make_one_run(tmp_path: Path) -> None:
    """`setup_wandb` of Ray Train gives every rank a live run."""
    two = {"mode": "list", "mixtures": ["no"], "seeds": 1, "resources": {"workers_per_trial": 2}}
    corpus = plain_release(tmp_path, ("no", "zh-CN"))
    grid = gender_grid(tmp_path / "two.toml", corpus, **two, tracking={"wandb": "offline", "log_every": 1})
    done = engine("run", grid, "--results", tmp_path / "results", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = read_runs(tmp_path / "results")
    assert run.exit_code == 0
    assert [point["_step"] for point in run.history] == list(range(1, run.summary["steps"] + 1))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_fails_fails_nothing_and_slows_nothing(tmp_path: Path, status: int) -> None:
    """Trainings never talk to it: no request of a run arrives, only the driver's one question whether it takes any."""
    grid = write_grid(tmp_path / "toy.toml", **{**TOY, "seeds": 2, "tracking": {"wandb": "online"}})
    with server(status) as (url, asked):
        keys = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "k" * 40}
        done = subprocess.run(
            command("run", grid, "--results", tmp_path / "results"), cwd=ROOT, env={**os.environ, **keys},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(asked) <= 2, asked
    trials = len(load(grid).trials())
    assert f"{trials} W&B runs are not sent" in done.stderr
    assert f"answers {status}" in done.stderr
    assert "kkkk" not in done.stdout + done.stderr
    assert [run.exit_code for run in read_runs(tmp_path / "results")] == [0] * trials


@pytest.mark.parametrize(("granularity", "names"), [("row", ["ca", "no"]), ("grid", ["toy"])])
@pytest.mark.slow
def test_coarser_runs_hold_every_trial_and_are_written_once(tmp_path: Path, granularity: str, names: list[str]) -> None:
    job = settle(toy_job(tmp_path, tracking={"wandb": "offline", "granularity": granularity}))
    for item in make_plan(job).pending:
        tracker = Tracker(job, item.trial)
        tracker.log(1, {"loss": 4.0 if item.trial.seed == 0 else 1.0})
        result = run_trial(job, item)
        assert result is not None
        job.store.write(result)
        tracker.finish(result)
    tracking.drain()
    assert read_runs(tmp_path) == []
    assert write_rows(tmp_path) == len(names)
    assert write_rows(tmp_path) == 0
    runs = read_runs(tmp_path)
    assert sorted(run.about.display_name for run in runs) == names
    assert {run.about.job_type for run in runs} == {granularity}
    means = (
        {"loss/ca", "loss/ca+ca", "loss/ca+no"} if granularity == "row" else {"loss/base", "loss/self", "loss/cross"}
    )
    first = min(runs, key=lambda run: str(run.about.display_name))
    assert {name: first.history[0][name] for name in means} == dict.fromkeys(means, 2.0)  # (4 + 1 + 1) / 3
    (table,) = (tmp_path / "wandb").glob(f"*{first.about.run_id}/files/media/table/*.json")
    rows = json.loads(table.read_text())["data"]
    assert len(rows) == len({(row[-1], row[3], row[5]) for row in rows}) == (18 if granularity == "row" else 36)
    job.store.write(replace(result, steps=result.steps))  # the folder has changed
    assert write_rows(tmp_path) >= 1


def test_large_grids_get_a_run_a_row() -> None:
    assert toy_grid(seeds=400).granularity == "run"
    assert toy_grid(seeds=401).granularity == "row"
    assert toy_grid(seeds=401, tracking={"granularity": "run"}).granularity == "run"
