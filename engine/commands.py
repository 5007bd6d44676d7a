"""What the commands of `python -m engine` do and print."""

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from engine.cost import audio_hours, time_line
from engine.job import Job, Progress, joined, make_job, settle
from engine.plan import Plan, make_plan
from engine.store import Store, alone
from engine.sync import sending
from grids.errors import UserError
from grids.grid import MOST_RUNS, Grid, load

logger = logging.getLogger(__name__)
EXIT_HOLES = 1
RAY_COPY = "working_dir_files"  # of Ray's temporary folder, where it unpacks what `ray job submit` uploads
BYTES_PER_RESULT = 4_000  # a result file and its rows; the demo's take 2.6 kB
BYTES_PER_WANDB_RUN = 12_000  # an offline run


def plan(grid_path: str, results: Path | None) -> int:
    """Prints what a grid will train, what is missing, and what it will take."""
    console = _console()
    grid = load(grid_path)
    job = _make_job(grid, results, console)
    joined(job)
    _print_plan(job, make_plan(job), console)
    _print_dropped(job, console)
    return 0


def run(grid_path: str, results: Path | None) -> int:
    """Trains what is missing. Returns 0 if the grid has no holes left."""
    console = _console()
    grid = load(grid_path)
    job = _make_job(grid, results, console)
    job = settle(job)
    job.store.clear_partial()
    signal.signal(signal.SIGTERM, _interrupt)
    with alone(job.results):
        return _run_settled(job, console)


def _run_settled(job: Job, console: Console) -> int:
    """Trains what is missing in a folder that is the job's own."""
    planned = make_plan(job)
    console.print(_headline(job, planned))
    _print_dropped(job, console)
    try:
        if planned.pending:
            from engine.run import run_pending

            with sending(job.results, job.wandb == "online"):
                _run_with_display(job, planned, run_pending, console)
    except KeyboardInterrupt:
        console.print("interrupted; what is finished is kept, and the same command continues")
        raise
    finally:
        _compact(job)
    return _report_holes(job, console)


def status(results: Path) -> int:
    """Prints what a results folder holds, from the folder alone. Returns 0 if its grid has no holes."""
    store, grid, console = Store(results), _grid_of(results), _console()
    scored = store.scored()
    trials = grid.trials()
    missing = [t for t in trials if not scored.get(t.slug, frozenset()) >= set(grid.evaluated(t.mixture))]
    failures = store.failures()
    table = Table(box=None, show_header=False)
    table.add_row("grid", f"{grid.name}: {grid.task}, {len(grid.languages)} languages, {len(grid.seeds)} seeds")
    table.add_row("finished", f"{len(trials) - len(missing)} of {len(trials)} trials")
    table.add_row("failed", f"{len(failures)}")
    console.print(table)
    for failure in failures[:20]:
        console.print(f"  {failure.slug}: {failure.cause} ({failure.path})")
    return EXIT_HOLES if missing else 0


def sync(results: Path, at_once: int, dry_run: bool) -> int:
    """Sends the W&B runs of a results folder that have not arrived. Returns 0 if none is left."""
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
    return EXIT_HOLES if left else 0


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
    folder = _results_folder(results if results is not None else Path("results", grid.name))
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        return make_job(grid, folder, _bar_updater(bars, console))


def _results_folder(folder: Path) -> Path:
    """The folder; in a job of `ray job submit`, whose working directory is a copy that goes, relative to another."""
    if RAY_COPY not in Path.cwd().parts:
        return folder
    return Path(os.environ.get("CLTM_RESULTS") or Path.home(), folder)


def _bar_updater(bars: Bars, console: Console) -> Progress:
    """A progress function with a bar a language, or a line a language where the output is no terminal."""
    known = dict[str, Any]()

    def update(what: str, done: int, total: int) -> None:
        if what not in known:
            known[what] = bars.add_task(what, total=total)
            if not console.is_terminal:
                console.print(f"preparing {what}: {total} clips")
        bars.update(known[what], completed=done, total=total, visible=done < total)

    return update


def _run_with_display(job: Job, planned: Plan, run_pending: Any, console: Console) -> None:
    """Runs the pending trials under the progress display."""
    from engine.progress import Progress as Display

    with Display(job.grid, len(planned.pending), console) as display:
        display.add(job.store.compact(job.grid.samples).to_pylist())
        run_pending(job, planned.pending, display)


def _headline(job: Job, planned: Plan) -> str:
    """One line: what there is to do and where."""
    grid = job.grid
    done = f"{planned.finished} of {planned.trials} trials are finished"
    kinds = planned.by_kind
    extra = [f"{kinds['checkpoint']} are scored from their checkpoints"] if kinds["checkpoint"] else []
    extra += [f"{kinds['again']} are trained again for languages they were not scored on"] if kinds["again"] else []
    return f"{grid.name}: {'; '.join([done, *extra])}. Results: {job.results}. W&B: {job.wandb}{_per(job)}."


def _per(job: Job) -> str:
    """What a W&B run stands for, where it is no trial."""
    grid = job.grid
    if job.wandb == "off" or grid.granularity == "run":
        return ""
    why = f", as there are more than {MOST_RUNS} trials" if grid.tracking.granularity == "auto" else ""
    return f", a run a {grid.granularity}{why}"


def _print_plan(job: Job, planned: Plan, console: Console) -> None:
    """The table of `plan`."""
    grid, kinds = job.grid, planned.by_kind
    table = Table(box=None, show_header=False)
    table.add_row("grid", f"{grid.name}: task {grid.task}, corpus {grid.corpus}, backbone {grid.model.backbone}")
    table.add_row("languages", f"{len(grid.languages)}: {' '.join(grid.languages)}")
    for code, reason in grid.exclude.items():
        table.add_row("excluded", f"{code}: {reason}")
    table.add_row("seeds", f"{len(grid.seeds)}: {' '.join(map(str, grid.seeds))}")
    table.add_row("mixtures", f"{planned.mixtures}")
    table.add_row("trials", f"{planned.trials}, {planned.finished} of them finished")
    table.add_row("to train", f"{kinds['train']}")
    table.add_row("to score on further languages", f"{kinds['checkpoint']} from a kept checkpoint")
    table.add_row("to train again for further languages", f"{kinds['again']}")
    if job.corpus is not None:
        sizes = ", ".join(map(str, grid.sizes or (grid.samples,)))
        table.add_row("samples", f"{sizes} a block (N{' a class' if job.task.needs.classes else ''})")
        train_hours, test_hours = audio_hours(job, planned)
        table.add_row("audio", f"{train_hours:.1f} h to train on, {test_hours:.1f} h to score, over all pending trials")
    number = {"run": len(planned.pending), "row": len(grid.all_languages()), "grid": 1}[grid.granularity]
    runs = 0 if job.wandb == "off" else number
    table.add_row("W&B", f"{job.wandb}, {runs} runs{_per(job)}")
    megabytes = len(planned.pending) * BYTES_PER_RESULT + runs * BYTES_PER_WANDB_RUN
    kept = f", and what keep = {list(grid.keep)} leaves" if grid.keep else ""
    table.add_row("disk", f"{megabytes / 1e6:.1f} MB{kept}")
    table.add_row("time", time_line(job, planned))
    table.add_row("results", str(job.results))
    console.print(table)


def _print_dropped(job: Job, console: Console) -> None:
    """One line on clips that the corpus lists and that no trial uses, if there are any."""
    if job.corpus is None:
        return
    from tasks.data.report import read
    from tasks.data.store import REPORT, language_place

    reports = [read(language_place(job.corpus, code) / REPORT) for code in job.grid.all_languages()]
    counts = [f"{report.language} {len(report.dropped)}" for report in reports if report.dropped]
    if counts:
        codes = ",".join(report.language for report in reports if report.dropped)
        command = f"python -m tasks.data report {job.grid.corpus} --languages {codes} --dropped"
        console.print(f"clips dropped: {', '.join(counts)}. Which and why: {command}")


def _report_holes(job: Job, console: Console) -> int:
    """Says what is missing and why. Returns the exit status."""
    left = make_plan(job).pending
    if not left:
        command = "interval" if job.grid.mode == "curve" else "cltm"
        now = f"python -m analysis.{command} {job.results}"
        console.print(f"complete: no trial is missing. Now: {now}")
        _print_rest(job, console)
        _write_rows(job)
        return 0
    missing = {item.trial.slug for item in left}
    console.print(f"{len(left)} trials are missing:")
    for failure in [failure for failure in job.store.failures() if failure.slug in missing][:20]:
        console.print(f"  {failure.slug}: {failure.cause} ({failure.path})")
    return EXIT_HOLES


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
    try:
        job.store.compact(job.grid.samples)
    except OSError as error:
        raise UserError(f"cannot write to the results folder {str(job.results)!r}: {error.strerror}") from None


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does."""
    raise KeyboardInterrupt
