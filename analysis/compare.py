"""Compares two or more matrices (architectures, tasks, profiles) over their shared languages: the command.

    python -m analysis.compare results/hubert results/ecapa --out hubert-ecapa
    python -m analysis.compare gender.csv sv.csv

Each source is a results folder, a scores CSV or a square matrix CSV. Written are `compare.json`, every cell
(`compare_cells.csv`), a scatter figure and one self-contained page. Not covered: more than pairs at a time.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from grids.errors import UserError, one_line_errors
from grids.files import writing_to

if TYPE_CHECKING:
    from analysis.comparison import Pair, Side


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every pair of matrices over the languages that all of them share.

    Attributes:
        sides: the matrices, of the shared languages.
        languages: shared by all, in the order of the first.
        only: for each matrix, its languages that another one lacks.
        pairs: first with second, first with third, ...
    """

    sides: tuple["Side", ...]
    languages: tuple[str, ...]
    only: tuple[tuple[str, ...], ...]
    pairs: tuple["Pair", ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status (0, or 2 after a user's mistake)."""
    options = parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def compute(options: argparse.Namespace) -> Comparison:
    """What the options ask for."""
    return compare_sources(options.source, options.families, options.metric)


def write_tables(found: Comparison, out: Path) -> tuple[Path, ...]:
    """Writes the tables alone into `out`, which exists, and returns their paths."""
    from analysis import compare_output

    return compare_output.write_tables(found, out)


def compare_sources(sources: Sequence[Path], families: Path | None = None, metric: str | None = None) -> Comparison:
    """Reads the sources and compares every pair.

    Args:
        sources: two or more, each what `analysis.sources.read_source` takes as one.
        families: a CSV (code, family) that replaces the language table.
        metric: another metric than the primary one.

    Raises:
        UserError: fewer than two sources, one that can't be used, or fewer than two shared languages.
    """
    from analysis.comparison import compare, restricted

    if len(sources) < 2:
        raise UserError("one matrix has nothing to be compared with; give two sources or more")
    read = [_read(path, name, families, metric) for path, name in zip(sources, names(sources), strict=True)]
    shared = set(read[0].languages).intersection(*(one.languages for one in read[1:]))
    if len(shared) < 2:
        raise UserError(f"the matrices share {len(shared)} language{'s' * (len(shared) != 1)}; 2 are needed")
    languages = tuple(code for code in read[0].languages if code in shared)
    only = tuple(tuple(code for code in one.languages if code not in shared) for one in read)
    sides = tuple(restricted(one, languages) for one in read)
    return Comparison(sides, languages, only, tuple(compare(one, other) for one, other in combinations(sides, 2)))


def names(sources: Sequence[Path]) -> tuple[str, ...]:
    """A name for each source: its stem, with its folder where two are equal.

    Raises:
        UserError: a source is given twice.
    """
    paths = [path.resolve() for path in sources]
    twice = [str(path) for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]!r} is given twice")
    stems = [path.name if path.is_dir() else path.stem for path in paths]
    longer = [f"{path.parent.name}/{stem}" for path, stem in zip(paths, stems, strict=True)]
    chosen = [long if stems.count(stem) > 1 else stem for stem, long in zip(stems, longer, strict=True)]
    return tuple(str(path) if chosen.count(one) > 1 else one for one, path in zip(chosen, sources, strict=True))


def _read(path: Path, name: str, families: Path | None, metric: str | None) -> "Side":
    """One matrix."""
    from analysis.comparison import side
    from analysis.families import families_of
    from analysis.matrix import from_scores, from_values
    from analysis.scores import GivenMatrix, Scores
    from analysis.sources import read_source

    source = read_source((path,), metric)
    content, known = source.content, families_of(source.content.languages, families)
    if isinstance(content, Scores):
        return side(name, from_scores(content, known), known, source.provenance)
    if isinstance(content, GivenMatrix):
        return side(name, from_values(content.languages, content.values, known), known, source.provenance)
    return side(name, content, known, source.provenance)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.compare",
        description="Compares transfer matrices over their shared languages: residuals, cells, aggregates.",
    )
    parser.add_argument("source", type=Path, nargs="+", metavar="SOURCE",
                        help="two or more results folders, scores CSVs or square matrix CSVs")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: ./<first>-vs-<second>")
    parser.add_argument("--families", type=Path, metavar="FILE",
                        help="a CSV with columns code and family, in place of the built-in language table")  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="another metric than the primary one")
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints a line a pair."""
    from analysis.compare_output import pair_line, write_comparison
    from analysis.recipe import record

    found = compute(options)
    short = [one.name.replace("/", "-") for one in found.sides]
    out: Path = options.out or Path("-vs-".join(short)[:120])
    with writing_to(out):
        paths = write_comparison(found, out)
        record(parser(), options, out, paths)
    lines = [f"{len(found.languages)} shared languages", *(pair_line(pair) for pair in found.pairs)]
    written = f"written to {out}: {', '.join(path.name for path in paths)}"
    print("\n".join([*lines, written]))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
