"""The commands of the data layer.

    python -m tasks.data prepare CORPUS --languages ca,es       decode what a grid needs, once
    python -m tasks.data report CORPUS --languages ca,es        what was kept, and why the rest was not
    python -m tasks.data feasibility CORPUS --samples 60        which languages can fill a grid's blocks, by the tables

CORPUS is `synthetic` or the folder of a release. Rules such as --max-seconds must be those of the grid's [data].
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from grids.errors import UserError, one_line_errors
from grids.grid import Data
from tasks.data import common_voice
from tasks.data.clips import GENDERS, Needs
from tasks.data.common_voice import SPLITS
from tasks.data.feasibility import Feasibility, feasibility
from tasks.data.prepare import SYNTHETIC, Progress, open_corpus, prepare, prepared_folder
from tasks.data.report import LanguageReport, read
from tasks.data.store import REPORT, language_place, refused_report

PLAIN_WIDTH = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    command = {"prepare": _prepare, "report": _report, "feasibility": _feasibility}[options.command]
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return command(options, Console(width=width, markup=False, highlight=False))


def _parser() -> argparse.ArgumentParser:
    """The commands and their options; the rules' names and defaults are those of a grid's [data]."""
    parser = argparse.ArgumentParser(prog="python -m tasks.data", description="Prepare and inspect corpora.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "decode what a grid needs, once"),
        ("report", "what was kept of each language, and why the rest was not"),
        ("feasibility", "which languages can fill a grid's blocks, by the tables alone"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("corpus", help="'synthetic', or the folder that holds one folder a language")
        default = {"default": "all"} if name == "feasibility" else {"required": True}
        command.add_argument("--languages", metavar="ca,es", help="codes with commas, or 'all'", **default)
        for field in fields(Data):
            option = f"--{field.name.replace('_', '-')}"
            command.add_argument(option, type=type(field.default), default=field.default, metavar=str(field.default))
    commands.choices["report"].add_argument("--dropped", action="store_true", help="list each dropped clip")
    command = commands.choices["feasibility"]
    command.add_argument("--samples", type=int, required=True, help="N, samples of a block (of a class)")
    command.add_argument("--clips-per-speaker", type=int, default=4, help="clips that each speaker gives (4)")
    command.add_argument("--classes", choices=["gender"], default="", help="classes of the task (gender recognition)")
    command.add_argument("--test-gender", action="store_true", help="test clips need a gender (speaker verification)")
    command.add_argument("--sentence", action="store_true", help="clips need a sentence (speech recognition)")
    return parser


def _prepare(options: argparse.Namespace, console: Console) -> int:
    """Decodes, then prints the report."""
    with _bars() as progress:
        codes = _codes(options)
        corpus = prepare(options.corpus, codes, _rules(options), progress)
    console.print(_report_table([read(language_place(corpus.folder, code) / REPORT) for code in codes]))
    console.print(f"prepared: {corpus.folder}", soft_wrap=True)
    return 0


def _report(options: argparse.Namespace, console: Console) -> int:
    """Prints what a preparation found, of refused languages too."""
    codes = _codes(options)
    folder = prepared_folder(open_corpus(options.corpus, codes), _rules(options))
    paths = [_report_path(folder, code) for code in codes]
    reports = [read(path) for path in paths]
    console.print(_report_table(reports))
    if options.dropped:
        console.print(_dropped_table(reports))
    for path in paths:
        console.print(f"{'refused' if path.name != REPORT else 'report'}: {path}", soft_wrap=True)
    return 0


def _report_path(folder: Path, language: str) -> Path:
    """The report of a prepared language; that of the refusal, if it was refused since."""
    for path in (refused_report(folder, language), language_place(folder, language) / REPORT):
        if path.is_file():
            return path
    raise UserError(f"language {language!r} is not prepared under these rules; run: python -m tasks.data prepare")


def _feasibility(options: argparse.Namespace, console: Console) -> int:
    """Prints what each language can give; status 1 if not every language can fill its blocks."""
    if options.samples < 1 or options.clips_per_speaker < 1 or options.samples % options.clips_per_speaker:
        raise UserError(
            f"--samples is {options.samples}, no multiple of --clips-per-speaker {options.clips_per_speaker}"
        )
    codes = _codes(options)
    needs = Needs(classes=options.classes, test_gender=options.test_gender, sentence=options.sentence)
    release = open_corpus(options.corpus, codes)
    found = feasibility(release, codes, needs, options.clips_per_speaker, _rules(options))
    console.print(_feasibility_table(found, options.samples, options.clips_per_speaker))
    for one in found:
        if one.problem:
            console.print(f"{one.language}: {one.problem}", soft_wrap=True)
    enough = sum(one.fills(options.samples) for one in found)
    console.print(f"{enough} of {len(found)} languages can fill 2 x {options.samples} samples and have a test set")
    return 0 if enough == len(found) else 1


def _codes(options: argparse.Namespace) -> tuple[str, ...]:
    """The languages that are asked for."""
    if options.languages != "all":
        codes = tuple(dict.fromkeys(code.strip() for code in options.languages.split(",") if code.strip()))
        if not codes:
            raise UserError(f"--languages {options.languages!r} names no language; write them like ca,es")
        return codes
    if options.corpus == SYNTHETIC:
        raise UserError("--languages all needs the folder of a release; name the synthetic languages, e.g. ca,es")
    return common_voice.languages(common_voice.open_release(options.corpus))


def _rules(options: argparse.Namespace) -> Data:
    return Data(**{field.name: getattr(options, field.name) for field in fields(Data)})


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
