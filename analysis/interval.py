"""Which block size N can carry a transfer matrix: the command.

    python -m analysis.interval results/demo_curve
    python -m analysis.interval results/demo

A grid with `mode = "curve"` gives learning curves; a matrix gives its two sizes N and 2 N, which judge its own N. N is
usable for a language when d = P(2N) - P(N) > 0 and g = q^2 s_dd / d^2 <= 0.25. Written are `interval.json`, the figure
and one page. The published rule stands beside it under the name `paper`. Not covered: the cost of an N in hours.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grids.errors import UserError, one_line_errors
from grids.files import writing_to

if TYPE_CHECKING:
    from analysis.curves import Choice, Curves, Doublings, Fit, PaperChoice, Points
    from analysis.scores import Plan, Provenance


@dataclass(frozen=True, eq=False)
class Intervals:
    """Learning curves and what follows from them.

    Attributes:
        curves: the scores.
        plan: what the grid says.
        provenance: files and hashes.
        points: means and intervals.
        doublings: gains of P(2N) over P(N).
        fits: for each language those that could be fitted.
        choice: the N that serves most languages.
        paper: the published rule's.
        holes: (language, size, seed) that the grid expects and that are not there.
        notes: warnings, one sentence each.
    """

    curves: "Curves"
    plan: "Plan"
    provenance: "Provenance"
    points: "Points"
    doublings: "Doublings"
    fits: tuple[tuple["Fit", ...], ...]
    choice: "Choice"
    paper: "PaperChoice"
    holes: tuple[tuple[str, int, int], ...]
    notes: tuple[str, ...]

    def usable(self, language: int) -> tuple[int, ...]:
        """The sizes that are usable for a language, by its position."""
        return tuple(
            size for size, good in zip(self.doublings.sizes, self.doublings.usable[language], strict=True) if good
        )

    @property
    def failed(self) -> tuple[str, ...]:
        """The languages for which no size is usable."""
        return tuple(code for i, code in enumerate(self.curves.languages) if not self.usable(i))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status (0, or 2 after a user's mistake)."""
    options = parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.interval", description="Learning curves, and the block size that a matrix can use."
    )
    parser.add_argument("source", type=Path, metavar="RESULTS", nargs="+", help="results folders of one grid")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: RESULTS/interval")
    parser.add_argument("--metric", metavar="NAME", help="another metric than the primary one")
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints the recommendation."""
    from analysis.interval_output import recommendation, usable_text, write_interval
    from analysis.recipe import record

    found = compute(options)
    out = options.out or options.source[0] / "interval"
    with writing_to(out):
        paths = write_interval(found, out)
        record(parser(), options, out, paths)
    for i, code in enumerate(found.curves.languages):
        print(f"{code}: usable N {usable_text(found.usable(i))}")  # noqa: T201
    lines = (*recommendation(found), *(f"note: {note}" for note in found.notes))
    print("\n".join([*lines, f"written to {out}: {', '.join(path.name for path in paths)}"]))  # noqa: T201
    return 0


def compute(options: argparse.Namespace) -> Intervals:
    """What the options ask for."""
    return intervals(options.source, options.metric)


def write_tables(found: Intervals, out: Path) -> tuple[Path, ...]:
    """Writes the tables alone into `out`, which exists, and returns their paths."""
    from analysis import interval_output

    return interval_output.write_tables(found, out)


def intervals(folders: Sequence[Path], metric: str | None = None) -> Intervals:
    """Reads results folders and judges every size.

    Raises:
        UserError: they hold no scores of single languages, or don't belong together.
    """
    from analysis.curves import SHAPES, choose, doublings, fit, paper_choice, points

    curves, plan, provenance, holes = read_curves(folders, metric)
    p, d = points(curves), doublings(curves)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = p.sd / np.sqrt(p.count)
    tried = [[fit(kind, curves.sizes, p.mean[i], se[i]) for kind in SHAPES] for i in range(len(curves.languages))]
    fits = tuple(tuple(one for one in row if one is not None) for row in tried)
    notes = _notes(curves, p, d, holes)
    return Intervals(curves, plan, provenance, p, d, fits, choose(curves.languages, d), paper_choice(d), holes, notes)


def read_curves(
    folders: Sequence[Path], metric: str | None
) -> tuple["Curves", "Plan", "Provenance", tuple[tuple[str, int, int], ...]]:
    """The curves of results folders: base scores at their size, self scores at twice theirs.

    Raises:
        UserError: as `analysis.folders.read_folders`.
    """
    from analysis import folders as reading
    from analysis.curves import Curves
    from analysis.merge import check_one_experiment, merged_plan

    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{str(folder)!r} is no results folder")
    plans = [reading.read_plan(folder) for folder in folders]
    check_one_experiment(folders, plans)
    plan = merged_plan(plans)
    frame = reading.one_metric(reading.read_rows(folders, plan, ("base", "self")), metric, folders)
    if plan.languages:
        frame = frame[frame["language"].isin(plan.languages)]
    if "samples" not in frame:
        raise UserError(f"{str(folders[0])!r} does not say how large its blocks are: the column samples is missing")
    reading.check_rows(frame, folders)
    size = (frame["samples"] * np.where(frame["role"] == "self", 2, 1)).astype(int)
    codes = plan.languages or tuple(sorted(frame["language"].unique()))
    sizes = tuple(sorted({*size.tolist(), *plan.sizes}))
    seeds = tuple(sorted({*frame["seed"].tolist(), *plan.seeds}))
    inverted = not bool(frame["higher_is_better"].iloc[0])
    values = np.full((len(codes), len(sizes), len(seeds)), np.nan)
    place = [np.array([{v: n for n, v in enumerate(axis)}[v] for v in column.tolist()], dtype=np.int64)
             for axis, column in ((codes, frame["language"]), (sizes, size), (seeds, frame["seed"]))]  # fmt: skip
    values[tuple(place)] = 1 - frame["value"] if inverted else frame["value"]
    curves = Curves(codes, sizes, seeds, str(frame["metric"].iloc[0]), inverted, values)
    expected = [n for n, size in enumerate(sizes) if not plan.curve or size in plan.sizes]
    wanted = [n for n, seed in enumerate(seeds) if not plan.seeds or seed in plan.seeds]
    absent = np.argwhere(np.isnan(values[:, expected][:, :, wanted]))
    holes = tuple((codes[i], sizes[expected[k]], seeds[wanted[s]]) for i, k, s in absent)
    return curves, plan, reading.provenance_of(frame, folders), holes


def _notes(curves: "Curves", p: "Points", d: "Doublings", holes: tuple[tuple[str, int, int], ...]) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    notes = []
    if holes:
        notes.append(f"{len(holes)} scores that the grid expects are not there; none was filled in.")
    if not d.sizes:
        notes.append("No size has its double beside it, so no N can be judged: sizes like [30, 60, 120] are needed.")
    if (p.count[p.count > 0] < 2).any():
        notes.append("Points with fewer than two seeds have no interval, and can't make an N usable.")
    alone = [size for size in curves.sizes if size not in d.sizes and 2 * size not in curves.sizes]
    if d.sizes and alone[:-1]:
        notes.append(f"Sizes without their double can't be judged: {', '.join(map(str, alone[:-1]))}.")
    return tuple(notes)


if __name__ == "__main__":
    sys.exit(main())
