"""What the engine itself costs a trial: empty trials through Ray, claims and store. Prints a table; asserts nothing.

    python -m tests.benchmarks.scale [NUMBER OF TRIALS]

The trials are a toy's, with tracking off. Time and memory are the driver's, by chunk; the first holds Ray's start.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.claims import running
from engine.job import make_job, settle
from engine.plan import make_plan
from engine.progress import Display
from engine.run import run_pending
from engine.store import Result
from grids.grid import parse

TRIALS, CHUNK, LANGUAGES = 2_000, 1_000, 40


@dataclass(frozen=True)
class Mark:
    """Where the driver was when a chunk was through."""

    trials: int
    seconds: float
    resident_bytes: int


class Meter(Display):
    """A display that marks each chunk."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.marks = [_mark(0)]

    def finished(self, result: Result) -> None:
        super().finished(result)
        if self._finished % CHUNK == 0 or self._finished == self._pending:
            self.marks.append(_mark(self._finished))


def measure(folder: Path, trials: int) -> list[Mark]:
    """Runs so many trials and returns a mark for the start and each chunk."""
    codes = [f"l{number:02}" for number in range(LANGUAGES)]
    seeds = -(-trials // (LANGUAGES * (LANGUAGES + 3) // 2))
    table = {"task": "toy", "corpus": "synthetic", "languages": codes, "seeds": seeds, "samples": 60}
    resources = {"trials_per_tuner": CHUNK}
    job = settle(make_job(parse({**table, "resources": resources, "tracking": {"wandb": "off"}}, "scale"), folder))
    pending = make_plan(job).pending[:trials]
    with running(job.results) as run, Meter(job.grid, len(pending), Console(quiet=True)) as meter:
        run_pending(job, pending, run, meter)
    return meter.marks


def _mark(trials: int) -> Mark:
    """Now, after so many trials."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Mark(trials, time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE"))


def main(trials: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        marks = measure(Path(folder), trials)
    table = Table("trials", "ms each", "driver, MB", title=f"{marks[-1].trials} of {trials} empty trials", box=None)
    for before, mark in pairwise(marks):
        each = 1000 * (mark.seconds - before.seconds) / (mark.trials - before.trials)
        table.add_row(f"{mark.trials}", f"{each:.1f}", f"{mark.resident_bytes / 1e6:.0f}")
    table.add_row("all", f"{1000 * (marks[-1].seconds - marks[0].seconds) / marks[-1].trials:.1f}", "")
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
