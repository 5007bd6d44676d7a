"""What the commands of `python -m engine` do and print."""

import logging
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from engine.claims import STOP_SIGNALS, Run, alone, running, stopping_on_signals
from engine.cost import Audio, audio_hours, estimate
from engine.job import Job, joined, make_job, settle
from engine.pilot import pilot_part, pilot_rows, time_rows
from engine.plan import Plan, Selection, make_plan
from engine.status import by_cause, status_of
from engine.store import FOLDER_NAME, Store
from engine.sync import sending
from grids.errors import Exit, UserError
from grids.files import writing_to
from grids.grid import MOST_RUNS, Grid, load

if TYPE_CHECKING:
    from tasks.data.prepare import Progress

logger = logging.getLogger(__name__)
RAY_COPY = "working_dir_files"  # of Ray's temporary folder, where it unpacks what `ray job submit` uploads
MOST_CAUSES = 20
DAY_SECONDS = 24 * 3600  # nobody writes a file for so long
BYTES_PER_RESULT = 4_000  # a result file and its rows; the demo's take 2.6 kB
BYTES_PER_WANDB_RUN = 12_000  # an offline run


@dataclass(frozen=True)
class Asked:
    """What the command line says of a grid.

    Attributes:
        grid: path of the grid file.
        results: the results folder; None: results/<grid name>.
        languages, seeds, only: the part of the grid, as `Selection.parse` reads it.
    """

    grid: str
    results: Path | None = None
    languages: str = ""
    seeds: str = ""
    only: str = ""

    def load(self) -> tuple[Grid, Selection]:
        """The grid and the part of it."""
        grid = load(self.grid)
        return grid, Selection.parse(grid, self.languages, self.seeds, self.only)


def plan(asked: Asked, pilot: bool = False) -> int:
    """Prints what a grid will train, what is missing, and what it will take; after a pilot, how sure that is."""
    console = _console()
    grid, part = asked.load()
    cells = pilot_part(grid, part) if pilot else None
    job = _make_job(grid, asked.results, console)
    if cells is not None:
        return _pilot(job, cells, console)
    joined(job)
    if job.store.has_trials:
        with suppress(UserError):  # of a folder that cannot be written to; its table only saves time
            _compact(job)
    _print_plan(job, part, console)
    _print_dropped(job, asked.grid, console)
    return 0


def run(asked: Asked) -> int:
    """Trains what is missing. Returns 0 if the grid, or the part asked for, has no holes left."""
    for number in STOP_SIGNALS:
        signal.signal(number, _leave)
    console = _console()
    grid, part = asked.load()
    return _fill(_make_job(grid, asked.results, console), part, console)


def _pilot(job: Job, cells: Selection, console: Console) -> int:
    """Trains a few cells and prints what they say of the whole grid. Returns 0 if none of them failed."""
    status = _fill(job, cells, console)
    whole = make_plan(job)
    _print_plan(job, Selection(), console, measured=True)
    _print_rows(pilot_rows(job, cells, whole), console)
    return status


def _fill(job: Job, part: Selection, console: Console) -> int:
    """Makes the results folder the job's own and trains what the part lacks. Returns the exit status."""
    with running(job.results) as run, stopping_on_signals(run):
        with alone(job.results):
            job = settle(job)
            job.store.clear_partial(DAY_SECONDS if run.has_company() else 0)
        if job.store.has_trials:
            _compact(job)  # after a kill: each result is opened once
        planned = make_plan(job, part)
        console.print(_headline(job, planned, part))
        _print_dropped(job, job.store.grid_path, console)
        try:
            if planned.pending:
                with sending(job.results, job.wandb == "online"):
                    _run_with_display(job, planned, run, console)
        except KeyboardInterrupt:
            console.print("interrupted; what is finished is kept, and the same command continues")
            raise
        finally:
            _compact(job)
        return _report_holes(job, part, run, console)


def status(results: Path) -> int:
    """Prints what a results folder holds, from the folder alone. Returns 0 if its grid has no holes."""
    console = _console()
    found = status_of(Store(results), _grid_of(results))
    _print_rows(found.rows, console)
    for line in (*(f"warning: {warning}" for warning in found.warnings), *found.failures[:MOST_CAUSES]):
        console.print(f"  {line}")
    return Exit.HOLES if found.missing else Exit.COMPLETE


def sync(results: Path, at_once: int, dry_run: bool) -> int:
    """Sends the W&B runs of a results folder that have not arrived. Returns 0 if none is left.

    Raises:
        UserError: no results folder, or no W&B key.
    """
    from engine import sync as syncing
    from engine.wandb_rows import write_rows

    console, _ = _console(), _grid_of(results)
    if not dry_run:
        if not syncing.has_key():
            raise UserError("there is no W&B key; export WANDB_API_KEY, or run: wandb login")
        write_rows(results)
    runs = syncing.unsent(results)
    if dry_run:
        console.print(*(f"would send {run}" for run in runs), f"{len(runs)} W&B runs to send", sep="\n")
        return 0
    why = syncing.send(runs, at_once, syncing.CHUNK_SECONDS)
    left = syncing.unsent(results)
    console.print(f"{len(runs) - len(left)} W&B runs sent" + (f", {len(left)} left: {why}" if left else ""))
    return Exit.HOLES if left else Exit.COMPLETE


def dashboard(results: Path, entity: str) -> int:
    """Makes a W&B workspace and a report for a results folder's grid, and prints where they are."""
    from engine.dashboard import save

    _console().print(*save(_grid_of(results), entity), sep="\n")
    return 0


def doctor(grid_path: str | None) -> int:
    """Prints a line a check, with the fix of what is wrong. Returns 0 if nothing is."""
    from engine.doctor import examine

    findings = examine(load(grid_path) if grid_path else None)
    table = Table(box=None, show_header=False)
    for finding in findings:
        verdict, fix = ("ok", "") if finding.fine else ("WRONG", finding.fix)
        table.add_row(verdict, finding.what, finding.found, fix)
    _console().print(table)
    return 0 if all(finding.fine for finding in findings) else 1


def _grid_of(results: Path) -> Grid:
    """The grid of a results folder."""
    store = Store(results)
    if not store.grid_path.exists():
        raise UserError(f"{str(results)!r} is no results folder: it has no grid.toml")
    return load(store.grid_path)


def _make_job(grid: Grid, results: Path | None, console: Console) -> Job:
    """The job, with a progress bar while clips are decoded."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    folder = _results_folder(results if results is not None else grid.results)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        return make_job(grid, folder, _bar_updater(bars, console))


def _results_folder(folder: Path) -> Path:
    """The folder; in a job of `ray job submit`, whose working directory is a copy that goes, relative to another."""
    if RAY_COPY not in Path.cwd().parts:
        return folder
    return Path(os.environ.get("CLTM_RESULTS") or Path.home(), folder)


def _bar_updater(bars: Bars, console: Console) -> "Progress":
    """A progress function with a bar a language, or a line a language where the output is no terminal."""
    known = dict[str, Any]()

    def update(what: str, done: int, total: int) -> None:
        if what not in known:
            known[what] = bars.add_task(what, total=total)
            if not console.is_terminal:
                console.print(f"preparing {what}: {total} clips")
        bars.update(known[what], completed=done, total=total, visible=done < total)

    return update


def _run_with_display(job: Job, planned: Plan, run: Run, console: Console) -> None:
    """Runs the pending trials under the progress display."""
    from engine.progress import Display
    from engine.run import run_pending

    with Display(job.grid, len(planned.pending), console) as display:
        display.add(job.store.compact(job.grid.samples, write=False).select(Display.COLUMNS).to_pylist())
        run_pending(job, planned.pending, run, display)


def _headline(job: Job, planned: Plan, part: Selection) -> str:
    """One line: what there is to do and where."""
    grid = job.grid
    of = "" if part.is_whole else " of the part asked for"
    done = f"{planned.finished} of {planned.trials} trials{of} are finished"
    kinds = planned.by_kind
    extra = [f"{kinds['checkpoint']} are scored from their checkpoints"] if kinds["checkpoint"] else []
    extra += [f"{kinds['again']} are trained again for languages they were not scored on"] if kinds["again"] else []
    gpu = f" GPU: {text}." if (text := _gpu_text(job)) else ""
    return f"{grid.name}: {'; '.join([done, *extra])}. Results: {job.results}. W&B: {job.wandb}{_per(job)}.{gpu}"


def _gpu_text(job: Job) -> str:
    """How a GPU is used; "" where none is."""
    if not job.grid.resources.gpus:
        return ""
    from engine.shortcuts import gpu_text

    return gpu_text(job.grid.resources, job.task)


def _per(job: Job) -> str:
    """What a W&B run stands for, where it is no trial."""
    grid = job.grid
    if job.wandb == "off" or grid.granularity == "run":
        return ""
    why = f", as there are more than {MOST_RUNS} trials" if grid.tracking.granularity == "auto" else ""
    return f", a run a {grid.granularity}{why}"


def _print_plan(job: Job, part: Selection, console: Console, measured: bool = False) -> None:
    """The table of `plan`; what a pilot has measured better is left to it."""
    grid, planned = job.grid, make_plan(job, part)
    kinds = planned.by_kind
    of = "" if part.is_whole else " in the part asked for"
    rows = [
        ("grid", f"{grid.name}: task {grid.task}, corpus {grid.corpus}, backbone {grid.model.backbone}"),
        ("languages", f"{len(grid.languages)}: {' '.join(grid.languages)}"),
        *(("excluded", f"{code}: {reason}") for code, reason in grid.exclude.items()),
        ("seeds", f"{grid.seeds}"),
        ("mixtures", f"{planned.mixtures}{of}"),
        ("trials", f"{planned.trials}{of}, {planned.finished} of them finished"),
        ("to train", f"{kinds['train']}"),
    ]
    if kinds["checkpoint"]:
        rows.append(("to score on further languages", f"{kinds['checkpoint']} from a kept checkpoint"))
    if kinds["again"]:
        rows.append(("to train again for further languages", f"{kinds['again']}"))
    audio = Audio(job)
    if job.corpus is not None:
        sizes = ", ".join(map(str, grid.sizes or (grid.samples,)))
        rows.append(("samples", f"{sizes} a block (N{' a class' if job.task.needs.classes else ''})"))
        train_hours, test_hours = audio_hours(audio, planned.pending)
        hours = f"{train_hours:.1f} h to train on, {test_hours:.1f} h to score, over all pending trials"
        rows.append(("audio", hours))
    rows += [("GPU", text)] if (text := _gpu_text(job)) else []
    number = {"run": len(planned.pending), "row": len(grid.all_languages()), "grid": 1}[grid.granularity]
    runs = 0 if job.wandb == "off" else number
    rows.append(("W&B", f"{job.wandb}, {runs} runs, {runs * BYTES_PER_WANDB_RUN / 1e6:.1f} MB{_per(job)}"))
    if not measured:
        kept = f", and what keep = {list(grid.keep)} leaves" if grid.keep else ""
        rows.append(("disk", f"{len(planned.pending) * BYTES_PER_RESULT / 1e6:.1f} MB{kept}"))
        rows += _frozen_row(job, audio)
        rows += time_rows(job, estimate(job, audio, planned.pending))
    rows.append(("results", str(job.results)))
    _print_rows(rows, console)


def _frozen_row(job: Job, audio: Audio) -> list[tuple[str, str]]:
    """What the outputs of the task's frozen part will take, where it says how much a clip takes."""
    if not (a_clip := job.task.needs.frozen_bytes):
        return []
    count, room = audio.clips(), job.grid.resources.frozen_gigabytes
    size = count * a_clip / 1e9
    over = "" if size <= room else "; what is beyond frozen_gigabytes is computed in every epoch again"
    text = f"{size:.2f} GB for {count} clips of {a_clip / 1e6:.2g} MB, of {room:g} GB allowed{over}"
    return [("frozen outputs", text)]


def _print_rows(rows: Iterable[tuple[str, str]], console: Console) -> None:
    """A line each: a name and what there is to say."""
    table = Table(box=None, show_header=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_dropped(job: Job, grid_file: str | Path, console: Console) -> None:
    """One line on clips that the corpus lists and that no trial uses, if there are any."""
    if job.corpus is None:
        return
    from tasks.data.report import read
    from tasks.data.store import REPORT, language_place

    reports = [read(language_place(job.corpus, code) / REPORT) for code in job.grid.all_languages()]
    counts = [f"{report.language} {len(report.dropped)}" for report in reports if report.dropped]
    if counts:
        codes = ",".join(report.language for report in reports if report.dropped)
        command = f"python -m tasks.data report {grid_file} --languages {codes} --dropped"
        console.print(f"clips dropped: {', '.join(counts)}. Which and why: {command}")


def _report_holes(job: Job, part: Selection, run: Run, console: Console) -> int:
    """Says what of the part is missing and why, and whether the rest is there. Returns the exit status."""
    held = run.held()  # first: what another run has finished since counts as finished
    left = make_plan(job).pending
    missing = {item.trial.slug for item in left if part.holds(item.trial, job.grid.samples)}
    if missing:
        console.print(f"{len(missing)} trials{'' if part.is_whole else ' of the part asked for'} are missing:")
        failures = [failure for failure in job.store.failures() if failure.slug in missing]
        for line in by_cause(failures)[:MOST_CAUSES]:
            console.print(f"  {line}")
        if failures:
            console.print("each file says why, with the traceback; the same command tries them again")
        return _more_to_do(len(held & missing), run, console)
    if left:
        console.print(f"the part asked for is complete; {len(left)} trials of the grid are missing")
        return Exit.COMPLETE
    command = "interval" if job.grid.mode == "curve" else "cltm"
    console.print(f"complete: no trial is missing. Now: python -m analysis.{command} {job.results}")
    _print_rest(job, console)
    _write_rows(job)
    return Exit.COMPLETE


def _more_to_do(held: int, run: Run, console: Console) -> Exit:
    """Says why trials are missing that have not failed. Returns the exit status."""
    if held:
        console.print(f"{held} trials are being trained by another run")
    if run.is_stopping():
        console.print("stopped as asked; the same command continues")
    return Exit.MORE if held or run.is_stopping() else Exit.HOLES


def _write_rows(job: Job) -> None:
    """Writes, and sends, the W&B runs of a complete grid that has one a row or one for all."""
    if job.wandb == "off" or job.grid.granularity == "run":
        return
    from engine.wandb_rows import write_rows

    try:
        with sending(job.results, job.wandb == "online"):
            write_rows(job.results)
    except Exception as error:  # whatever a logger raises, the grid is complete
        logger.warning("W&B: %s: %s", type(error).__name__, error)


def _compact(job: Job) -> None:
    """Brings `scores.parquet` up to date.

    Raises:
        UserError: it cannot be written.
    """
    with writing_to(job.results, FOLDER_NAME), alone(job.results):
        job.store.compact(job.grid.samples)


def _print_rest(job: Job, console: Console) -> None:
    """Says so if the folder's grid, which keeps all that was ever asked for, lacks more than this one."""
    rest = make_plan(replace(job, grid=load(job.store.grid_path))).pending
    if rest:
        console.print(
            f"of earlier grids of this folder {len(rest)} trials are missing: python -m engine status {job.results}"
        )


def _console() -> Console:
    """Standard output, as plain text: what is printed may hold brackets. Lines are not broken where nobody looks."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    return console if console.is_terminal else Console(soft_wrap=True, markup=False, highlight=False, width=200)


def _leave(number: int, frame: FrameType | None) -> None:
    """Asked to stop before anything was trained."""
    raise SystemExit(Exit.MORE)
