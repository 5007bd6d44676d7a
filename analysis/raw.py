"""Matrices without self-gain: raw gains P(i+j) - P(i), or scores of i under condition j (retrieval).

Nothing can be divided by a self-gain that was not measured, so such a matrix has values, errors and means, and no r.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.scores import Plan, RawMatrix, scores_from
from analysis.uncertainty import Floats, Ints, t_quantile
from grids.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

KIND = "raw"


@dataclass(frozen=True)
class RawLine:
    """One language as target and as donor: mean over its row's and its column's known cells; None without one."""

    language: str
    as_target: float | None
    as_donor: float | None


@dataclass(frozen=True)
class RawSummary:
    """What a raw matrix says, over its known off-diagonal cells.

    Attributes:
        n: languages.
        known_cells, missing_cells: off the diagonal.
        mean, median, smallest, largest: of the values.
        positive: share of the values above 0; None unless they are gains.
        positive_beyond_error: cells whose interval over seeds lies above 0; None unless they are gains with errors.
        negative_beyond_error: the same below 0.
        median_se: None where no cell has two seeds.
        asymmetry: norm_F(V - V^T) / norm_F(V) over the pairs known in both directions.
        lines: one a language.
    """

    n: int
    known_cells: int
    missing_cells: int
    mean: float
    median: float
    smallest: float
    largest: float
    positive: float | None
    positive_beyond_error: int | None
    negative_beyond_error: int | None
    median_se: float | None
    asymmetry: float | None
    lines: tuple[RawLine, ...]


def raw_from(frame: "pd.DataFrame", plan: Plan) -> RawMatrix:
    """The raw matrix of rows of one metric.

    Args:
        frame: checked rows of base, cross and untouched trials, under any condition.
        plan: for the languages and their order; without it every language found counts.

    Raises:
        UserError: there are neither cross gains nor scores under the condition of another language.
    """
    codes = plan.languages or tuple(sorted({*frame["language"], *frame["donor"]} - {""}))
    inverted = not bool(frame["higher_is_better"].iloc[0])
    plain = frame[(frame["condition"] == "") & (frame["role"] != "untouched")]
    if (plain["role"] == "cross").any():
        seeds = tuple(sorted(int(seed) for seed in plain["seed"].unique()))
        scores = scores_from(plain, codes, seeds, inverted)
        return _summed(scores.cross - scores.base[:, None, :], scores.metric, codes, seeds, inverted, gains=True)
    other = frame[frame["condition"].isin(codes)]
    if other.empty:
        raise UserError(
            "there is neither a score of a mixture of two languages nor one under the condition of another language, "
            "so there is no matrix; nothing to analyse yet"
        )
    seeds = tuple(sorted(int(seed) for seed in other["seed"].unique()))
    as_cross = other.assign(donor=other["condition"], role="cross")
    scores = scores_from(as_cross, codes, seeds, inverted)
    return _summed(scores.cross, scores.metric, codes, seeds, inverted, gains=False)


def _summed(
    values: Floats, metric: str, codes: tuple[str, ...], seeds: tuple[int, ...], inverted: bool, *, gains: bool
) -> RawMatrix:
    """Means and errors of (L, L, S) values over the seeds that there are."""
    seen = np.isfinite(values)
    count: Ints = seen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0.0).sum(axis=-1) / count
        squares = np.where(seen, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        se = np.sqrt(squares / (count - 1) / count)
    return RawMatrix(
        codes, seeds, metric, inverted, gains,
        values=np.where(count > 0, mean, np.nan), se=np.where(count > 1, se, np.nan), count=count,
    )  # fmt: skip


def summarise_raw(raw: RawMatrix) -> RawSummary:
    """The summary of a raw matrix with at least one known cell off the diagonal.

    Raises:
        UserError: there is none.
    """
    n = len(raw.languages)
    off = ~np.eye(n, dtype=bool)
    known = np.isfinite(raw.values) & off
    if not known.any():
        raise UserError("no cell of two languages is known: a gain needs P(i) and P(i+j) of the same seed")
    values, errors = raw.values[known], raw.se[known & np.isfinite(raw.se)]
    half = t_quantile(raw.count - 1) * raw.se
    with_errors = raw.gains and errors.size > 0
    both = known & known.T
    difference = np.where(both, raw.values - raw.values.T, 0.0)
    size = float(np.sqrt((raw.values[both] ** 2).sum()))
    return RawSummary(
        n=n, known_cells=int(known.sum()), missing_cells=int((off & ~known).sum()),
        mean=float(values.mean()), median=float(np.median(values)),
        smallest=float(values.min()), largest=float(values.max()),
        positive=float((values > 0).mean()) if raw.gains else None,
        positive_beyond_error=int((raw.values - half > 0)[known].sum()) if with_errors else None,
        negative_beyond_error=int((raw.values + half < 0)[known].sum()) if with_errors else None,
        median_se=float(np.median(errors)) if errors.size else None,
        asymmetry=float(np.sqrt((difference**2).sum())) / size if size > 0 else None,
        lines=tuple(
            RawLine(code, _mean(raw.values[i, known[i]]), _mean(raw.values[known[:, i], i]))
            for i, code in enumerate(raw.languages)
        ),
    )  # fmt: skip


def _mean(line: Floats) -> float | None:
    """Mean of the known cells of a line."""
    return float(line.mean()) if line.size else None
