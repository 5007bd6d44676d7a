"""Measures one device and prints tables; see the package.

python -m tests.benchmarks.device --only scoring hours --budget 120 --out found.jsonl
python -m tests.benchmarks.device --end-to-end --corpus FOLDER
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.benchmarks.device.crew import FailedError, Worker
from tests.benchmarks.device.jobs import SECTIONS, Bench, jobs
from tests.benchmarks.device.report import Report
from tests.benchmarks.device.scale import Scale

MEANS_NOTHING = "A CPU and a tiny encoder: this shows that everything runs. NONE OF THESE FIGURES MEANS ANYTHING."


@dataclass(frozen=True)
class Clock:
    """How long everything may take."""

    end: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked for. Returns 1 where a part failed or is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.device", description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="a tiny encoder and few steps, on a CPU: that it runs")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections")
    parser.add_argument(
        "--budget", type=_positive(float), default=225.0, help="seconds, start included; nothing starts beyond"
    )
    parser.add_argument("--at-once", type=_positive(int), nargs="+", default=[], help="trainings beside each other")
    parser.add_argument(
        "--tests", type=_positive(int), default=1000, help="test clips a language, for the hours of a matrix"
    )
    parser.add_argument("--out", type=Path, help="file for the same as JSON lines")
    parser.add_argument("--end-to-end", action="store_true", help="a grid through Ray instead; needs Ray")
    parser.add_argument("--corpus", default="", help="for --end-to-end, in Common Voice layout with ca, es and eu")
    options = parser.parse_args(arguments)
    if options.corpus and not options.end_to_end:
        parser.error("--corpus needs --end-to-end")
    if options.corpus and not Path(options.corpus).is_dir():
        parser.error(f"--corpus is {options.corpus!r}, which is no folder")
    clock, report = Clock(time.monotonic() + options.budget), Report(options.out)
    with tempfile.TemporaryDirectory(prefix="cltm-bench-") as folder:
        return (
            _end_to_end(options, report, clock, folder)
            if options.end_to_end
            else _tables(options, report, clock, folder)
        )


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A number above 0, for argparse."""

    def number(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value

    number.__name__ = "number above 0"
    return number


def _tables(options: argparse.Namespace, report: Report, clock: Clock, folder: str) -> int:
    """All jobs, the most telling first; those that there is no time for are named."""
    counts = options.at_once or ([1, 2] if options.small else [1, 2, 4, 8])
    scale = (Scale.small if options.small else Scale)(str(Path(folder, "base")))
    missing = list[str]()
    with Bench(scale, options.small, counts, options.tests, report, Path(folder)) as bench:
        try:
            found = bench.start(clock.left)
        except FailedError as error:
            report.line(f"FAILED: {error}")
            return 1
        report.line(
            f"{datetime.now():%Y-%m-%d}, "
            + ", ".join(f"{name} {value}" for name, value in found.items() if name != "backbone")
        )
        if found["device"] == "cpu":
            report.line(MEANS_NOTHING)
        for job in jobs(options.only, options.small):
            if clock.left < job.seconds:
                missing.append(job.name)
            elif not bench.run(job, clock.left):
                missing.append(f"{job.name} (failed)")
        bench.best()
    if found["device"] == "cpu":
        report.line(MEANS_NOTHING)
    report.line(f"{time.monotonic() - report.start:.0f} s in all"
                + (f"; MISSING: {'; '.join(missing)}" if missing else "; nothing is missing"))  # fmt: skip
    return int(bool(missing))


def _end_to_end(options: argparse.Namespace, report: Report, clock: Clock, folder: str) -> int:
    """The grid through Ray; see `grid_run`."""
    from tests.benchmarks.device import grid_run

    worker = Worker()
    found = worker.call("work.start", folder, options.small, seconds=clock.left)
    worker.kill()
    on_gpu = found["device"] != "cpu"
    report.line(f"{found['device']}, torch {found['torch']}: gender, three languages, through Ray")
    try:
        lines: Iterator[str] = grid_run.measure(Path(folder), found["backbone"], options.corpus, on_gpu, clock.left)
        texts = []
        for text in lines:
            report.line(text)
            texts.append(text)
    except Exception as error:
        report.line(f"FAILED: {type(error).__name__}: {error}")
        for log in Path(folder).glob("*.log"):
            report.line(f"{log.name}: ...{log.read_text(errors='replace')[-1500:]}")
        return 1
    return int(any("OTHER" in text or ("status 0" not in text and "status" in text) for text in texts))


if __name__ == "__main__":
    sys.exit(main())
