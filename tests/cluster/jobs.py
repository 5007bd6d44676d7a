"""Real SLURM jobs: submits as a user does, looks as a user does, and knows where the test nodes keep their disks."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.engine.runs import ROOT

NODES = ("n1", "n2", "n3")
STATE = Path(os.environ.get("SLURM_TEST_STATE", "/var/tmp/cltm-slurm"))
SET_UP = Path(__file__).with_name("slurm.sh")
PATIENCE_SECONDS = 300.0


def cluster(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m cluster` to its end."""
    command = [sys.executable, "-m", "cluster", *map(str, arguments)]
    environ = {**os.environ, **environment}
    environ.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch sets it in this process, and a job would keep its folder
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environ)


def slurm(*command: str) -> str:
    """What a command of SLURM answers."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    number: str
    results: Path

    @property
    def state(self) -> str:
        """SLURM's word, e.g. RUNNING."""
        return self.shows("JobState")

    @property
    def log(self) -> str:
        """What it has said so far."""
        path = self.results / "slurm" / f"{self.number}.log"
        return path.read_text() if path.exists() else ""

    def shows(self, key: str) -> str:
        """A value of `scontrol show job`."""
        found = re.search(rf"\b{key}=(\S+)", slurm("scontrol", "show", "job", self.number))
        assert found is not None, key
        return found[1]

    def ended(self) -> None:
        """Waits for the job's end and for its nodes."""
        until(lambda: self.state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"), self)
        assert self.shows("ExitCode") == "0:0", self.log

    def until_finished(self, trials: int) -> dict[Path, int]:
        """Waits until so many trials are stored. Returns their files and times."""
        until(lambda: len(self.trials()) >= trials, self)
        return self.trials()

    def trials(self) -> dict[Path, int]:
        """The stored trials, with the time each was written."""
        return {path: path.stat().st_mtime_ns for path in (self.results / "trials").glob("[!.]*.json")}

    def driver(self) -> int:
        """The process of `python -m engine run`."""
        wanted = f"-m\0engine\0run\0{self.results.parent}".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            if wanted in (words := _content(path)) and str(self.results).encode() in words:
                return int(path.parent.name)
        raise AssertionError("no driver")


def submit(grid: Path, results: Path, *options: object, **environment: str) -> Job:
    """Submits a grid."""
    done = cluster("submit", grid, "--results", results, *options, **environment)
    assert done.returncode == 0, done.stderr
    found = re.search(r"submitted: job (\d+)", done.stdout)
    assert found is not None, done.stdout
    return Job(found[1], results)


def until(condition: Callable[[], bool], job: Job) -> float:
    """Waits for a condition. Returns the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE_SECONDS, f"{slurm('squeue')}\n{job.log}"
        time.sleep(0.2)
    return time.monotonic() - start


def nodes_are_idle() -> bool:
    """Whether SLURM could give every node to somebody else."""
    return slurm("sinfo", "--noheader", "--Node", "--format=%t").split() == ["idle"] * len(NODES)


def leftovers(node: str) -> list[str]:
    """What lies in a node's own /tmp."""
    return sorted(path.name for path in (STATE / node / "tmp").iterdir())


def _content(path: Path) -> bytes:
    """What a file of /proc holds; nothing if its process is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
