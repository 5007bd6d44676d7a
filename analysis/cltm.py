"""From scores to a Cross-Lingual Transfer Matrix: the command.

    python -m analysis.cltm results/demo
    python -m analysis.cltm results/here results/there --out report
    python -m analysis.cltm published.csv --families families.csv --out report --languages ca,es,eu --order cluster

Results folders and a CSV of scores give the matrix with intervals, a bare square CSV (rows targets, columns donors) its
aggregates, scores without any self run a summary of their own (`analysis.raw`).
Written are the matrix, every cell, a summary, the structure, the missing scores, figures, LaTeX tables and one
self-contained report.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grids.errors import UserError, one_line_errors
from grids.files import expanded, writing_to

if TYPE_CHECKING:
    from analysis.analyse import Analysis
    from analysis.figures import Drawn
    from analysis.scores import Source
    from analysis.view import View

FEWEST_DRAWS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status (0, or 2 after a user's mistake)."""
    options = parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.cltm",
        description="Turns scores into a transfer matrix: r, intervals, aggregates, figure, report.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", nargs="+",
                        help="results folders (further seeds or languages of one grid are merged), a scores CSV "
                             "(lang_src is the target), or a square matrix CSV")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where to write; default: SOURCE/analysis, or ./<names>-analysis")  # fmt: skip
    parser.add_argument("--families", type=Path, metavar="FILE",
                        help="a CSV with columns code and family, in place of the built-in language table")  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="another metric than the primary one")
    parser.add_argument("--condition", metavar="NAME", default="",
                        help="the scores under a condition, e.g. 'to en' or 'noise 10 dB'")  # fmt: skip
    parser.add_argument("--languages", type=_codes, metavar="ca,es",
                        help="show these alone; statistics stay those of the whole matrix")  # fmt: skip
    parser.add_argument("--order", choices=("family", "name", "grid", "cluster"), default="family",
                        help="of rows and columns; grid: as in the source, cluster: alike side by side")  # fmt: skip
    parser.add_argument("--profile", choices=("recommended", "paper"), default="recommended",
                        help="paper: the published definitions alone, with no errors, tests or chance")  # fmt: skip
    parser.add_argument("--resample-languages", type=_draws, metavar="N", default=0,
                        help="draw languages N times with replacement, for intervals over languages")  # fmt: skip
    parser.add_argument("--distance", type=_named_file, metavar="NAME=FILE", action="append", default=[],
                        help="a square CSV of distances, tested beside the built-in ones; may be repeated")  # fmt: skip
    parser.add_argument("--no-structure", action="store_true",
                        help="leave out decomposition, distance tests, graph and their figures")  # fmt: skip
    parser.add_argument("--no-test-noise", action="store_true",
                        help="leave out the bootstrap of test speakers, which kept predictions allow")  # fmt: skip
    parser.add_argument("--wandb", action="store_true",
                        help="also make a W&B run of it: matrix, aggregates, figures, report, tables")  # fmt: skip
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints a short summary."""
    from analysis.recipe import record
    from analysis.scores import Source

    mirrored = vars(options).pop("wandb")  # no part of the recipe
    found = compute(options)
    out = options.out or _default_out(options.source)
    if isinstance(found, Source):
        paths = write_raw(found, out)
        _print_raw(found, paths)
    else:
        paths = write(found, out)
        _print_summary(found, paths)
    record(parser(), options, out, paths)
    if mirrored:
        from analysis.wandb_run import write_run

        print(write_run(options.source[0], out, paths))  # noqa: T201
    return 0


def compute(options: argparse.Namespace) -> "Analysis | Source":
    """What the options ask for: an analysis, or the source itself where it has no self-gain (`RawMatrix`).

    Raises:
        UserError: the source or an option can't be used.
    """
    from dataclasses import replace

    from analysis.analyse import analyse_source
    from analysis.findings import findings, top_families
    from analysis.metrics import Measured, every_metric
    from analysis.scores import RawMatrix
    from analysis.sources import read_source
    from analysis.view import chosen

    source = read_source(options.source, options.metric, options.condition)
    if isinstance(source.content, RawMatrix):
        if options.languages or options.order != "family":
            raise UserError("without any self-gain the matrix is shown whole; leave out --languages and --order")
        return source
    shown = chosen(source.content.languages, options.languages, source.plan.exclude)
    analysis = analyse_source(
        source, options.families, not options.no_test_noise, options.profile, options.resample_languages
    )
    cltm = analysis.cltm
    test_noise = not options.no_test_noise and options.profile == "recommended"
    done = Measured(cltm.metric, cltm, analysis.values, noise=analysis.noise)
    metrics = every_metric(options.source, options.families, options.profile, done, test_noise, options.condition)
    analysis = replace(analysis, metrics=metrics)
    if not options.no_structure and options.profile != "paper":
        families = cltm.families if options.families else top_families(cltm.languages)
        analysis = replace(analysis, findings=findings(cltm, analysis.tests, families, options.distance))
    return replace(analysis, view=_view(analysis, shown, options.order))


def _view(analysis: "Analysis", shown: Sequence[int], order: str) -> "View":
    """The languages shown, in the order asked for; a tree that was not computed with the findings is made."""
    from analysis.clusters import tree
    from analysis.view import view

    cltm, found, likeness = analysis.cltm, analysis.findings, None
    if order == "cluster":
        likeness = found.tree("both") if found else tree(cltm.values, cltm.languages)
    return view(cltm.languages, cltm.families, order, shown, likeness)


def _codes(text: str) -> list[str]:
    """The parts of "ca,es,eu"."""
    codes = [code.strip() for code in text.split(",") if code.strip()]
    if not codes:
        raise argparse.ArgumentTypeError(f"got {text!r}; codes with commas are needed, e.g. ca,es,eu")
    return codes


def _named_file(text: str) -> tuple[str, Path]:
    """The parts of "name=file"."""
    name, _, file = (part.strip() for part in text.partition("="))
    if not name or not file:
        raise argparse.ArgumentTypeError(f"got {text!r}; name=file is needed, e.g. syntax=syntax.csv")
    return name, expanded(file)


def _draws(text: str) -> int:
    """A number of draws, which says something about a spread."""
    if not text.isdecimal() or int(text) < FEWEST_DRAWS:
        raise argparse.ArgumentTypeError(f"got {text!r}; a whole number from {FEWEST_DRAWS} on is needed")
    return int(text)


def write_tables(found: "Analysis | Source", out: Path) -> tuple[Path, ...]:
    """Writes the tables alone into `out`, which exists, and returns their paths."""
    from analysis import output, raw_output
    from analysis.scores import Source

    return raw_output.write_raw_tables(found, out) if isinstance(found, Source) else output.write_tables(found, out)


def write_raw(source: "Source", out: Path) -> tuple[Path, ...]:
    """Writes what a matrix without self-gain says into a folder.

    Raises:
        UserError: the folder can't be written, or no cell is known.
    """
    from analysis import raw_output

    with writing_to(out):
        return raw_output.write_raw(source, out)


def _print_raw(source: "Source", paths: Sequence[Path]) -> None:
    """The numbers of a raw matrix, and the paths."""
    from analysis.raw_output import raw_headline, raw_lines

    print(raw_headline(source))  # noqa: T201
    for title, text in raw_lines(source):
        print(f"{title:<24}{text}")  # noqa: T201
    print("note: no self-gain in the source: these are raw values, no r")  # noqa: T201
    print(f"written to {paths[0].parent}: {', '.join(path.name for path in paths)}")  # noqa: T201


def write(analysis: "Analysis", out: Path) -> tuple[Path, ...]:
    """Writes tables, figures and report into a folder.

    Raises:
        UserError: the folder can't be written.
    """
    from analysis.latex import write_latex
    from analysis.output import write_tables
    from analysis.plots import write_heatmap
    from analysis.report import write_report

    with writing_to(out):
        tables, heatmap = write_tables(analysis, out), write_heatmap(analysis, out)
        drawn = _write_figures(analysis, out)
        report = write_report(analysis, out, drawn)
        return (*tables, *heatmap, *drawn.paths, *write_latex(analysis, out), report)


def _write_figures(analysis: "Analysis", out: Path) -> "Drawn":
    """The figures of structure, if it was computed."""
    from analysis.figures import Drawn, write_figures

    found, cltm = analysis.findings, analysis.cltm
    if found is None:
        return Drawn((), ())
    return write_figures(
        cltm.values, cltm.languages, cltm.families, found.structure, found.graph, found.tree("both"), out
    )


def _default_out(sources: Sequence[Path]) -> Path:
    """Beside the scores of one folder; else in the working directory, since a CSV's folder may not be the user's."""
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0] / "analysis"
    return Path("+".join(source.resolve().stem for source in sources) + "-analysis")


def _files(paths: Sequence[Path]) -> str:
    """The names of files, those of one stem together: heatmap.pdf|svg|png."""
    suffixes: dict[str, list[str]] = {}
    for path in paths:
        folder = "" if path.parent == paths[0].parent else f"{path.parent.name}/"
        suffixes.setdefault(folder + path.stem, []).append(path.suffix[1:])
    return ", ".join(f"{stem}.{'|'.join(endings)}" for stem, endings in suffixes.items())


def _print_summary(analysis: "Analysis", paths: Sequence[Path]) -> None:
    """The aggregates, the notes and the paths; a table on a terminal, plain lines elsewhere."""
    from analysis.report import headline
    from analysis.summary import beside_text, printed

    lines = [(value.aggregate.title, printed(value), beside_text(value)) for value in analysis.values]
    notes = [f"note: {note}" for note in analysis.notes]
    written = f"written to {paths[0].parent}: {_files(paths)}"
    if not sys.stdout.isatty():
        width, wide = (max(len(line[k]) for line in lines) for k in (0, 1))
        table = [f"{title:<{width}}  {text:<{wide}}  {more}".rstrip() for title, text, more in lines]
        print("\n".join([headline(analysis), *table, *notes, written]))  # noqa: T201
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=escape(headline(analysis)), title_justify="left", show_header=False)
    for title, text, more in lines:
        grid.add_row(escape(title), text, escape(more))
    console = Console(highlight=False)
    console.print(grid)
    for line in (*notes, written):
        console.print(escape(line), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
