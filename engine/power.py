"""What seeds can show: how scores vary over them, and so which effects they can call and how to divide trainings.

The model: a score is a mean of its target and condition, plus what the seed adds to all scores of that target, plus
noise of its own; both normal, with the same variances in every target. Not covered: that (i, j) and (j, i) share a
training, and the drawing of cells' variances towards each other, which here are equal from the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95  # of intervals
FALSE_DISCOVERIES = 0.05  # the analysis calls cells at this rate, by Benjamini-Hochberg
POWER = 0.8
EFFECTIVE = 0.5  # share of cells that are assumed to have the effect, on which the threshold of the rate depends
ROUNDING = 1e-24  # of squared scores: less is no variation
FEWEST_SEEDS = 4  # of pairs: with fewer, an interval has next to no degrees of freedom


@dataclass(frozen=True)
class Noise:
    """How scores of one target vary over seeds.

    Attributes:
        sd: standard deviation of one score.
        correlation: of two scores of one target and seed.
        low, high: its 95 % interval.
    """

    sd: float
    correlation: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """Seeds of bases, self runs and pairs; the smaller sets are part of the larger ones."""

    base: int
    self_: int
    cross: int

    def trainings(self, languages: int) -> int:
        """What a matrix of so many languages trains."""
        return languages * (self.base + self.self_) + languages * (languages - 1) // 2 * self.cross

    def __str__(self) -> str:
        if self.base == self.self_ == self.cross:
            return f"seeds = {self.base}"
        return f"seeds = {{ base = {self.base}, self = {self.self_}, cross = {self.cross} }}"


def noise(targets: Sequence[Floats]) -> Noise | None:
    """Standard deviation and correlation of scores over seeds.

    The correlation is the intraclass correlation of conditions over seeds, condition means taken out, pooled over
    targets; its interval is exact under the module's model.

    Args:
        targets: a target each, (M conditions, S seeds), complete; M >= 2 the same for all.

    Returns:
        None without a target of two seeds, or where nothing varies.

    Source: Shrout and Fleiss 1979, "Intraclass correlations: uses in assessing rater reliability", ICC(3, 1).
    """
    from scipy.stats import f

    used = [scores for scores in targets if scores.shape[1] >= 2]
    if not used:
        return None
    conditions = used[0].shape[0]
    centred = [scores - scores.mean(axis=1, keepdims=True) for scores in used]
    shared = sum(float(conditions * (one.mean(axis=0) ** 2).sum()) for one in centred)
    own = sum(float(((one - one.mean(axis=0)) ** 2).sum()) for one in centred)
    df_shared = sum(one.shape[1] - 1 for one in centred)
    df_own = df_shared * (conditions - 1)
    shared, own = shared / df_shared, own / df_own
    if own <= ROUNDING * max(float(np.square(one).max()) for one in used):
        return None
    tail = (1 + LEVEL) / 2
    ratio = shared / own
    low, high = ratio / f.ppf(tail, df_shared, df_own), ratio * f.ppf(tail, df_own, df_shared)
    within = [(value - 1) / (value + conditions - 1) for value in (ratio, low, high)]
    return Noise(float(np.sqrt((shared + (conditions - 1) * own) / conditions)), *map(float, within))


def smallest_gain(sd: float, correlation: float, counts: Counts, languages: int) -> float | None:
    """The smallest gain A - B that is called with a probability of `POWER`.

    The test is the analysis': a moderated t of every cell, Benjamini-Hochberg over all. Simplified: variances are
    equal, so that the t has the degrees of freedom of all cells, and the rate's threshold is the one that it has if a
    share `EFFECTIVE` of the cells has this effect. In simulations of the whole test the power is 0.77 to 0.79 with
    equal seeds, and 0.70 with 12, 12 and 4, since the test counts the fewest seeds.

    Returns:
        The gain, in units of sd; None with fewer than two seeds of bases or pairs.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    fewest = min(counts.base, counts.cross)
    if fewest < 2:
        return None
    df = languages * (languages - 1) * (fewest - 1)
    called = EFFECTIVE * POWER / (1 - (1 - EFFECTIVE) * FALSE_DISCOVERIES)
    critical = float(t.isf(FALSE_DISCOVERIES * called / 2, df))
    shift = brentq(lambda d: float(nct.sf(critical, df, d)) - POWER, 0.0, critical + 10.0)
    gain_variance = _covariances(correlation, counts)[0]
    return float(shift) * sd * float(np.sqrt(gain_variance))


def cell_variance(correlation: float, r: Floats, counts: Counts) -> float:
    """Median over cells of the variance of r = x / y, in units of sd^2 / y^2, by the delta method.

    Args:
        correlation: of scores of one target and seed.
        r: (K,) of the cells.
        counts: seeds.
    """
    xx, yy, xy = _covariances(correlation, counts)
    return float(np.median(xx - 2 * r * xy + r**2 * yy))


def equal_counts(languages: int, trainings: int) -> Counts:
    """The same seeds for all, with at most so many trainings."""
    each = trainings // Counts(1, 1, 1).trainings(languages)
    return Counts(each, each, each)


def best_counts(correlation: float, r: Floats, languages: int, trainings: int) -> Counts:
    """The division with the smallest median variance of a cell r, (K,), with at most so many trainings."""
    equal = equal_counts(languages, trainings)
    pairs = languages * (languages - 1) // 2
    fewer = range(min(FEWEST_SEEDS, equal.cross), equal.cross)
    rest = [(trainings - pairs * cross) // (2 * languages) for cross in fewer]
    divisions = [equal, *(Counts(own, own, cross) for own, cross in zip(rest, fewer, strict=True))]
    return min(divisions, key=lambda counts: cell_variance(correlation, r, counts))


def _covariances(correlation: float, counts: Counts) -> tuple[float, float, float]:
    """Variances and covariance of x = A - B and y = C - B, means over seeds, in units of sd^2.

    Means over n and m seeds, the smaller set part of the larger, have the covariance correlation / max(n, m).
    """
    sizes = (counts.cross, counts.base, counts.self_)
    means: Any = np.diag([1 / size for size in sizes])
    for one, other in combinations(range(3), 2):
        means[one, other] = means[other, one] = correlation / max(sizes[one], sizes[other])
    contrasts = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
    gains = contrasts @ means @ contrasts.T
    return float(gains[0, 0]), float(gains[1, 1]), float(gains[0, 1])
