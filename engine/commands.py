"""What the commands of `python -m engine` do and print."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from engine.job import Job, Progress, check, make_job, settle
from engine.plan import Plan, make_plan
from engine.store import Store
from engine.tracking import wandb_mode
from grids.errors import UserError
from grids.grid import Grid, load

EXIT_HOLES = 1
BYTES_PER_RESULT = 4_000  # a result file and its rows; the demo's take 2.6 kB
BYTES_PER_WANDB_RUN = 12_000  # an offline run


def plan(grid_path: str, results: Path | None) -> int:
    """Prints what a grid will train, what is missing, and what it will take."""
    console = Console(soft_wrap=True)
    grid = load(grid_path)
    job = _make_job(grid, results, console)
    check(job)
    _print_plan(job, make_plan(job), console)
    _print_dropped(job, console)
    return 0


def run(grid_path: str, results: Path | None) -> int:
    """Trains what is missing. Returns 0 if the grid has no holes left."""
    console = Console(soft_wrap=True)
    grid = load(grid_path)
    job = _make_job(grid, results, console)
    settle(job)
    job.store.clear_partial()
    signal.signal(signal.SIGTERM, _interrupt)
    planned = make_plan(job)
    console.print(_headline(job, planned), highlight=False)
    _print_dropped(job, console)
    try:
        if planned.pending:
            from engine.run import run_pending

            _run_with_display(job, planned, run_pending, console)
    except KeyboardInterrupt:
        console.print("interrupted; what is finished is kept, and the same command continues")
        raise
    finally:
        job.store.compact(grid.samples)
    return _report_holes(job, console)


def status(results: Path) -> int:
    """Prints what a results folder holds, from the folder alone. Returns 0 if its grid has no holes."""
    store = Store(results)
    if not store.grid_path.exists():
        raise UserError(f"{str(results)!r} is no results folder: it has no grid.toml")
    grid, console = load(store.grid_path), Console(soft_wrap=True)
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
        console.print(f"  {failure.slug}: {failure.cause} ({failure.path})", highlight=False)
    return EXIT_HOLES if missing else 0


def doctor() -> int:
    """Prints a line a check, with the fix of what is wrong. Returns 0 if nothing is."""
    from engine.doctor import examine

    findings = examine()
    table = Table(box=None, show_header=False)
    for finding in findings:
        verdict, fix = ("ok", "") if finding.fine else ("WRONG", finding.fix)
        table.add_row(verdict, finding.what, finding.found, fix)
    Console(soft_wrap=True).print(table)
    return 0 if all(finding.fine for finding in findings) else 1


def _make_job(grid: Grid, results: Path | None, console: Console) -> Job:
    """The job, with a progress bar while clips are decoded."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    folder = results if results is not None else Path("results", grid.name)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        return make_job(grid, folder, _bar_updater(bars, console))


def _bar_updater(bars: Bars, console: Console) -> Progress:
    """A progress function with a bar a language, or a line a language where the output is no terminal."""
    known = dict[str, Any]()

    def update(what: str, done: int, total: int) -> None:
        if what not in known:
            known[what] = bars.add_task(what, total=total)
            if not console.is_terminal:
                console.print(f"preparing {what}: {total} clips", highlight=False)
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
    return f"{grid.name}: {'; '.join([done, *extra])}. Results: {job.results}. W&B: {wandb_mode(job)}."


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
        train_hours, test_hours = _audio_hours(job, planned)
        table.add_row("audio", f"{train_hours:.1f} h to train on, {test_hours:.1f} h to score, over all pending trials")
    runs = 0 if wandb_mode(job) == "off" else len(planned.pending)
    table.add_row("W&B", f"{wandb_mode(job)}, {runs} runs")
    megabytes = len(planned.pending) * BYTES_PER_RESULT + runs * BYTES_PER_WANDB_RUN
    kept = f", and what keep = {list(grid.keep)} leaves" if grid.keep else ""
    table.add_row("disk", f"{megabytes / 1e6:.1f} MB{kept}")
    table.add_row("time", _time_line(job, planned))
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
        console.print(f"clips dropped: {', '.join(counts)}. Which and why: {command}", highlight=False)


def _audio_hours(job: Job, planned: Plan) -> tuple[float, float]:
    """Hours of audio that the pending trials train on and are scored on."""
    from engine.train import trial_data

    task, train, test = job.task, 0.0, 0.0
    seconds = dict[tuple[str, int], float]()
    for item in planned.pending:
        seed = item.trial.seed
        for code, count in item.trial.mixture.total_samples.items():
            if (code, count) not in seconds:
                data = trial_data(job, task, item.trial.mixture, seed, ())
                for own in item.trial.mixture.total_samples:
                    total = sum(clip.seconds for clip in data.training if clip.language == own)
                    seconds[own, item.trial.mixture.total_samples[own]] = total
            train += 0 if item.how == "checkpoint" else seconds[code, count] * job.train.epochs
        for code in item.languages:
            if (code, 0) not in seconds:
                clips = trial_data(job, task, type(item.trial.mixture)(), seed, (code,)).tests[code]
                seconds[code, 0] = sum(clip.seconds for clip in clips)
            test += seconds[code, 0]
    return train / 3600, test / 3600


def _time_line(job: Job, planned: Plan) -> str:
    """Hours for what is pending, from the trials that have finished here."""
    table = job.store.compact(job.grid.samples)
    if len(table) == 0:
        return "not measured: no trial has finished here"
    by_trial = table.group_by("trial").aggregate([("seconds", "max")])
    mean = pc.mean(by_trial["seconds_max"]).as_py()
    count, devices = len(by_trial), ", ".join(sorted(set(table["device"].to_pylist())))
    hours = mean * len(planned.pending) / 3600
    return f"{hours:.2f} hours of a trial's share of {devices}, from {count} finished trials of {mean:.1f} s"


def _report_holes(job: Job, console: Console) -> int:
    """Says what is missing and why. Returns the exit status."""
    left = make_plan(job).pending
    if not left:
        command = "interval" if job.grid.mode == "curve" else "cltm"
        now = f"python -m analysis.{command} {job.results}"
        console.print(f"complete: no trial is missing. Now: {now}", highlight=False)
        return 0
    missing = {item.trial.slug for item in left}
    console.print(f"{len(left)} trials are missing:", highlight=False)
    for failure in [failure for failure in job.store.failures() if failure.slug in missing][:20]:
        console.print(f"  {failure.slug}: {failure.cause} ({failure.path})", highlight=False)
    return EXIT_HOLES


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does."""
    raise KeyboardInterrupt
