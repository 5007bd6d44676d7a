"""How sure the aggregates of a matrix are: noise floors, noise-corrected squares, intervals over seeds.

Noise only ever adds to a sum of squares: a matrix of all ones, measured with error, is never at distance 0 from all
ones. So a square is reported with what its noise added taken away, and beside it what an agnostic matrix with the same
errors would show. Intervals leave out one seed at a time, for every cell at once, since the cells of a row share P(i)
and D_i, and r_ij and r_ji share a training. A bootstrap over seeds would add noise to noise and cover next to nothing.
Only intervals whose coverage the simulations in the tests show are computed here.

The error of a cell is held seed by seed (`Linear.parts`), so that every covariance is one product. Seeds that a cell
lacks move it by nothing. Cells with fewer than two seeds have no error and are left out here.

Shapes: L languages, S seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.matrix import CLTM
from analysis.replicates import MIN_SEEDS, jackknife_se, pseudo_values, t_half_width
from analysis.scores import Scores
from analysis.uncertainty import Bools, Floats

NOISE_IN_A_ROW = 1 / 3


@dataclass(frozen=True, eq=False)
class Linear:
    """A matrix and how each seed moved it, to first order.

    Attributes:
        r: (L, L), 1 on the diagonal; only cells in `used` mean anything.
        parts: (L, L, S) what each seed adds to the error: variances are sums of squares over seeds, covariances sums
            of products; 0 on the diagonal.
        used: (L, L) the off-diagonal cells to use.
    """

    r: Floats
    parts: Floats
    used: Bools

    @property
    def n(self) -> int:
        """L."""
        return len(self.r)

    @property
    def variance(self) -> Floats:
        """(L, L) variance of r: the square of the delta method's standard error."""
        return np.asarray((self.parts**2).sum(axis=-1))

    @property
    def both(self) -> Bools:
        """(L, L) cells whose opposite is used too."""
        return self.used & self.used.T

    def mean(self, values: Floats, where: Bools | None = None) -> float:
        """Mean of (L, L) values over the cells used; NaN without one."""
        where = self.used if where is None else where
        return float(values[where].mean()) if where.any() else float("nan")


Statistic = Callable[[Linear], float]


@dataclass(frozen=True)
class Noise:
    """How the noise of an aggregate is treated.

    Attributes:
        corrected: the aggregate without what noise adds to it; of a square, not truncated at 0.
        floor: what an agnostic matrix with the same errors shows, from `agnostic`.
        square: `corrected` is the aggregate's square, and may be negative.
        interval: simulations show that leaving out seeds covers the truth.
    """

    corrected: Statistic
    floor: Statistic
    square: bool = True
    interval: bool = True


@dataclass(frozen=True, eq=False)
class Resampled:
    """The matrix, the same matrix as if it were agnostic, and the matrix without each seed.

    Attributes:
        matrix: with the errors of its cells.
        agnostic: r = 1, with the errors that it then would have.
        left_out: S matrices without a seed; none if a cell used has fewer than `MIN_SEEDS`, or no positive self-gain
            without one of them.
        seeds: the smallest count of a cell used.
    """

    matrix: Linear
    agnostic: Linear
    left_out: tuple[Linear, ...]
    seeds: int

    def interval(self, noise: Noise) -> tuple[float, float] | None:
        """Student's 95 % interval of what `noise.corrected` gives, which may be a square; None where it can't be known.

        Its centre is the mean of the pseudo-values, which also removes the bias of a ratio of means.
        """
        full = noise.corrected(self.matrix)
        values = np.array([noise.corrected(one) for one in self.left_out])
        if not noise.interval or not values.size or not np.isfinite([full, *values]).all():
            return None
        centre = float(pseudo_values(full, values).mean())
        half = float(t_half_width(jackknife_se(values), self.seeds))
        return centre - half, centre + half


def resample(cltm: CLTM) -> Resampled | None:
    """All matrices that a matrix's errors need; None for a bare one, or without a cell of two seeds."""
    if cltm.scores is None:
        return None
    counts = cltm.moments.count.min(axis=-1)
    used = cltm.used & (counts >= 2)
    if not used.any():
        return None
    seeds = int(counts[cltm.used].min())
    left_out = tuple(linear(without(cltm.scores, s), used) for s in range(len(cltm.scores.seeds)))
    sure = seeds >= MIN_SEEDS and all(np.isfinite(one.r[used]).all() for one in left_out)
    matrix, agnostic = linear(cltm.scores, used), linear(cltm.scores, used, agnostic=True)
    return Resampled(matrix, agnostic, left_out if sure else (), seeds)


def linear(scores: Scores, used: Bools, *, agnostic: bool = False) -> Linear:
    """The matrix of scores, with the part of its error that each seed makes.

    `r - true r = (A - (1 - r) B - r C - ...) / y` to first order; each mean's error is a sum over its seeds. The factor
    c / (c - 1), c the cell's smallest count, makes a sum of squares an unbiased variance.

    Args:
        scores: L languages, S seeds.
        used: (L, L) the cells to use.
        agnostic: the errors as they would be at r = 1, and r = 1 itself.

    Returns:
        The matrix; NaN where the self-gain is not positive.
    """
    (cross, from_cross, n_cross), (base, from_base, n_base), (own, from_own, n_own) = (
        _mean_and_parts(values) for values in (scores.cross, scores.base, scores.self_)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.where(own > base, own - base, np.nan)[:, None]
        r = np.ones_like(cross) if agnostic else (cross - base[:, None]) / gain
        parts = from_cross - (1 - r)[..., None] * from_base[:, None] - r[..., None] * from_own[:, None]
        count = np.minimum(n_cross, np.minimum(n_base, n_own)[:, None])
        parts *= np.sqrt(count / (count - 1.0))[..., None] / gain[..., None]
    return Linear(
        np.where(np.eye(len(r), dtype=bool), 1.0, r), np.where(used[..., None], parts, 0.0), used,
    )  # fmt: skip


def without(scores: Scores, position: int) -> Scores:
    """The scores without one seed."""
    kept = np.arange(len(scores.seeds)) != position
    return replace(
        scores, seeds=tuple(np.array(scores.seeds)[kept].tolist()), base=scores.base[:, kept],
        self_=scores.self_[:, kept], cross=scores.cross[..., kept],
    )  # fmt: skip


def rfd_square(m: Linear) -> float:
    """RFD^2 without noise: `RFD^2 - sum SE^2 / n^2`, SE at the estimate."""
    return (m.n - 1) / m.n * m.mean((m.r - 1) ** 2 - m.variance)


def rfd_floor(m: Linear) -> float:
    """`sqrt(sum Var0) / n`, with Var0 = Var(mean(A - C)) / y^2 the variance at r = 1; of an agnostic matrix."""
    return float(np.sqrt((m.n - 1) / m.n * m.mean(m.variance)))


def asymmetry_square(m: Linear) -> float:
    """Relative asymmetry^2 without noise; its noise includes Cov(r_ij, r_ji), for both are of one training."""
    difference = m.mean((m.r - m.r.T) ** 2 - _variance_of_difference(m), m.both)
    square = m.mean(m.r**2 - m.variance, m.both)
    total = (m.n - 1) * square + 1
    return (m.n - 1) * difference / total if total > 0 else float("nan")


def asymmetry_floor(m: Linear) -> float:
    """Relative asymmetry of an agnostic matrix, noise in both norms."""
    difference, square = m.mean(_variance_of_difference(m), m.both), 1 + m.mean(m.variance, m.both)
    return float(np.sqrt((m.n - 1) * difference / ((m.n - 1) * square + 1)))


def rms_square(m: Linear) -> float:
    """RMS^2 without noise."""
    return m.mean(m.r**2 - m.variance)


def rms_floor(m: Linear) -> float:
    """RMS of an agnostic matrix: a little above 1."""
    return float(np.sqrt(1 + m.mean(m.variance)))


def row_cosine(m: Linear) -> float:
    """Average row cosine without noise, which makes rows longer and no product of two rows larger.

    Only noise across a row turns it; noise along it (a self-gain that is too small, say) changes no cosine. NaN if
    noise is more than `NOISE_IN_A_ROW` of a row's square: simulated, intervals then cover too little.
    """
    there = (m.used | np.eye(m.n, dtype=bool)).astype(np.float64)
    values = np.where(there > 0, m.r, 0.0)
    length = np.linalg.norm(values, axis=1)
    along = (values[:, None, :] @ m.parts)[:, 0] / length[:, None]
    across = (m.variance.sum(axis=1) - (along**2).sum(axis=-1)) / length**2
    square = (values**2 * (1 - across)[:, None]) @ there.T
    pairs = _pairs(m, there)
    if not pairs.any() or across.max() > NOISE_IN_A_ROW or square[pairs].min() <= 0:
        return float("nan")
    with np.errstate(invalid="ignore"):
        cosine = (values @ values.T) / np.sqrt(square * square.T)
    return float(cosine[pairs].mean())


def row_cosine_floor(m: Linear) -> float:
    """Average row cosine of an agnostic matrix.

    Noise that moves a whole row makes it longer or shorter and turns it little: only what is left after the row's mean
    turns it.
    """
    there = m.used | np.eye(m.n, dtype=bool)
    size = there.sum(axis=1)
    centred = np.where(there[..., None], m.parts - m.parts.sum(axis=1, keepdims=True) / size[:, None, None], 0.0)
    share = (centred**2).sum(axis=(1, 2)) / size
    pairs = _pairs(m, there.astype(np.float64))
    if not pairs.any():
        return float("nan")
    return float((1 / np.sqrt((1 + share)[:, None] * (1 + share)[None, :]))[pairs].mean())


def _pairs(m: Linear, there: Floats) -> Bools:
    """(L, L) the pairs of rows that have a cosine, as in the aggregate itself: two common columns or more."""
    pairs: Bools = (there @ there.T >= 2) & ~np.eye(m.n, dtype=bool)
    return pairs


def _variance_of_difference(m: Linear) -> Floats:
    """(L, L) variance of r_ij - r_ji."""
    return np.asarray(((m.parts - m.parts.transpose(1, 0, 2)) ** 2).sum(axis=-1))


def _mean_and_parts(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean over the last axis, what each seed adds to its error (0 where there is none), and the count."""
    seen = np.isfinite(values)
    count = seen.sum(axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0.0).sum(axis=-1) / count
        parts = np.where(seen, (values - mean[..., None]) / count[..., None], 0.0)
    return mean, parts, count
