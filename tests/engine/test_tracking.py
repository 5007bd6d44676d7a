"""The W&B mirror: one run a trial with what it says, and a logger that breaks breaks nothing."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine import tracking
from engine.plan import make_plan
from engine.tracking import Tracker, drain
from engine.train import run_trial
from tests.engine.jobs import toy_job


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
    drain()
    assert result is not None
    assert run.calls[-1] == breaks_at


def test_a_training_does_not_wait_for_its_logger_but_no_more_than_one_run_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online, run = threading.Event(), BrokenRun("")

    def start(job: Any, trial: Any) -> BrokenRun:
        assert online.wait(10)
        return run

    monkeypatch.setattr(tracking, "_start", start)
    job = toy_job(tmp_path, tracking={"wandb": "offline"})
    tracker = Tracker(job, make_plan(job).pending[0].trial)
    tracker.log(1, {"loss": 1.0})
    tracker.finish(None)
    assert run.calls == []
    second = Tracker(job, make_plan(job).pending[1].trial)
    ended = threading.Thread(target=second.finish, args=[None])
    ended.start()
    ended.join(0.3)
    assert ended.is_alive()
    online.set()
    ended.join(10)
    drain()
    assert run.calls == ["log", "finish", "finish"]


@pytest.mark.slow
def test_an_offline_run_holds_the_trial(tmp_path: Path) -> None:
    job = toy_job(tmp_path, tracking={"wandb": "offline", "project": "p"})
    item = make_plan(job).pending[-1]
    tracker = Tracker(job, item.trial)
    tracker.finish(run_trial(job, item))
    drain()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    wanted = [text.encode() for text in ("toy", "cross", "ca+no", item.trial.slug, "seconds/train", "score/ca")]
    for _ in range(200):  # W&B writes in a process of its own, after it was told
        content = file.read_bytes()
        if all(text in content for text in wanted):
            break
        time.sleep(0.1)
    assert content.startswith(b":W&B")
    assert [text for text in wanted if text not in content] == []
