"""How sure a ratio of gains is: variances of paired means, Fieller's interval, the delta method.

Everything is vectorised over leading axes, so that one cell, a whole matrix and thousands of simulated matrices take
the same path. Not covered: the test set as a second source of noise, and intervals of whole-matrix aggregates.

Shapes: L languages, S seeds; `...` any leading axes. NaN marks a score that is not there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVEL = 0.95  # of every interval
CROSS, BASE, SELF = 0, 1, 2  # the order of A = P(i+j), B = P(i), C = P(i+i) on axes of length three
CONTRASTS = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])  # x = A - B, y = C - B


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over seeds, and the variances of these means, of the gains x = A - B and y = C - B.

    Attributes:
        mean: (..., 3) of A, B, C; NaN without a seed.
        count: (..., 3) seeds of A, B, C.
        x: (...) mean cross-gain.
        y: (...) mean self-gain.
        s_xx: (...) variance of x; NaN with fewer than two seeds of A or B.
        s_yy: (...) variance of y.
        s_xy: (...) covariance of x and y.
        df: (...) degrees of freedom, the smallest count - 1; at least 0.
        clipped: (...) unequal samples gave a covariance matrix that none can be; the nearest possible one was taken.
    """

    mean: Floats
    count: Ints
    x: Floats
    y: Floats
    s_xx: Floats
    s_yy: Floats
    s_xy: Floats
    df: Ints
    clipped: Bools


@dataclass(frozen=True, eq=False)
class Interval:
    """Fieller's interval of r = x / y.

    Attributes:
        lower: (...) NaN where g is not below 1.
        upper: (...) as lower.
        g: (...) how far the self-gain is from 0: at 1 and above it can't be told from 0, and r has no bounded
            interval. NaN where it can't be known (fewer than two seeds).
    """

    lower: Floats
    upper: Floats
    g: Floats


def moments(cross: Floats, base: Floats, self_: Floats) -> Moments:
    """Means and variances of the gains, seeds paired.

    Args:
        cross: (..., S) scores A; the last axis is the seed, the same in all three arrays.
        base: (..., S) scores B, broadcast against the others.
        self_: (..., S) scores C.

    Returns:
        The moments over the leading axes. Each mean takes every seed there is, so counts may differ.
    """
    scores = np.stack(np.broadcast_arrays(cross, base, self_), axis=-2).astype(np.float64)
    seen = np.isfinite(scores)
    count = seen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, scores, 0.0).sum(axis=-1) / count
    covariance, clipped = nearest_psd(covariance_of_means(scores), where=~_same_seeds(seen))
    with np.errstate(invalid="ignore"):
        gains = CONTRASTS @ covariance @ CONTRASTS.T
    return Moments(
        mean=np.where(count > 0, mean, np.nan),
        count=count,
        x=mean[..., CROSS] - mean[..., BASE],
        y=mean[..., SELF] - mean[..., BASE],
        s_xx=variance_of_difference(covariance, CROSS, BASE),
        s_yy=variance_of_difference(covariance, SELF, BASE),
        s_xy=gains[..., 0, 1],
        df=np.maximum(count.min(axis=-1) - 1, 0),
        clipped=clipped,
    )


def variance_of_difference(covariance: Floats, one: int, other: int) -> Floats:
    """Variance of the difference of two means, from their (..., 3, 3) covariance; known if these two are."""
    pair = covariance[..., one, one] + covariance[..., other, other] - 2 * covariance[..., one, other]
    return np.maximum(pair, 0.0)  # rounding may leave -1e-20; NaN stays NaN


def covariance_of_means(scores: Floats) -> Floats:
    """Covariance matrix of several means over seeds, some of which may miss seeds.

    `Cov(A mean, B mean) = m s_AB / (n_A n_B)` with m the shared seeds and s_AB their sample covariance; on the
    diagonal this is `s_A^2 / n_A`. A covariance with fewer than two shared seeds enters as 0: it can't be estimated,
    and 0 makes an interval of gains wider rather than narrower where the scores share their base.

    Args:
        scores: (..., K, S), NaN where there is no score.

    Returns:
        (..., K, K); NaN on the diagonal where a mean has fewer than two seeds.
    """
    seen = np.isfinite(scores)
    both = seen[..., :, None, :] & seen[..., None, :, :]
    shared = both.sum(axis=-1)
    count = seen.sum(axis=-1)
    left = np.where(both, scores[..., :, None, :], 0.0)
    right = np.where(both, scores[..., None, :, :], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        left_mean, right_mean = left.sum(axis=-1) / shared, right.sum(axis=-1) / shared
        products = np.where(both, (left - left_mean[..., None]) * (right - right_mean[..., None]), 0.0)
        sample = products.sum(axis=-1) / (shared - 1)
        covariance = shared * sample / (count[..., :, None] * count[..., None, :])
    diagonal = np.eye(scores.shape[-2], dtype=bool)
    return np.where(shared >= 2, covariance, np.where(diagonal, np.nan, 0.0))


def nearest_psd(covariance: Floats, where: Bools) -> tuple[Floats, Bools]:
    """Replaces matrices that are no covariance by the nearest that is (negative eigenvalues set to 0).

    Args:
        covariance: (..., K, K), symmetric.
        where: (...) which ones to look at; a matrix with a NaN is left as it is.

    Returns:
        The matrices, and (...) which of them were changed.

    Source: Higham 1988, "Computing a nearest symmetric positive semidefinite matrix", theorem 2.1.
    """
    looked = where & np.isfinite(covariance).all(axis=(-2, -1))
    values, vectors = np.linalg.eigh(np.where(looked[..., None, None], covariance, 0.0))
    clipped = looked & (values.min(axis=-1) < -1e-12 * np.abs(values).max(axis=-1))
    nearest = (vectors * np.maximum(values, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.where(clipped[..., None, None], nearest, covariance), clipped


def fieller(m: Moments, level: float = LEVEL) -> Interval:
    """The interval of r = x / y that holds every r with |x - r y| <= q * its standard error.

    With `a = y^2 - q^2 s_yy` the bounds solve `a r^2 - 2 (xy - q^2 s_xy) r + (x^2 - q^2 s_xx) <= 0`. The discriminant
    is written out, so that the large terms x^2 y^2 cancel by algebra instead of in floating point.

    Args:
        m: moments of the gains.
        level: coverage, in (0, 1).

    Source: Fieller 1954, "Some problems in interval estimation"; the same set as Fieller's quotient form, without a
    division by s_yy, so that noise-free scores give an interval of width 0.
    """
    q2 = t_quantile(m.df, level) ** 2
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        g = np.where(m.y == 0, np.inf, q2 * m.s_yy / m.y**2)
        g = np.where(np.isfinite(q2), g, np.nan)
        a = m.y**2 - q2 * m.s_yy
        inner = m.y**2 * m.s_xx - 2 * m.x * m.y * m.s_xy + m.x**2 * m.s_yy - q2 * (m.s_xx * m.s_yy - m.s_xy**2)
        half = np.sqrt(q2 * np.maximum(inner, 0.0)) / a
        middle = (m.x * m.y - q2 * m.s_xy) / a
    bounded = g < 1
    return Interval(np.where(bounded, middle - half, np.nan), np.where(bounded, middle + half, np.nan), g)


def delta_se(m: Moments) -> Floats:
    """Standard error of r = x / y by the paired delta method, (...); NaN where it can't be known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = m.x / m.y
        return np.sqrt(np.maximum(m.s_xx - 2 * r * m.s_xy + r**2 * m.s_yy, 0.0)) / np.abs(m.y)


def t_quantile(df: Ints, level: float = LEVEL) -> Floats:
    """Two-sided quantile of Student's t with df degrees of freedom, (...); NaN where df is below 1."""
    from scipy.special import stdtrit

    quantile = stdtrit(np.maximum(df, 1).astype(np.float64), (1 + level) / 2)
    return np.where(df >= 1, quantile, np.nan)


def _same_seeds(seen: Bools) -> Bools:
    """Whether A, B and C have the same seeds, (...): then their sample covariance needs no repair."""
    return np.asarray((seen == seen[..., :1, :]).all(axis=(-2, -1)))
