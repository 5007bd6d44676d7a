"""Does one matrix predict another, e.g. does retrieval between two languages predict transfer? The command.

    python -m analysis.predict results/retrieval results/gender --out retrieval-gender

Each source is what `analysis.compare` takes. Cells of a row or a column are dependent, so languages are what is
permuted (the p value) and left out (the interval). Written are `predict.json` and a scatter figure. Not covered: the
noise of the cells themselves, which draws the correlation towards 0, and what both matrices owe to a third thing
(families, loans); for that see `analysis.compare`, which looks at residuals.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.uncertainty import Bools, Floats
from grids.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.comparison import Side

PERMUTATIONS = 9999
MIN_LANGUAGES = 6  # for an interval: below, a language left out leaves too little


@dataclass(frozen=True)
class Prediction:
    """How the cells of one matrix go with those of another.

    Attributes:
        predictor, predicted: the matrices' names.
        predictor_metric, predicted_metric: what they measure.
        languages: shared ones.
        cells: off the diagonal, known in both.
        spearman: rank correlation over the cells; None without variance.
        lower, upper: its 95 % interval over languages; None below `MIN_LANGUAGES`.
        p: two-sided, languages permuted; None without variance.
    """

    predictor: str
    predicted: str
    predictor_metric: str
    predicted_metric: str
    languages: tuple[str, ...]
    cells: int
    spearman: float | None
    lower: float | None
    upper: float | None
    p: float | None


def predict(one: "Side", other: "Side", permutations: int = PERMUTATIONS) -> Prediction:
    """The rank correlation of two matrices over the same languages.

    Raises:
        UserError: fewer than three cells are known in both.
    """
    from analysis.distances import free_orders, permutation_p

    known = shared_cells(one, other)
    if known.sum() < 3:
        raise UserError(f"{one.name} and {other.name} share {known.sum()} cells; 3 are needed")
    n, found = len(one.languages), spearman(one.values, other.values, known)
    lower, upper = interval(one.values, other.values, known)
    p = None
    if found is not None:
        orders = free_orders(n, permutations, np.random.default_rng(0))
        moved = (one.values[np.ix_(order, order)] for order in orders)
        others = [spearman(m, other.values, known & np.isfinite(m)) for m in moved]
        p = permutation_p(found, np.array([value for value in others if value is not None]))
    metrics = one.metric, other.metric
    return Prediction(one.name, other.name, *metrics, one.languages, int(known.sum()), found, lower, upper, p)


def shared_cells(one: "Side", other: "Side") -> Bools:
    """(L, L) cells off the diagonal that both matrices have."""
    return np.asarray(np.isfinite(one.values) & np.isfinite(other.values) & ~np.eye(len(one.languages), dtype=bool))


def spearman(one: Floats, other: Floats, known: Bools) -> float | None:
    """Rank correlation of the known cells of two (L, L) matrices; None without variance."""
    from scipy.stats import rankdata

    x, y = (rankdata(values[known]) for values in (one, other))
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0 else None


def interval(one: Floats, other: Floats, known: Bools) -> tuple[float | None, float | None]:
    """95 % interval of `spearman` of (L, L) matrices: jackknife over languages of Fisher's z, with t(L - 1).

    Each cell leaves with either of its two languages, so the interval is cautious: simulated coverage 95 to 100 %.
    """
    from analysis.uncertainty import t_quantile

    n, whole = len(one), spearman(one, other, known)
    left = [spearman(one, other, known & _without(n, k)) for k in range(n)]
    if n < MIN_LANGUAGES or whole is None or abs(whole) == 1 or any(value is None or abs(value) == 1 for value in left):
        return None, None
    z = np.arctanh(np.array(left, dtype=np.float64))
    half = float(t_quantile(np.array(n - 1))) * float(np.sqrt((n - 1) / n * np.square(z - z.mean()).sum()))
    return float(np.tanh(np.arctanh(whole) - half)), float(np.tanh(np.arctanh(whole) + half))


def _without(n: int, language: int) -> Bools:
    """(n, n) the cells that one language has no part in."""
    kept = np.arange(n) != language
    return np.asarray(kept[:, None] & kept[None, :])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.predict", description="Does one matrix predict another?")
    for name, text in (("predictor", "the matrix that predicts"), ("predicted", "the matrix that is predicted")):
        where = f"{text}: a results folder, a scores CSV or a square matrix CSV"
        parser.add_argument(name, type=Path, metavar=name.upper(), help=where)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: ./<first>-predicts-<second>")
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints one line."""
    from analysis.compare import compare_sources
    from analysis.drawing import write_figure
    from grids.files import write_atomically, writing_to

    one, other = compare_sources((options.predictor, options.predicted)).sides
    found = predict(one, other)
    out: Path = options.out or Path(f"{one.name}-predicts-{other.name}".replace("/", "-"))
    with writing_to(out):
        write_atomically(out / "predict.json", json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")
        write_figure("predict", lambda width: figure(one, other, found, width), out)
    sys.stdout.write(f"{line(found)}\nwritten to {out}\n")
    return 0


def line(found: Prediction) -> str:
    """The result as people read it."""
    head = f"{found.predictor} and {found.predicted}, {found.cells} cells of {len(found.languages)} languages: "
    if found.spearman is None:
        return f"{head}no correlation, one of them has no variance"
    span = "no interval" if found.lower is None else f"95 % [{found.lower:.2f}, {found.upper:.2f}]"
    return f"{head}Spearman {found.spearman:.2f}, {span}, p = {found.p:.3g} (languages permuted)"


def figure(one: "Side", other: "Side", found: Prediction, width: float) -> "Figure":
    """Each cell in one matrix against the other, with the two languages as its label where there is room."""
    from matplotlib.figure import Figure

    from analysis.drawing import plain_axes

    known = shared_cells(one, other)
    drawn = Figure(figsize=(width, 0.8 * min(width, 4.4)), layout="constrained")
    axes = drawn.add_subplot()
    plain_axes(axes)
    axes.scatter(one.values[known], other.values[known], s=12, linewidth=0, color="#1f4e79")
    if known.sum() <= 30:
        for i, j in np.argwhere(known):
            label = f"{one.languages[i]} \N{LEFTWARDS ARROW} {one.languages[j]}"
            axes.annotate(label, (one.values[i, j], other.values[i, j]), fontsize=5, xytext=(2, 2),
                          textcoords="offset points")  # fmt: skip
    axes.set_xlabel(f"{found.predictor}: {found.predictor_metric or 'value'}", fontsize=7, parse_math=False)
    axes.set_ylabel(f"{found.predicted}: {found.predicted_metric or 'r'}", fontsize=7, parse_math=False)
    axes.tick_params(labelsize=6)
    return drawn


if __name__ == "__main__":
    sys.exit(main())
