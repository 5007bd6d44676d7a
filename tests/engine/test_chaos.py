"""A grid under random kill -9 of workers and drivers, two engines and a full disk ends as if nothing had been."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.job import make_job, settle
from engine.plan import make_plan
from engine.store import Store
from engine.train import run_trial
from grids.files import PARTIAL
from grids.grid import load
from tests.engine.processes import names, wait_until, workers
from tests.engine.runs import ROOT, command, engine, scores, write_grid

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]
KILLS, SEED = 20, 20260101
TOY = {
    "task": "toy", "corpus": "synthetic", "languages": ["ca", "no", "zh-CN", "fy-NL"], "seeds": 9, "samples": 8,
    "options": {"seconds": 0.4}, "resources": {"max_retries": 3, "trials_per_tuner": 50},
}  # fmt: skip
DISK_BYTES, FREE_BYTES = 8_000_000, 120_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a small disk of its own, which takes root to make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    small = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    yield folder, small
    if small:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def undisturbed(grid: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains the grid in this process, one trial after the other."""
    job = settle(make_job(load(grid), results))
    with monkeypatch.context() as patched:
        patched.setattr("tasks.toy.time.sleep", lambda seconds: None)
        for item in make_plan(job).pending:
            result = run_trial(job, item)
            assert result is not None
            job.store.write(result)
    job.store.compact(job.grid.samples)


def run_on_a_full_disk(grid: Path, results: Path) -> None:
    """Runs until the disk is full, and makes room again."""
    ballast = results.parent / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    os.truncate(ballast, ballast.stat().st_size - FREE_BYTES)
    done = engine("run", grid, "--results", results)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no space left" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    ballast.unlink()
    assert 0 < len(names(results / "trials")) < 100


class Engines:
    """Engines on one folder, which are killed and started again."""

    def __init__(self, grid: Path, results: Path, log: Path) -> None:
        self.arguments, self.results = command("run", grid, "--results", results), results
        self.log, self.running = log.open("w"), list[subprocess.Popen[bytes]]()

    def start(self) -> None:
        """One more."""
        process = subprocess.Popen(self.arguments, cwd=ROOT, stdout=self.log, stderr=self.log, start_new_session=True)
        self.running.append(process)

    def kill_a_worker(self, dice: random.Random) -> None:
        """Kills a process that trains, of any engine."""
        wait_until("a worker trains", lambda: self._workers() and names(self.results / "claims"))
        time.sleep(dice.uniform(0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(dice.choice(self._workers() or [2**22 + 1]), signal.SIGKILL)

    def kill_a_driver(self, dice: random.Random) -> None:
        """Kills an engine, and nothing else of it."""
        process = self.running.pop(dice.randrange(len(self.running)))
        process.kill()
        process.wait()

    def _workers(self) -> list[int]:
        return [pid for process in self.running for pid in workers(process.pid)]


def test_kills_restarts_a_full_disk_and_two_engines_change_nothing(
    tmp_path: Path, disk: tuple[Path, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, results = write_grid(tmp_path / "toy.toml", **TOY), disk[0] / "results"
    undisturbed(grid, tmp_path / "undisturbed", monkeypatch)
    if disk[1]:
        run_on_a_full_disk(grid, results)
    dice = random.Random(SEED)
    victims = dice.sample(["worker"] * (KILLS - 4) + ["driver"] * 4, KILLS)
    engines = Engines(grid, results, tmp_path / "log")
    engines.start()
    for number, victim in enumerate(victims):
        engines.kill_a_worker(dice) if victim == "worker" else engines.kill_a_driver(dice)
        if len(engines.running) < (2 if number > KILLS // 2 else 1):
            engines.start()
    assert len(make_plan(settle(make_job(load(grid), results))).pending) > 0, "the grid was through before the kills"
    for process in engines.running:
        process.wait()
    done = engine("run", grid, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert scores(results).equals(scores(tmp_path / "undisturbed"))
    assert names(results / "claims") | names(results / "runs") == set()
    assert list(results.rglob(f"{PARTIAL}*")) == []
    assert Store(results).failures() == []
