"""The same matrix from other sets of seeds: one seed left out, seeds drawn again, seeds split into halves.

Seeds are paired over the whole matrix, so a seed is always left out or drawn for every cell at once. A replicate holds
the cells of the full matrix, never others; a cell whose self-gain is not positive in a replicate is NaN there. What
needs replicates is None below `MIN_SEEDS`.
"""

from dataclasses import dataclass

import numpy as np

from analysis.scores import RawMatrix, Scores
from analysis.uncertainty import Floats, Ints, t_quantile

MIN_SEEDS = 5  # below it no statistic of a whole matrix gets an interval or a support
DRAWS = 100
SPLITS = 25


@dataclass(frozen=True, eq=False)
class Replicates:
    """Matrices from other sets of seeds, NaN where a cell is not known.

    Attributes:
        left_out: (S, L, L) each without one seed.
        drawn: (B, L, L) seeds drawn with replacement.
        halves: (2, H, L, L) two disjoint halves of the seeds.
    """

    left_out: Floats
    drawn: Floats
    halves: Floats

    @property
    def count(self) -> int:
        """S, the number of seeds."""
        return len(self.left_out)


def replicates(scores: Scores | RawMatrix, values: Floats, draws: int = DRAWS) -> Replicates | None:
    """The replicates of a matrix, or None with fewer than `MIN_SEEDS` seeds.

    Args:
        scores: what the matrix was made of.
        values: (L, L) the matrix; its NaN cells stay NaN in every replicate.
        draws: B, of the seeds with replacement.
    """
    count = len(scores.seeds)
    if count < MIN_SEEDS:
        return None
    rng = np.random.default_rng(0)
    first = halves(count, rng)
    known = np.isfinite(values)

    def of(weights: Floats) -> Floats:
        return np.where(known, weighted(scores, weights), np.nan)

    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    split = np.stack([of(first), of(_other_half(first, rng))])
    return Replicates(of(1 - np.eye(count)), of(drawn), split)


def halves(count: int, rng: np.random.Generator) -> Floats:
    """(H, S) weights 0 and 1 of random halves of the seeds; an odd seed is in neither half."""
    order = rng.permuted(np.tile(np.arange(count), (SPLITS, 1)), axis=1)
    return np.asarray(order < count // 2, dtype=np.float64)


def weighted(scores: Scores | RawMatrix, weights: Floats) -> Floats:
    """The matrix of weighted means over seeds.

    Args:
        scores: L languages, S seeds.
        weights: (K, S), not negative.

    Returns:
        (K, L, L) ratio of mean gains, or the mean of raw values; NaN on the diagonal, where a score is missing, and
        where the mean self-gain is not positive.
    """
    if isinstance(scores, RawMatrix):
        gain = _means(scores.by_seed, weights)
    else:
        base, own, cross = (_means(values, weights) for values in (scores.base, scores.self_, scores.cross))
        with np.errstate(invalid="ignore"):
            gain = (cross - base[:, :, None]) / np.where(own > base, own - base, np.nan)[:, :, None]
    gain[:, np.arange(gain.shape[1]), np.arange(gain.shape[1])] = np.nan
    return gain


def jackknife_se(left_out: Floats) -> Floats:
    """Standard error from the delete-one values, (S, ...) -> (...).

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", equation 11.5.
    """
    count = len(left_out)
    return np.asarray(np.sqrt((count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)))


def pseudo_values(full: Floats | float, left_out: Floats) -> Floats:
    """Jackknife pseudo-values `S full - (S - 1) left_out`, (S, ...).

    Their mean has no bias of order 1/S, their spread is the error.

    Noise of order 1/S is what adds to squares of means, so the mean of pseudo-values is a noise-corrected square.
    """
    count = len(left_out)
    return np.asarray(count * np.asarray(full) - (count - 1) * left_out)


def t_half_width(se: Floats, count: int) -> Floats:
    """Half the width of Student's 95 % interval, (...), from a standard error with count - 1 degrees of freedom."""
    df: Ints = np.array(count - 1)
    return np.asarray(t_quantile(df) * se)


def _other_half(first: Floats, rng: np.random.Generator) -> Floats:
    """As many seeds as in the first half, of those that are not in it."""
    rank = np.where(first > 0, np.inf, rng.random(first.shape)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank < first.sum(axis=1, keepdims=True), dtype=np.float64)


def _means(values: Floats, weights: Floats) -> Floats:
    """Weighted means over the last axis, seeds: (..., S) and (K, S) -> (K, ...); NaN without a weight."""
    seen = np.isfinite(values)
    flat = np.where(seen, values, 0.0).reshape(-1, values.shape[-1])
    mass = seen.reshape(flat.shape).astype(np.float64) @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(mass > 0, (flat @ weights.T) / mass, np.nan)
    return np.asarray(means.T.reshape(len(weights), *values.shape[:-1]))
