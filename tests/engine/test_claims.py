"""Who trains what when several runs fill one folder: one at a time; a dead run's trials are free; signals ask first."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine import claims
from engine.claims import Run, alone, running, stop_watch, stopping_on_signals
from grids.errors import UserError
from tests.engine.runs import ROOT

TRIAL = "ca-8_seed0_12345678"
DIES = f"""
import os, signal, sys
from pathlib import Path
from engine.claims import running
with running(Path(sys.argv[1])) as run:
    run.claim("{TRIAL}")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left_by_a_killed_run(folder: Path) -> Path:
    """The claim of a run that was killed."""
    done = subprocess.run([sys.executable, "-c", DIES, str(folder)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    return folder / "claims" / TRIAL


def test_a_trial_is_one_runs_until_it_gives_it_back(tmp_path: Path) -> None:
    with running(tmp_path) as one, running(tmp_path) as other:
        assert one.claim(TRIAL)
        assert one.claim(TRIAL), "a run may try its own trial again"
        assert not other.claim(TRIAL)
        assert (one.held(), other.held()) == (frozenset(), {TRIAL})
        assert one.has_company()
        other.release(TRIAL)
        assert not other.claim(TRIAL), "another's claim was given back"
        one.release(TRIAL)
        assert other.claim(TRIAL)


def test_nothing_is_left_of_a_run_that_has_ended(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.claim(TRIAL)
    assert not run.claim(TRIAL), "a worker that outlived its run starts nothing"
    assert [path for name in ("claims", "runs") for path in (tmp_path / name).iterdir()] == []


def test_the_claim_of_a_killed_run_is_taken_over_at_once(tmp_path: Path) -> None:
    assert left_by_a_killed_run(tmp_path).exists()
    with running(tmp_path) as run:
        assert not run.has_company()
        assert run.held() == frozenset()
        assert run.claim(TRIAL)
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_run_elsewhere_is_dead_when_its_file_is_old_by_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's run, whose lock says nothing here; this machine's own clock is an hour late."""
    claim = left_by_a_killed_run(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(claims, "_machine", lambda: b"this one")
    with running(tmp_path) as run:
        now = run.path.stat().st_mtime
        os.utime(claim, (now - 50, now - 50))
        assert not run.claim(TRIAL)
        os.utime(claim, (now - 70, now - 70))
        assert run.claim(TRIAL)


def test_a_run_that_lives_touches_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    with running(tmp_path) as run:
        os.utime(run.path, (0, 0))
        for _ in range(1000):
            if run.path.stat().st_mtime > 0:
                return
            time.sleep(0.01)
    raise AssertionError("not touched")


def take(folder: Path, slugs: list[str], start: threading.Event, found: object) -> None:
    with running(folder) as run:
        start.wait()
        mine = [slug for slug in slugs if run.claim(slug)]
        found.put(mine)  # type: ignore[attr-defined]
        time.sleep(600)  # until it is killed: what ends would give its claims back


@pytest.mark.slow
def test_of_many_processes_one_gets_each_claim_of_a_dead_run(tmp_path: Path) -> None:
    left_by_a_killed_run(tmp_path)
    dead = tmp_path / "dead"
    (tmp_path / "claims" / TRIAL).rename(dead)
    slugs = [f"trial{number}" for number in range(200)]
    context = multiprocessing.get_context("spawn")
    start, found = context.Event(), context.Queue()
    workers = [context.Process(target=take, args=(tmp_path, slugs, start, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    while len(list((tmp_path / "runs").glob("[!.]*"))) < len(workers):
        time.sleep(0.05)
    for slug in slugs:
        (tmp_path / "claims" / slug).hardlink_to(dead)
    start.set()
    taken = [slug for _ in workers for slug in found.get(timeout=60)]
    for worker in workers:
        worker.kill()
        worker.join()
    assert len(taken) - len(set(taken)) <= len(workers)
    assert set(taken) == set(slugs)


def test_without_hard_links_runs_go_on_and_do_not_see_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with running(tmp_path) as one, running(tmp_path) as other:
        assert one.claim(TRIAL)
        assert other.claim(TRIAL)
    assert "no hard links" in caplog.text


def test_the_first_signal_asks_and_the_second_ends(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with running(tmp_path) as run, stopping_on_signals(run):
        assert not run.is_stopping()
        signal.raise_signal(signal.SIGUSR1)
        assert run.is_stopping()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_watch_sees_the_request_and_does_not_look_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, clock = list[float](), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Run, "is_stopping", lambda run: bool(looks.append(clock[0]) or clock[0] >= 1))
    is_stopping = stop_watch(Run(tmp_path, "run"))
    assert [is_stopping() for _ in range(3)] == [False] * 3
    clock[0] = 1.0
    assert [is_stopping() for _ in range(3)] == [True] * 3
    assert looks == [0.0, 1.0]


def test_what_happens_alone_on_a_folder_happens_one_after_the_other(tmp_path: Path) -> None:
    happened, inside = list[str](), threading.Event()

    def second() -> None:
        inside.wait()
        with alone(tmp_path):
            happened.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with alone(tmp_path):
        inside.set()
        time.sleep(0.2)
        happened.append("first")
    thread.join()
    assert happened == ["first", "second"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for enter in (alone, running):
        with pytest.raises(UserError, match="cannot write to the results folder"), enter(tmp_path / "file" / "grid"):
            pass
