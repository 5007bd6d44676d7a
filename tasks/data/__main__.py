"""The commands of the data layer.

    python -m tasks.data feasibility mine.toml      which languages can fill its blocks, by the tables alone
    python -m tasks.data prepare mine.toml          decode what it needs, once
    python -m tasks.data report mine.toml           what was kept, and why the rest was not

A grid file says everything: corpus, languages, rules of [data], what the task needs, N. Where there is none yet, give
`synthetic` or the folder of a release, and the rest as options.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from grids.errors import UserError, one_line_errors, unknown
from grids.grid import SYNTHETIC, Data, Grid, load
from tasks import make_task
from tasks.data import common_voice, parallel
from tasks.data.clips import GENDERS, Needs
from tasks.data.common_voice import SPLITS
from tasks.data.feasibility import Feasibility, feasibility
from tasks.data.prepare import Progress, open_corpus, prepare, prepared_folder
from tasks.data.report import LanguageReport, read
from tasks.data.store import REPORT, language_place, refused_report

PLAIN_WIDTH = 200


@dataclass(frozen=True)
class Asked:
    """What a command is about, as a grid file or the options say it.

    Attributes:
        corpus: "synthetic", or the folder of a release.
        languages: the codes.
        rules: which clips count.
        needs: what the task needs of a clip.
        samples: N of the blocks; 0 where nobody asked.
        clips_per_speaker: clips that each speaker gives.
    """

    corpus: str
    languages: tuple[str, ...]
    rules: Data
    needs: Needs = field(default_factory=Needs)
    samples: int = 0
    clips_per_speaker: int = Grid.clips_per_speaker


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    command = {"prepare": _prepare, "report": _report, "feasibility": _feasibility}[options.command]
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return command(options, Console(width=width, markup=False, highlight=False))


def _parser() -> argparse.ArgumentParser:
    """The commands and their options; the rules' names and defaults are those of a grid's [data]."""
    parser = argparse.ArgumentParser(prog="python -m tasks.data", description="Prepare and inspect corpora.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("prepare", "decode what a grid needs, once"),
        ("report", "what was kept of each language, and why the rest was not"),
        ("feasibility", "which languages can fill a grid's blocks, by the tables alone"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        where = "a grid file, which says all the rest; or 'synthetic', or the folder that holds one folder a language"
        command.add_argument("source", metavar="SOURCE", help=where)
        command.add_argument("--languages", metavar="ca,es", help="codes with commas, or 'all'; of a grid: these alone")
        for rule in fields(Data):
            option, value = f"--{rule.name.replace('_', '-')}", str(rule.default)
            command.add_argument(option, type=type(rule.default), metavar=value, help="as in a grid's [data]")
    commands.choices["report"].add_argument("--dropped", action="store_true", help="list each dropped clip")
    command = commands.choices["feasibility"]
    command.add_argument("--samples", type=int, metavar="N", help="samples of a block (of a class)")
    each = f"clips that each speaker gives ({Grid.clips_per_speaker})"
    command.add_argument("--clips-per-speaker", type=int, metavar="K", help=each)
    command.add_argument("--classes", choices=["gender"], help="classes of the task (gender recognition)")
    for name, text in (
        ("--test-gender", "test clips need a gender (speaker verification)"),
        ("--sentence", "clips need a sentence (speech recognition)"),
    ):
        command.add_argument(name, action="store_const", const=True, help=text)
    return parser


def _prepare(options: argparse.Namespace, console: Console) -> int:
    """Decodes, then prints the report."""
    asked = _asked(options)
    with _bars() as progress:
        corpus = prepare(asked.corpus, asked.languages, asked.rules, progress)
    reports = [read(language_place(corpus.folder, code) / REPORT) for code in asked.languages]
    console.print(_report_table(reports))
    for code, (listed, found) in parallel.shares_found(open_corpus(asked.corpus, asked.languages)).items():
        if code in asked.languages:
            console.print(f"{code}: {found} of {listed} listed paths found ({found / listed:.0%})")
    console.print(f"prepared: {corpus.folder}", soft_wrap=True)
    if (corpus.folder / parallel.TRANSLATIONS).is_file():
        console.print(f"translations: {corpus.folder / parallel.TRANSLATIONS}", soft_wrap=True)
    return 0


def _report(options: argparse.Namespace, console: Console) -> int:
    """Prints what a preparation found, of refused languages too."""
    asked = _asked(options)
    folder = prepared_folder(open_corpus(asked.corpus, asked.languages), asked.rules)
    paths = [_report_path(folder, code, options.source) for code in asked.languages]
    reports = [read(path) for path in paths]
    console.print(_report_table(reports))
    if options.dropped:
        console.print(_dropped_table(reports))
    for path in paths:
        console.print(f"{'refused' if path.name != REPORT else 'report'}: {path}", soft_wrap=True)
    return 0


def _report_path(folder: Path, language: str, source: str) -> Path:
    """The report of a prepared language; that of the refusal, if it was refused since."""
    for path in (refused_report(folder, language), language_place(folder, language) / REPORT):
        if path.is_file():
            return path
    raise UserError(
        f"language {language!r} is not prepared under these rules; run: python -m tasks.data prepare {source}"
    )


def _feasibility(options: argparse.Namespace, console: Console) -> int:
    """Prints what each language can give; status 1 if not every language can fill its blocks."""
    asked = _asked(options)
    samples, each = asked.samples, asked.clips_per_speaker
    found = feasibility(open_corpus(asked.corpus, asked.languages), asked.languages, asked.needs, each, asked.rules)
    console.print(_feasibility_table(found, samples, each))
    for one in found:
        if one.problem:
            console.print(f"{one.language}: {one.problem}", soft_wrap=True)
    enough = sum(one.fills(samples) for one in found)
    console.print(f"{enough} of {len(found)} languages can fill 2 x {samples} samples and have a test set")
    return 0 if enough == len(found) else 1


def _asked(options: argparse.Namespace) -> Asked:
    """What the command line asks for.

    Raises:
        UserError: no such grid, an option that the grid already answers, or one that is missing or impossible.
    """
    if Path(options.source).suffix == ".toml":
        return _asked_of_grid(options)
    given = {rule.name: getattr(options, rule.name) for rule in fields(Data)}
    rules = Data(**{name: value for name, value in given.items() if value is not None})
    if options.command != "feasibility":
        if options.languages is None:
            raise UserError(
                "--languages is missing: codes with commas, or 'all'; a grid file in the corpus's place says it"
            )
        return Asked(options.source, _codes(options.languages, options.source), rules)
    codes = _codes(options.languages or "all", options.source)
    if options.samples is None:
        raise UserError("--samples is missing: N of the blocks; or give a grid file, which says it")
    each = Asked.clips_per_speaker if options.clips_per_speaker is None else options.clips_per_speaker
    if options.samples < 1 or each < 1 or options.samples % each:
        raise UserError(f"--samples is {options.samples}, no multiple of --clips-per-speaker {each}")
    needs = Needs(classes=options.classes or "", test_gender=bool(options.test_gender), sentence=bool(options.sentence))
    return Asked(options.source, codes, rules, needs, options.samples, each)


def _asked_of_grid(options: argparse.Namespace) -> Asked:
    """What a grid file says; `samples` is half of the largest block that one of its mixtures draws."""
    others = vars(options).keys() - {"command", "source", "languages", "dropped"}
    said = sorted(name for name in others if getattr(options, name) is not None)
    if said:
        raise UserError(f"--{said[0].replace('_', '-')} is what the grid file says; leave it out, or give a corpus")
    grid = load(options.source)
    needs = make_task(grid).needs
    if not needs.audio:
        raise UserError(f"task {grid.task!r} has no audio; there is nothing to prepare")
    codes = grid.all_languages()
    if options.languages not in (None, "all"):
        chosen = _codes(options.languages, grid.corpus)
        for code in chosen:
            if code not in codes:
                raise unknown("language of the grid", code, codes)
        codes = chosen
    most = max(max(trial.mixture.total_samples.values(), default=0) for trial in grid.trials())
    return Asked(grid.corpus, codes, grid.data, needs, -(-most // 2), grid.clips_per_speaker)


def _codes(text: str, corpus: str) -> tuple[str, ...]:
    """The languages that a text names: codes with commas, or all of a release."""
    if text != "all":
        codes = tuple(dict.fromkeys(code.strip() for code in text.split(",") if code.strip()))
        if not codes:
            raise UserError(f"--languages {text!r} names no language; write them like ca,es")
        return codes
    if corpus == SYNTHETIC:
        raise UserError("--languages all needs the folder of a release; name the synthetic languages, e.g. ca,es")
    return common_voice.languages(common_voice.open_release(corpus))


@contextmanager
def _bars() -> Iterator[Progress]:
    """Shows one bar a language on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (*Bars.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(language: str, done: int, total: int) -> None:
            if language not in tasks:
                tasks[language] = bars.add_task(language, total=total)
            bars.update(tasks[language], completed=done, total=total)

        yield progress


def _table(*columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    return table


def _report_table(reports: Sequence[LanguageReport]) -> Table:
    """One line a language: clips, hours and speakers a split, and what was dropped."""
    table = _table("language", "listed", "beyond cap", *SPLITS, "hours", "speakers f/m/?", "dropped")
    for report in reports:
        people = (sum(report.speakers.get(f"{split} {name}", 0) for split in SPLITS) for name in (*GENDERS, "unknown"))
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped_by_reason.items())
        counts = (sum(report.listed.values()), report.beyond_cap, *(report.kept[split] for split in SPLITS))
        hours = sum(report.seconds.values()) / 3600
        table.add_row(report.language, *map(str, counts), f"{hours:.2f}", "/".join(map(str, people)), reasons or "none")
    return table


def _dropped_table(reports: Sequence[LanguageReport]) -> Table:
    """One line a dropped clip, and one a speaker whose gender counts as unknown."""
    table = Table("language", "clip", "split", "reason", "found", box=None, pad_edge=False)
    for report in reports:
        for drop in report.dropped:
            table.add_row(report.language, drop.name, drop.split, drop.reason, drop.detail)
        for speaker in report.two_genders:
            table.add_row(report.language, "", "", "gender unknown: listed as female and male", speaker)
    return table


def _feasibility_table(found: Sequence[Feasibility], samples: int, clips_per_speaker: int) -> Table:
    """One line a language, those that can give most first."""
    classes = next((tuple(one.speakers) for one in found if one.speakers), ("",))
    people = [f"{name} speakers with {clips_per_speaker}+ clips".strip() for name in classes]
    table = _table("language", "train clips", *people, "test clips", f"2 x {samples}", "largest N")
    for one in found:
        speakers = [str((one.speakers or {}).get(name, 0)) for name in classes]
        fits = "yes" if one.fills(samples) else "no"
        row = (str(one.train_clips), *speakers, str(one.test_clips), fits, str(one.largest))
        table.add_row(one.language, *row)
    return table


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
