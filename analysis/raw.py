"""Matrices without self-gain: of raw gains P(i+j) - P(i), or of scores.

Scores are those of P(i+j) without any P(i), of i by the model of j alone (zero-shot), or of i under condition j.
Nothing can be divided by a self-gain that was not measured, so such a matrix has values, errors and means, and no r.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.replicates import MIN_SEEDS, jackknife_se, pseudo_values, t_half_width, weighted
from analysis.scores import Plan, RawMatrix, scores_from
from analysis.uncertainty import Bools, Floats, t_quantile
from grids.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

KIND = "raw"


@dataclass(frozen=True)
class RawLine:
    """One language as target and as donor: mean over its row's and its column's known cells; None without one.

    Attributes:
        language: the language's code.
        as_target, as_donor: the means.
        as_target_se, as_donor_se: their standard errors over seeds that have all these cells; None below two.
    """

    language: str
    as_target: float | None
    as_donor: float | None
    as_target_se: float | None
    as_donor_se: float | None


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
        mean_interval, median_interval: 95 % over seeds, a whole seed left out at a time; None below `MIN_SEEDS`.
        asymmetry_interval: the same, of the asymmetry without the seeds' noise.
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
    mean_interval: tuple[float, float] | None
    median_interval: tuple[float, float] | None
    asymmetry_interval: tuple[float, float] | None
    lines: tuple[RawLine, ...]


def raw_from(frame: "pd.DataFrame", plan: Plan) -> RawMatrix:
    """The raw matrix of rows of one metric.

    Args:
        frame: checked rows of base, cross, zero-shot and untouched trials, under any condition.
        plan: for the languages and their order; without it every language found counts.

    Raises:
        UserError: there are neither scores of two languages nor of one by the other's model or under its condition.
    """
    codes = plan.languages or tuple(sorted({*frame["language"], *frame["donor"]} - {""}))
    inverted = not bool(frame["higher_is_better"].iloc[0])
    plain = frame[(frame["condition"] == "") & (frame["role"] != "untouched")]
    if (plain["role"] == "cross").any():
        seeds = tuple(sorted(int(seed) for seed in plain["seed"].unique()))
        scores = scores_from(plain, codes, seeds, inverted)
        gains = bool((plain["role"] == "base").any())  # where a language alone means nothing, scores are all there is
        values = scores.cross - scores.base[:, None, :] if gains else scores.cross
        return RawMatrix(codes, seeds, scores.metric, inverted, gains, values)
    if (plain["role"] == "zero").any():
        return _zero_shot(plain, codes, inverted)
    other = frame[frame["condition"].isin(codes)]
    if other.empty:
        raise UserError(
            "there is neither a score of a mixture of two languages nor one of a language by another's model or under "
            "its condition, so there is no matrix; nothing to analyse yet"
        )
    seeds = tuple(sorted(int(seed) for seed in other["seed"].unique()))
    as_cross = other.assign(donor=other["condition"], role="cross")
    scores = scores_from(as_cross, codes, seeds, inverted)
    return RawMatrix(codes, seeds, scores.metric, inverted, False, scores.cross)


def _zero_shot(frame: "pd.DataFrame", codes: tuple[str, ...], inverted: bool) -> RawMatrix:
    """Scores of i by the model of j alone, with j's block; on the diagonal P(i)."""
    base = frame["role"] == "base"
    same_size = frame["trial"].isin(frame["trial"][base])
    rows = frame[base | ((frame["role"] == "zero") & same_size)].replace({"role": {"zero": "cross"}})
    seeds = tuple(sorted(int(seed) for seed in rows["seed"].unique()))
    scores = scores_from(rows, codes, seeds, inverted)
    own = np.eye(len(codes), dtype=bool)[..., None]
    return RawMatrix(codes, seeds, scores.metric, inverted, False, np.where(own, scores.base[:, None], scores.cross))


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
    asymmetry = float(_asymmetry_square(raw.values[None], known)[0])
    over_seeds = _intervals(raw, known)
    return RawSummary(
        n=n, known_cells=int(known.sum()), missing_cells=int((off & ~known).sum()),
        mean=float(values.mean()), median=float(np.median(values)),
        smallest=float(values.min()), largest=float(values.max()),
        positive=float((values > 0).mean()) if raw.gains else None,
        positive_beyond_error=int((raw.values - half > 0)[known].sum()) if with_errors else None,
        negative_beyond_error=int((raw.values + half < 0)[known].sum()) if with_errors else None,
        median_se=float(np.median(errors)) if errors.size else None,
        asymmetry=float(np.sqrt(asymmetry)) if np.isfinite(asymmetry) else None,
        mean_interval=over_seeds[0], median_interval=over_seeds[1], asymmetry_interval=over_seeds[2],
        lines=tuple(
            RawLine(code, _mean(raw.values[i, known[i]]), _mean(raw.values[known[:, i], i]),
                    _se(raw.by_seed[i, known[i]]), _se(raw.by_seed[known[:, i], i]))
            for i, code in enumerate(raw.languages)
        ),
    )  # fmt: skip


def _intervals(raw: RawMatrix, known: Bools) -> tuple[tuple[float, float] | None, ...]:
    """Jackknife intervals of mean, median and asymmetry; None where a cell has too few seeds.

    The median has its own value as the centre: pseudo-values of a median scatter widely. The asymmetry's centre is the
    mean of pseudo-values of its square, which takes out what noise adds to squares.
    """
    seeds = len(raw.seeds)
    if raw.count[known].min() < MIN_SEEDS:
        return None, None, None
    left_out = weighted(raw, 1 - np.eye(seeds))
    found = []
    for of in (np.mean, np.median):
        centre, half = of(raw.values[known]), t_half_width(jackknife_se(of(left_out[:, known], axis=1)), seeds)
        found.append((float(centre - half), float(centre + half)))
    square = pseudo_values(_asymmetry_square(raw.values[None], known)[0], _asymmetry_square(left_out, known))
    if not np.isfinite(square).all():
        return *found, None
    half = t_half_width(square.std(ddof=1) / np.sqrt(seeds), seeds)
    low, high = (float(np.sqrt(max(square.mean() + sign * half, 0.0))) for sign in (-1, 1))
    return *found, (low, high)


def _asymmetry_square(values: Floats, known: Bools) -> Floats:
    """(K,) squared asymmetry of (K, L, L) matrices, over pairs known in both directions; NaN without any size."""
    both = known & known.T
    difference = values - np.swapaxes(values, -1, -2)
    with np.errstate(invalid="ignore"):
        return np.asarray((difference[:, both] ** 2).sum(axis=1) / (values[:, both] ** 2).sum(axis=1))


def _mean(line: Floats) -> float | None:
    """Mean of the known cells of a line."""
    return float(line.mean()) if line.size else None


def _se(line: Floats) -> float | None:
    """Standard error over seeds of the mean of (K, S) cells."""
    whole = line.mean(axis=0)[np.isfinite(line).all(axis=0)] if line.size else line
    return float(whole.std(ddof=1) / np.sqrt(len(whole))) if len(whole) > 1 else None
