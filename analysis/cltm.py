"""From scores to a Cross-Lingual Transfer Matrix: the command.

    python -m analysis.cltm results/demo
    python -m analysis.cltm published.csv --families families.csv --out report

A results folder gives the matrix with intervals, a bare square CSV (rows targets, columns donors) its aggregates.
Written are the matrix, every cell, a summary, the missing scores, the figure and one self-contained report. Not
covered: intervals and noise floors of the aggregates.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grids.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from analysis.analyse import Analysis


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status (0, or 2 after a user's mistake)."""
    options = _parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.cltm",
        description="Turns scores into a transfer matrix: r, intervals, aggregates, figure, report.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE",
                        help="a results folder (scores.parquet, grid.toml), or a square matrix CSV")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where to write; default: SOURCE/analysis, or ./<stem>-analysis for a CSV")  # fmt: skip
    parser.add_argument("--families", type=Path, metavar="FILE",
                        help="a CSV with columns code and family, in place of the built-in language table")  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="another metric than the primary one")
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints a short summary."""
    from analysis.analyse import analyse

    analysis = analyse(options.source, options.families, options.metric)
    out = options.out or _default_out(options.source)
    paths = write(analysis, out)
    _print_summary(analysis, paths)
    return 0


def write(analysis: "Analysis", out: Path) -> tuple[Path, ...]:
    """Writes tables, figure and report into a folder.

    Raises:
        UserError: the folder can't be written.
    """
    from analysis.output import write_tables
    from analysis.plots import write_heatmap
    from analysis.report import write_report

    try:
        out.mkdir(parents=True, exist_ok=True)
        return (*write_tables(analysis, out), *write_heatmap(analysis, out), write_report(analysis, out))
    except OSError as error:
        raise UserError(f"cannot write into {str(out)!r}: {error.strerror or error}") from None


def _default_out(source: Path) -> Path:
    """Beside the scores of a folder; in the working directory for a CSV, whose folder may not be the user's."""
    return source / "analysis" if source.is_dir() else Path(f"{source.stem}-analysis")


def _print_summary(analysis: "Analysis", paths: Sequence[Path]) -> None:
    """The aggregates, the notes and the paths; a table on a terminal, plain lines elsewhere."""
    from analysis.report import headline, printed

    lines = [(value.aggregate.title, printed(value)) for value in analysis.values]
    notes = [f"note: {note}" for note in analysis.notes]
    written = f"written to {paths[0].parent}: {', '.join(path.name for path in paths)}"
    if not sys.stdout.isatty():
        width = max(len(title) for title, _ in lines)
        table = [f"{title:<{width}}  {text}" for title, text in lines]
        print("\n".join([headline(analysis), *table, *notes, written]))  # noqa: T201
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=escape(headline(analysis)), title_justify="left", show_header=False)
    for title, text in lines:
        grid.add_row(escape(title), text)
    console = Console(highlight=False)
    console.print(grid)
    for line in (*notes, written):
        console.print(escape(line), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
