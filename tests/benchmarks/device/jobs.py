"""What is measured, and in what order: a device may be ours for minutes only, so the most telling comes first."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.device.arithmetic import Pace, of_the_paper
from tests.benchmarks.device.crew import FailedError, Worker, ask_all, crew
from tests.benchmarks.device.report import Report
from tests.benchmarks.device.scale import OF_SCORING, OF_STEPS, PARTS, Scale

SECTIONS = ("same", "steps", "scoring", "hours", "kill")
CALL_SECONDS = 60.0  # that one variant may take before it counts as hanging
CREW_SECONDS, KILL_SECONDS = 120.0, 60.0  # of all that a crew does, and of a kill: who has not answered by then hangs
PRECISIONS = {False: ("fp16", "bf16"), True: ("fp32", "bf16")}  # the paper grids' comes first; a CPU has no fast half
PROCESSES, MPS = "processes", "MPS"
KILLED_OF = 3


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes:
        name: of it.
        seconds: that it needs at most, as far as known; it is not begun with less.
        measure: called with the bench and the seconds that are left.
    """

    name: str
    seconds: float
    measure: "Callable[[Bench, float], None]"


def title(without: Sequence[str]) -> str:
    """What a variant is called."""
    if not without:
        return "everything on"
    return "as it stood" if set(without) == set(PARTS) else f"without {', '.join(without)}"


class Bench:
    """One process that measures variants, and what is known by now.

    Args:
        scale: how much.
        small: whether the encoder is tiny.
        counts: trainings at once.
        tests: test clips a language, for the hours of a matrix.
        report: where results go.
        folder: for files.
    """

    def __init__(
        self, scale: Scale, small: bool, counts: Sequence[int], tests: int, report: Report, folder: Path
    ) -> None:
        self._worker = Worker()
        self._worker.ask("work.start", str(folder), small)
        self.scale, self.small, self.counts, self.tests, self.report = scale, small, counts, tests, report
        self.folder, self.peaks, self.paces = folder, dict[str, float](), list[tuple[str, Pace]]()
        self.work, self.flop = of_the_paper(), dict[str, float]()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.kill()

    def start(self, seconds: float) -> dict[str, str]:
        """Waits for the backbone; says what is measured on what."""
        found: dict[str, str] = self._worker.answer(seconds)
        return found

    def call(self, what: str, *arguments: object, seconds: float) -> Any:
        """Asks the process; one that failed is ended, and the next call has a new one."""
        try:
            return self._worker.call(what, self.scale, *arguments, seconds=min(seconds, CALL_SECONDS))
        except FailedError:
            self._worker.kill()
            self._worker = Worker()
            raise

    def run(self, job: Job, seconds: float) -> bool:
        """Does a job. Returns whether it went well."""
        try:
            job.measure(self, seconds)
        except Exception as error:  # whatever it is, the other jobs are worth having
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            self.report.line(f"{job.name} FAILED: {type(error).__name__}: {said[-1] if said else ''}")
            return False
        return True

    def peak(self, precision: str, seconds: float) -> float:
        """FLOP a second of a large product."""
        if precision not in self.peaks:
            self.peaks[precision] = self.call("scoring.peak", precision, seconds=seconds)
            self.report.line(f"a large product in {precision}: {self.peaks[precision] / 1e12:.3g} TFLOP/s")
        return self.peaks[precision]

    def pace(self, sharing: str, precision: str, pace: Pace) -> None:
        """Tells what trainings at once come to."""
        if precision == PRECISIONS[self.small][0]:
            self.paces.append((sharing, pace))
        block, scored = self.work["SV"].block, self.tests
        self.report.row("hours", {
            "variant": sharing, "at_once": pace.at_once, "precision": precision, "setup_seconds": pace.setup_seconds,
            "ms": 1e3 * pace.clip_seconds, "test_ms": 1e3 * pace.test_seconds, "base": pace.an_hour(block, scored),
            "double": pace.an_hour(2 * block, 2 * scored),
            **{name: pace.hours(work, scored) for name, work in self.work.items()},
        })  # fmt: skip

    def best(self) -> None:
        """The hours of both matrices the fastest way."""
        own = [(sharing, pace) for sharing, pace in self.paces if sharing in (PROCESSES, MPS)]
        if not own:
            return
        sharing, pace = min(own, key=lambda one: one[1].hours(self.work["SV"], self.tests))
        hours = ", ".join(f"{name} {pace.hours(work, self.tests):.1f} h of {work.trainings:,} trainings, "
                          f"{work.clips / 1e6:.1f} million steps" for name, work in self.work.items())  # fmt: skip
        self.report.line(f"best: {pace.at_once} at once ({sharing}); extrapolated at batch 1 with {self.tests} test "
                         f"clips a language: {hours}")  # fmt: skip


def jobs(sections: Sequence[str], small: bool) -> Iterator[Job]:
    """All jobs of some sections, in order."""
    half, other = PRECISIONS[small]
    single, scored, chief = [(part,) for part in OF_STEPS], [(part,) for part in OF_SCORING], ((), PARTS)
    found = [
        ("same", [_same(half)]),
        (
            "steps",
            [*(_steps(kind, 1, half) for kind in chief), _plain(half), *(_steps(kind, 8, half) for kind in chief)],
        ),
        ("scoring", [_scoring(kind, half) for kind in chief]),
        ("hours", [_streams(half)]),
        *_crews(sections, half),
        ("steps", [*(_steps(kind, 1, half) for kind in single), _steps((), 1, other)]),
        ("scoring", [_scoring(kind, half) for kind in scored]),
    ]
    if not small:
        found += [
            ("scoring", [_scoring((), precision) for precision in (other, "tf32", "fp32")]),
            ("steps", [*(_steps(kind, 8, half) for kind in single), _steps((), 8, other), _steps(PARTS, 1, other)]),
            ("same", [_same(other)]),
            ("steps", [_steps(PARTS, 8, other), _plain(other)]),
            ("scoring", [_scoring(kind, other) for kind in (*scored, PARTS)]),
            ("steps", [_steps(kind, batch, other) for batch in (1, 8) for kind in single]),
        ]
    for section, some in found:
        for job in some if section in sections else ():
            yield Job(job.name, job.seconds / 4, job.measure) if small else job


def _steps(without: Sequence[str], batch: int, precision: str) -> Job:
    """A variant of steps."""

    def measure(bench: Bench, seconds: float) -> None:
        found = bench.call("steps.measure_steps", tuple(without), batch, precision, seconds=seconds)
        each = [ms / batch for ms in found["ms"]]
        about = {"variant": title(without), "batch": batch, "precision": precision, "ms_clip": each}
        bench.report.row("steps", {**about, **found})

    return Job(f"steps {title(without)}, batch {batch}, {precision}", 12, measure)


def _plain(precision: str) -> Job:
    """The plain loop: its steps, its scoring, and the hours of a process a training."""

    def measure(bench: Bench, seconds: float) -> None:
        from tests.benchmarks.device import plain

        scale, folder = bench.scale, bench.folder / "waves"
        if not folder.exists():
            folder.mkdir()
            plain.save_waves(str(folder), 40 if bench.small else 200, scale.seconds)
        asked = {"backbone": scale.backbone, "waves": str(folder), "precision": precision, "steps": scale.steps,
                 "limit_seconds": scale.limit_seconds / 2}  # fmt: skip
        found = plain.start(asked, min(seconds, CALL_SECONDS))
        for batch in (1, 8):
            values = {"ms": found[f"ms_{batch}"], "ms_clip": [ms / batch for ms in found[f"ms_{batch}"]]}
            about = {"variant": "plain transformers loop", "batch": batch, "precision": precision}
            bench.report.row("steps", {**about, **values, "steps": None})
        names = ("start_seconds", "import_seconds", "load_seconds", "waves_seconds")
        bench.report.row("scoring", {"variant": "plain transformers loop", "precision": precision, **found})
        bench.report.line("plain loop, a process a training: " + ", ".join(
            f"{name.removesuffix('_seconds')} {found[name]:.2f} s" for name in names))  # fmt: skip
        pace = Pace(
            sum(found[name] for name in names), median(found["ms_1"]) / 1e3, 1 / median(found["clips_a_second"])
        )
        bench.pace("plain loop", precision, pace)

    return Job(f"plain loop, {precision}", 25, measure)


def _scoring(without: Sequence[str], precision: str) -> Job:
    """A variant of scoring."""

    def measure(bench: Bench, seconds: float) -> None:
        best = bench.peak(precision, seconds)
        if not bench.flop:
            bench.flop = bench.call("scoring.flop", seconds=seconds)
            bench.report.line(f"{bench.flop['evaluate'] / 1e9:.1f} GFLOP a second of audio to score, "
                              f"{bench.flop['train'] / 1e9:.1f} to train")  # fmt: skip
        found = bench.call("scoring.measure_scoring", tuple(without), precision, seconds=seconds)
        rates = [audio * bench.flop["evaluate"] for audio in found["audio_a_second"]]
        bench.report.row("scoring", {
            "variant": title(without), "precision": precision, **found, "tflops": [rate / 1e12 for rate in rates],
            "share": [rate / best for rate in rates],
        })  # fmt: skip

    return Job(f"scoring {title(without)}, {precision}", 10, measure)


def _same(precision: str) -> Job:
    """Recorded steps against the same one by one."""

    def measure(bench: Bench, seconds: float) -> None:
        found = bench.call("steps.same_numbers", precision, seconds=seconds)
        bench.report.row("same", {"precision": precision, **found})
        same = not found["recorded_differs_at"] and not found["recorded_largest"]
        what = "the bits" if same else "OTHER bits (see the repetition beside it)"
        bench.report.line(f"recorded steps, {precision}: {what} of steps taken one by one")

    return Job(f"same numbers, {precision}", 20, measure)


def _streams(precision: str) -> Job:
    """Networks that go round on streams of one process."""

    def measure(bench: Bench, seconds: float) -> None:
        found = bench.call("at_once.streams", precision, tuple(bench.counts), seconds=seconds)
        for count, ms in found.items():
            bench.report.row("streams", {"variant": "recorded steps on streams", "at_once": count, "ms": ms})

    return Job("streams of one process", 20, measure)


def _crews(sections: Sequence[str], precision: str) -> Iterator[tuple[str, list[Job]]]:
    """Trainings at once, and one of them killed, in processes that take turns, then in those that share through MPS."""
    told = [name for name in ("hours", "kill") if name in sections]
    for sharing in (PROCESSES, MPS) if told else ():
        measure = partial(_crew, sharing=sharing, told=told, precision=precision)
        yield told[0], [Job(f"{' and '.join(told)}, {sharing}", 55 if "hours" in told else 30, measure)]


def _crew(bench: Bench, seconds: float, sharing: str, told: Sequence[str], precision: str) -> None:
    """See `_crews`."""
    from engine.mps import serving
    from tests.benchmarks.device import at_once

    end = time.monotonic() + min(seconds, CREW_SECONDS)
    size = max([*bench.counts, KILLED_OF]) if "hours" in told else KILLED_OF
    with ExitStack() as stack:
        if sharing == MPS and not stack.enter_context(serving(True, bench.folder)):
            bench.report.line("MPS: no daemon starts here, so nothing was measured through it")
            return
        workers = stack.enter_context(crew(size))
        found = ask_all(workers, "at_once.ready", bench.scale, precision, 1 / size, seconds=end - time.monotonic())
        took, shapes, recorded, held = (max(one[name] for one in found) for name in at_once.READY)
        bench.report.line(f"{size} processes ({sharing}): ready {took:.1f} s after their first call; {recorded} of "
                          f"{shapes} shapes recorded; {held:.2f} GB each")  # fmt: skip
        for count in bench.counts if "hours" in told else ():
            left = end - time.monotonic()
            bench.pace(sharing, precision, at_once.pace(workers[:count], bench.scale, precision, left))
        if "kill" in told:
            left = min(end - time.monotonic(), KILL_SECONDS)
            line = at_once.kill_one(workers[:KILLED_OF], bench.scale, precision, left)
            bench.report.line(f"kill -9, {sharing}: {line}")
