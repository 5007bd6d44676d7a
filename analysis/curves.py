"""Learning curves: what doubling a block is worth, which N can carry a matrix, and curves through the points.

Pure functions of scores over sizes and seeds. Blocks are nested and seeds paired, so that P(2N) - P(N) of a seed is one
draw's gain. Shapes: L languages, K sizes, S seeds; NaN marks a score that is not there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.uncertainty import Floats, Ints, fieller, moments, t_quantile

USABLE_G = 0.25  # the ratio's denominator is then at least twice what it needs to be bounded
MIN_POINTS = 4  # for three parameters
LEAST_SPAN = 1e-9  # of the means; what is smaller is rounding
PAPER_GAIN, PAPER_SNR, PAPER_SLOPE = 0.05, 1.3, 0.05
PAPER_STEPS, PAPER_SIGMA, PAPER_IQR = 200, 5.0, 1.5  # points of its grid in log N, Gaussian in steps, outlier fence


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores of single languages over block sizes, higher is better.

    Attributes:
        languages: L codes.
        sizes: K samples of a block, ascending.
        seeds: S draws, ascending.
        metric: its name in the file.
        inverted: the values are 1 - e.
        values: (L, K, S).
    """

    languages: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    metric: str
    inverted: bool
    values: Floats


@dataclass(frozen=True, eq=False)
class Points:
    """Each curve's points over seeds, (L, K): mean, standard deviation, seeds, Student's 95 % interval of the mean."""

    mean: Floats
    sd: Floats
    count: Ints
    lower: Floats
    upper: Floats


@dataclass(frozen=True, eq=False)
class Doublings:
    """What doubling a block gains, for each of the J sizes N of which 2 N is there too.

    Attributes:
        sizes: J sizes N.
        gain: (L, J) d, the mean of P(2N) - P(N); NaN where it is not known.
        se: (L, J) standard error of d over paired seeds; NaN with fewer than two.
        g: (L, J) q^2 s_dd / d^2; NaN with fewer than two seeds.
        usable: (L, J) d > 0 and g <= `USABLE_G`.
        paper: (L, J) the published index; NaN where d or a standard deviation is not known.
    """

    sizes: tuple[int, ...]
    gain: Floats
    se: Floats
    g: Floats
    usable: "np.typing.NDArray[np.bool_]"
    paper: Floats


@dataclass(frozen=True)
class Choice:
    """An N for a matrix.

    Attributes:
        size: the N, or None if there is none.
        served: languages for which it is usable.
        failed: the others.
    """

    size: int | None
    served: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class PaperChoice:
    """The published rule's N.

    Attributes:
        size: the size nearest to the largest smoothed median, or None without any index.
        sizes: those with an index.
        medians: of the index over languages, one a size.
        outliers: sizes that the rule leaves out of the smoothing, because their median is far above the others'.
    """

    size: int | None
    sizes: tuple[int, ...]
    medians: tuple[float, ...]
    outliers: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """A curve of three parameters through a language's means.

    Attributes:
        kind: "power" (`a - b N^-c`) or "logistic" (`a / (1 + exp(-b (ln N - c)))`).
        parameters: a, b, c.
        errors: their standard errors; None where the points don't determine them.
        r2: share of the variance of the means that it explains.
        rmse: root mean square of what is left.
        at_bound: a parameter lies at the edge of what was allowed, so that the data don't determine the curve.
    """

    kind: str
    parameters: tuple[float, float, float]
    errors: tuple[float | None, float | None, float | None]
    r2: float
    rmse: float
    at_bound: bool

    def __call__(self, sizes: Floats) -> Floats:
        """The curve at sizes N, of any shape."""
        return SHAPES[self.kind](np.asarray(sizes, dtype=np.float64), *self.parameters)


def power(size: Floats, a: float, b: float, c: float) -> Floats:
    """`a - b N^-c` at sizes (K,): a is the ceiling, c how fast it is approached."""
    return np.asarray(a - b * size**-c)


def logistic(size: Floats, a: float, b: float, c: float) -> Floats:
    """`a / (1 + exp(-b (ln N - c)))` at sizes (K,): a is the ceiling, e^c the size at half of it."""
    return np.asarray(a / (1 + np.exp(-b * (np.log(size) - c))))


SHAPES: dict[str, Callable[[Floats, float, float, float], Floats]] = {"power": power, "logistic": logistic}


def points(curves: Curves) -> Points:
    """Means, deviations and intervals over the seeds that there are."""
    seen = np.isfinite(curves.values)
    count: Ints = seen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, curves.values, 0.0).sum(axis=-1) / count
        squares = np.where(seen, (curves.values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        sd = np.sqrt(squares / (count - 1))
        half = t_quantile(count - 1) * sd / np.sqrt(count)
    mean, sd = np.where(count > 0, mean, np.nan), np.where(count > 1, sd, np.nan)
    return Points(mean, sd, count, mean - half, mean + half)


def doublings(curves: Curves) -> Doublings:
    """What each doubling gains, and whether it can carry a ratio (method: section 4).

    Seeds that only one of P(N) and P(2N) has are used too, with the covariance that the shared ones give.
    """
    sizes = tuple(size for size in curves.sizes if 2 * size in curves.sizes)
    once = curves.values[:, [curves.sizes.index(size) for size in sizes]]
    twice = curves.values[:, [curves.sizes.index(2 * size) for size in sizes]]
    m = moments(twice, once, twice)
    g = fieller(m).g
    se = np.sqrt(m.s_yy)
    with np.errstate(invalid="ignore"):
        usable = (m.y > 0) & (g <= USABLE_G)
    p = points(curves)
    at, after = ([curves.sizes.index(factor * size) for size in sizes] for factor in (1, 2))
    paper = paper_index(p.mean[:, at], p.sd[:, at], p.mean[:, after], p.sd[:, after])
    return Doublings(sizes, m.y, se, g, usable, paper)


def paper_index(mean: Floats, sd: Floats, mean_twice: Floats, sd_twice: Floats) -> Floats:
    """The published index of [N, 2N], of any shape; 0 if d <= 0, at least 1 if N is to be good.

    `min(d / (0.05 P(N)), d / (1.3 sqrt(sd_N^2 + sd_2N^2)), (d / ln 2) / 0.05)` with d = P(2N) - P(N).

    Source: Pol-Buitrago/cltm-framework, scripts/interval/find_interval.py (commit 0bd7312), `calculate_ci_min`.
    """
    d = mean_twice - mean
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = d / (PAPER_GAIN * mean), d / (PAPER_SNR * np.sqrt(sd**2 + sd_twice**2)), d / np.log(2) / PAPER_SLOPE
        return np.where(d <= 0, 0.0, np.minimum(np.minimum(ratios[0], ratios[1]), ratios[2]))


def paper_choice(found: Doublings) -> PaperChoice:
    """The N with the largest smoothed median index.

    Medians beyond the third quartile + 1.5 interquartile ranges are left out; the others are interpolated at 200
    points of log N and smoothed by a Gaussian of 5 points. That rule has no error bars and no veto of a language.

    Source: as `paper_index`, its section 4.
    """
    from scipy.ndimage import gaussian_filter1d

    known = np.isfinite(found.paper).any(axis=0)
    if not known.any():
        return PaperChoice(None, (), (), ())
    sizes = np.array(found.sizes)[known]
    medians = np.nanmedian(found.paper[:, known], axis=0)
    low, high = np.quantile(medians, [0.25, 0.75])
    kept = medians <= high + PAPER_IQR * (high - low)
    place = np.log10(sizes[kept])
    steps = np.linspace(place.min(), place.max(), PAPER_STEPS)
    smooth = gaussian_filter1d(np.interp(steps, place, medians[kept]), sigma=PAPER_SIGMA)
    best = int(sizes[np.argmin(np.abs(sizes - 10 ** steps[np.argmax(smooth)]))])
    outliers = tuple(int(size) for size in sizes[~kept])
    return PaperChoice(best, tuple(int(size) for size in sizes), tuple(float(m) for m in medians), outliers)


def choose(languages: Sequence[str], found: Doublings) -> Choice:
    """The N that serves most languages; of several the smallest, which costs least."""
    served = found.usable.sum(axis=0)
    if not served.size or not served.max():
        return Choice(None, (), tuple(languages))
    best = int(np.argmax(served))
    by = dict(zip(languages, found.usable[:, best].tolist(), strict=True))
    return Choice(
        found.sizes[best], tuple(c for c, good in by.items() if good), tuple(c for c, good in by.items() if not good)
    )


def fit(kind: str, sizes: Sequence[int], mean: Floats, se: Floats) -> Fit | None:
    """Fits one language's curve by least squares, weighted by 1 / SE where every point has one.

    Args:
        kind: a name in `SHAPES`.
        sizes: K sizes.
        mean: (K,) means; NaN where there is none.
        se: (K,) standard errors of the means.

    Returns:
        The curve, or None with fewer than `MIN_POINTS` points, with no variance, or if none converges.

    Source: scipy.optimize.curve_fit, method "trf".
    """
    from scipy.optimize import curve_fit

    there = np.isfinite(mean)
    size, y, error = np.array(sizes, dtype=np.float64)[there], mean[there], se[there]
    span = float(np.ptp(y)) if y.size else 0.0
    if len(y) < MIN_POINTS or span < LEAST_SPAN:
        return None
    weights = error if bool((error > 0).all()) else None
    lower, upper, start = _bounds(kind, size, y, span)
    try:
        best, covariance = curve_fit(
            SHAPES[kind], size, y, p0=start, sigma=weights, bounds=(lower, upper), max_nfev=5000
        )
    except (RuntimeError, ValueError):
        return None
    left = y - SHAPES[kind](size, *best)
    errors = np.sqrt(np.diag(covariance))
    margin = 1e-6 * (upper - lower)
    return Fit(
        kind, _three(best), tuple(float(e) if np.isfinite(e) else None for e in errors),  # type: ignore[arg-type]
        r2=float(1 - (left**2).sum() / ((y - y.mean()) ** 2).sum()), rmse=float(np.sqrt((left**2).mean())),
        at_bound=bool(((best - lower < margin) | (upper - best < margin)).any()),
    )  # fmt: skip


def _bounds(kind: str, size: Floats, y: Floats, span: float) -> tuple[Floats, Floats, Floats]:
    """Lower and upper bounds and the start of a, b, c. The ceiling: from the best mean to 1, or ten spans up."""
    ceiling = max(1.0, float(y.max()) + 10 * span)
    if kind == "power":
        half = float(np.sqrt(size[0] * size[-1]))
        start = np.array([y.max() + 0.1 * span, span * half**0.5, 0.5])
        return np.array([y.min(), 0.0, 0.01]), np.array([ceiling, 1e3 * span * size[-1], 4.0]), start
    lower = np.array([max(float(y.max()), 1e-6) * 0.9, 0.0, np.log(size[0]) - 20.0])
    start = np.array([float(y.max()) + 0.1 * span, 0.5, np.log(size[0])])
    return lower, np.array([ceiling, 20.0, np.log(size[-1]) + 20.0]), np.clip(start, lower + 1e-9, None)


def _three(values: Floats) -> tuple[float, float, float]:
    """Three numbers."""
    a, b, c = (float(value) for value in values)
    return a, b, c
