"""Sending offline runs: what is sent, what is not, and that the same command goes on."""

import os
import time
from pathlib import Path

import pytest

from engine import sync
from engine.commands import sync as sync_command
from engine.job import settle
from engine.plan import make_plan
from engine.sync import QUIET_SECONDS, send, sending, unsent
from engine.tracking import Tracker, drain
from engine.train import run_trial
from grids.errors import UserError
from tests.engine.jobs import toy_job
from tests.engine.wandb_files import server


def fake_run(results: Path, name: str, finished: bool = True, age_s: float = 0) -> Path:
    """The folder of a run, without anything in it."""
    folder = results / "wandb" / f"offline-run-{name}"
    folder.mkdir(parents=True)
    file = folder / f"run-{name}.wandb"
    file.touch()
    os.utime(file, (time.time() - age_s, time.time() - age_s))
    if finished:
        (folder / "finished").touch()
    return folder


def test_unsent_are_finished_runs_and_those_cut_off_but_none_that_is_being_written(tmp_path: Path) -> None:
    done, sent = fake_run(tmp_path, "a"), fake_run(tmp_path, "b")
    (sent / "run-b.wandb.synced").touch()
    fake_run(tmp_path, "c", finished=False)
    cut_off = fake_run(tmp_path, "d", finished=False, age_s=QUIET_SECONDS + 60)
    assert unsent(tmp_path) == [done, cut_off]
    assert unsent(tmp_path, finished_alone=True) == [done]


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    """A results folder with three finished runs."""
    job = settle(toy_job(tmp_path, tracking={"wandb": "offline"}))
    for item in make_plan(job).pending[:3]:
        tracker = Tracker(job, item.trial)
        tracker.log(1, {"loss": 1.0})
        tracker.finish(run_trial(job, item))
    drain()
    return tmp_path


@pytest.mark.slow
def test_runs_arrive_with_what_they_say_and_are_not_sent_twice(
    three_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "k" * 40
    monkeypatch.setenv("WANDB_API_KEY", key)
    (unsent(three_runs)[0] / "finished").unlink()  # as if a process still wrote to it
    with server() as (url, asked):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert sync_command(three_runs, 2, dry_run=True) == 0
        assert "2 W&B runs to send" in capsys.readouterr().out
        assert asked == []
        assert sync_command(three_runs, 2, dry_run=False) == 0
        assert "2 W&B runs sent" in capsys.readouterr().out
        assert len([body for body in asked if "UpsertBucket" in body and '"cltm-toy"' in body]) >= 2
        assert any("file_stream" in body and '\\"loss\\":1' in body for body in asked)
        before = len(asked)
        assert sync_command(three_runs, 2, dry_run=False) == 0
        assert "0 W&B runs sent" in capsys.readouterr().out
        assert [body for body in asked[before:] if "UpsertBucket" in body] == []


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500])
def test_a_failing_server_leaves_the_runs_for_the_next_time(
    three_runs: Path, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with server(status) as (url, _):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert sync_command(three_runs, 8, dry_run=False) == 1
    assert f"0 W&B runs sent, 3 left: {url} answers {status}" in capsys.readouterr().out
    assert len(unsent(three_runs)) == 3


@pytest.mark.slow
def test_a_server_that_stalls_is_given_up(three_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers the first question, and then says nothing more that the client waits for."""
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(sync, "answers", lambda: "")
    with server(500) as (url, _):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert send(unsent(three_runs), 8, seconds=2) == "not everything arrived within 2 s"


@pytest.mark.slow
def test_a_driver_that_is_online_sends_what_has_finished(three_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with server() as (url, _):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with sending(three_runs, online=True):
            assert len(unsent(three_runs)) == 3
    assert unsent(three_runs) == []


def test_no_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1 cannot be reached" in sync.answers()


def test_without_a_key_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(toy_job(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    with pytest.raises(UserError, match="export WANDB_API_KEY, or run: wandb login"):
        sync_command(tmp_path, 8, dry_run=False)
    with pytest.raises(UserError, match="is no results folder"):
        sync_command(tmp_path / "none", 8, dry_run=False)
