"""What fine-tuning forgets against what it gains: one point a results folder, an interval over seeds.

    python -m analysis.forgetting results/plain results/ewc_10 ... --condition "to en" --metric chrf --out forgetting

Each folder holds the untouched model (the mixture "") beside fine-tuned ones. A seed's gain is the metric after minus
before, its forgetting the metric of the condition before minus after, each the mean over the languages that the mixture
trains on. Folders differ in one setting, e.g. the strength of a penalty; the folder's name is the point's. It writes
`forgetting.csv` and a figure.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.drawing import FONT, INK, LINE, draw_labels, plain_axes, write_figure
from analysis.uncertainty import Floats, t_quantile
from engine.store import Store
from grids.errors import UserError, one_line_errors
from grids.files import write_atomically
from grids.grid import load
from grids.mixture import Mixture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """A setting: means over seeds, with half the width of Student's 95 % interval (NaN with one seed)."""

    name: str
    gain: float
    gain_error: float
    forgetting: float
    forgetting_error: float
    seeds: int


def point_of(folder: Path, metric: str, condition: str) -> Point:
    """Gain and forgetting of a results folder.

    Raises:
        UserError: no results folder, or it lacks the untouched model, fine-tuned ones, the metric or the condition.
    """
    store = Store(folder)
    if not store.grid_path.exists():
        raise UserError(f"{str(folder)!r} is no results folder: it has no grid.toml")
    samples = load(store.grid_path).samples
    table: pd.DataFrame = store.compact(samples, write=False).to_pandas()
    table = table[table["metric"] == metric]
    own = [not text or code in Mixture.parse(text, samples).languages
           for code, text in zip(table["language"], table["mixture"], strict=True)]  # fmt: skip
    table = table[own]
    gains, losses = (_changes(table, folder, which) for which in ("", condition))
    (gain, gain_error), (loss, loss_error) = mean_with_error(gains), mean_with_error(-losses)
    return Point(folder.name, gain, gain_error, loss, loss_error, len(gains))


def _changes(table: "pd.DataFrame", folder: Path, condition: str) -> Floats:
    """(S,) after minus before, the mean over fine-tuned mixtures and their own languages of each seed.

    Raises:
        UserError: nothing to compare.
    """
    table = table[table["condition"] == condition]
    before = table[table["mixture"] == ""].groupby("language")["value"].mean()
    after = table[table["mixture"] != ""]
    if not len(before) or not {*after["language"]} <= {*before.index} or not len(after):
        raise UserError(f"{str(folder)!r} has not both the untouched model (the mixture \"\") and fine-tuned ones "
                        f"with the condition {condition!r}")  # fmt: skip
    change = after["value"] - after["language"].map(before).astype(float)
    return np.asarray(change.groupby(after["seed"]).mean(), dtype=np.float64)


def mean_with_error(values: Floats) -> tuple[float, float]:
    """The mean of (S,) values over seeds, and half the width of Student's 95 % interval (NaN with one seed)."""
    count = len(values)
    half = values.std(ddof=1) / np.sqrt(count) * t_quantile(np.array(count - 1)) if count > 1 else np.nan
    return float(values.mean()), float(half)


def forgetting_figure(points: Sequence[Point], metric: str, condition: str, width: float) -> "Figure":
    """Forgetting over gain, the settings by name; up and left is worse."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.75 * width), layout="constrained")
    axes = figure.add_subplot()
    for point in points:
        errors = [None if np.isnan(e) else 100 * e for e in (point.gain_error, point.forgetting_error)]
        axes.errorbar(100 * point.gain, 100 * point.forgetting, xerr=errors[0], yerr=errors[1], fmt="o", color=INK,
                      ecolor=LINE, markersize=3)  # fmt: skip
    axes.axhline(0, color=LINE, linewidth=0.6, zorder=0)
    axes.set_xlabel(f"gain: {metric}, points", fontsize=FONT)
    axes.set_ylabel(f"forgetting: {metric} {condition!r}, points", fontsize=FONT)
    plain_axes(axes)
    figure.draw_without_rendering()  # settles the limits that labels depend on
    places = np.array([[100 * point.gain, 100 * point.forgetting] for point in points])
    draw_labels(axes, places, [point.name for point in points], np.full(len(points), 9.0), FONT)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.forgetting", description="Forgetting against gain.")
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--condition", default="to en", help="what may be forgotten; default: 'to en'")
    parser.add_argument("--metric", default="bleu", help="default: bleu")
    parser.add_argument("--out", type=Path, default=Path("forgetting"))
    asked = parser.parse_args(arguments)
    points = [point_of(folder, asked.metric, asked.condition) for folder in asked.results]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(points[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    write_atomically(asked.out / "forgetting.csv", text.getvalue())
    write_figure("forgetting", lambda width: forgetting_figure(points, asked.metric, asked.condition, width), asked.out)
    print(text.getvalue(), end="")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(one_line_errors(main))
