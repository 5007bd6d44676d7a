"""What the small experiments of the documentation share: grids run in this process, intervals over seeds, a figure.

No Ray, one core. A results folder that is complete is not run again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.drawing import FONT, LINE, SHAPES, SMALL, STYLE, plain_axes
from analysis.forgetting import mean_with_error
from analysis.palette import FAMILIES
from analysis.uncertainty import Floats
from engine.job import make_job, settle
from engine.plan import make_plan
from engine.store import Store
from engine.train import run_trial
from grids.files import write_atomically
from grids.grid import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFF = '\n[tracking]\nwandb = "off"\n'


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, with half the width of Student's 95 % interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Floats) -> "Interval":
        """Of (S,) values, one a seed."""
        return cls(*mean_with_error(values))

    def __str__(self) -> str:
        """In percent."""
        return f"{100 * self.mean:.1f} ± {100 * self.half:.1f}"


def run(path: Path, text: str) -> Path:
    """Runs a grid in this process, beside its file; returns the results folder."""
    write_atomically(path, text)
    job = settle(make_job(load(path), path.with_suffix("")))
    for pending in make_plan(job).pending:
        result = run_trial(job, pending)
        assert result is not None
        job.store.write(result)
    return job.results


def scores(results: Path, metric: str) -> dict[tuple[str, str, str], Floats]:
    """(mixture, language, condition) -> (S,) a metric by seed, of all that a results folder scored."""
    store = Store(results)
    table = store.compact(load(store.grid_path).samples, write=False).to_pandas().sort_values("seed")
    groups = table[table["metric"] == metric].groupby(["mixture", "language", "condition"])["value"]
    return {key: own.to_numpy() for key, own in groups}


Lines = Mapping[str, Sequence[Interval]]  # name of a series -> one interval a place


def markdown(first: str, places: Sequence[str], lines: Lines) -> str:
    """A table: a row a place, a column a series, in percent."""
    rows = [[first, *lines]]
    rows += [[place, *map(str, own)] for place, own in zip(places, zip(*lines.values(), strict=True), strict=True)]
    head, *body = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"{head}{'|---' * (len(lines) + 1)}|\n{''.join(body)}"


def draw(path: Path, label: str, places: Sequence[str], lines: Lines, *, joined: bool = False) -> None:
    """Writes a PNG: the places from left to right, a mark with its interval a series, joined by lines if asked."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, own) in enumerate(lines.items()):
            shift = 0.08 * (number - (len(lines) - 1) / 2)
            axes.errorbar(np.arange(len(places)) + shift, [100 * one.mean for one in own], label=name,
                          yerr=[100 * one.half for one in own], fmt=SHAPES[number] + ("-" if joined else ""),
                          color=FAMILIES[(0, 3, 2)[number]], markersize=3.5, linewidth=0.8, elinewidth=0.8)  # fmt: skip
        _finish(axes, label, places)
        figure.savefig(path, dpi=160)


def _finish(axes: "Axes", label: str, places: Sequence[str]) -> None:
    """Names, a grid of thin lines, 0 at the bottom."""
    axes.set_xticks(range(len(places)), places)
    axes.set_ylabel(label, fontsize=FONT)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=LINE, linewidth=0.4)
    axes.set_axisbelow(True)
    plain_axes(axes)
    axes.tick_params(labelsize=FONT)
    axes.legend(fontsize=SMALL + 0.5, frameon=False, loc="lower left")
