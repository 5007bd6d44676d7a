"""Which cells are more than noise: tests of every gain, with no ratio, so that no weak self-gain stands in the way.

Two questions a cell. Does the donor help or hurt: A - B against 0. Is it better or worse than as much of the target's
own data: A - C against 0. Both by a moderated t: the seeds of one cell know little of their own variance, so it is
drawn towards the variances of all cells, by as much as the matrix itself says that they agree (limma's empirical
Bayes). Benjamini-Hochberg over the cells. Cells of every status are tested, if they have two seeds.

A cell's target, not the matrix, decides what r means; this is why a negative self-gain flips no sign here.

Shapes: L languages, S seeds; NaN marks what can't be known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from analysis.scores import Scores
from analysis.structure import adjusted
from analysis.uncertainty import BASE, CROSS, LEVEL, Bools, Floats, Ints, Moments, moments

SMALLEST = 1e-5  # of the median: variances below are raised to it before their logarithm, as limma does
NEWTON_STEPS = 50


class Call(StrEnum):
    """What a test says of a cell."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNDECIDED = "undecided"
    UNTESTED = "untested"  # fewer than two seeds, or a score missing


@dataclass(frozen=True)
class Prior:
    """What all cells together say of one cell's variance: `s2 ~ variance * d0 / chi^2_d0`.

    Attributes:
        df: d0; infinite if the variances differ no more than chance, 0 if nothing is known.
        variance: of one score.
    """

    df: float
    variance: float


@dataclass(frozen=True, eq=False)
class GainTest:
    """One test of every cell.

    Attributes:
        difference: (L, L) what is tested against 0; diagonal as `cell_tests` says.
        se: (L, L) moderated standard error.
        df: (L, L) degrees of freedom of t, infinite where the variance is as good as known.
        p: (L, L) two-sided; NaN where the cell is not tested.
        p_upper: (L, L) one-sided, small if the difference is above 0.
        q: (L, L) Benjamini-Hochberg over the off-diagonal cells; NaN on the diagonal.
        call: (L, L) `Call` at q <= 0.05; `untested` on the diagonal.
        prior: what the variances were drawn towards.
    """

    difference: Floats
    se: Floats
    df: Floats
    p: Floats
    p_upper: Floats
    q: Floats
    call: NDArray[np.str_]
    prior: Prior

    def count(self, call: Call) -> int:
        """Number of off-diagonal cells with this call."""
        return int((self.call == call)[~np.eye(len(self.call), dtype=bool)].sum())


@dataclass(frozen=True, eq=False)
class CellTests:
    """Both questions.

    Attributes:
        gain: A - B, does the donor help; on the diagonal C - B, the self-gain.
        own: A - C, against as much of the target's own data; nothing on the diagonal.
    """

    gain: GainTest
    own: GainTest


def cell_tests(scores: Scores) -> CellTests:
    """Both tests of every cell of a matrix."""
    diagonal = np.eye(len(scores.languages), dtype=bool)
    own = np.broadcast_to(scores.self_[:, None, :], scores.cross.shape)
    base = np.broadcast_to(scores.base[:, None, :], scores.cross.shape)
    cross = np.where(diagonal[..., None], own, scores.cross)
    return CellTests(
        gain=gain_test(moments(cross, base, base)),
        own=gain_test(moments(scores.cross, own, own)),
    )


def gain_test(m: Moments) -> GainTest:
    """The moderated t of x = A - B.

    Args:
        m: (L, L) moments; only what concerns A and B is used. The diagonal is tested, but is no evidence about the
            variance and no member of the family of tests.
    """
    from scipy.special import stdtr

    off = ~np.eye(len(m.x), dtype=bool)
    counts = m.count[..., (CROSS, BASE)]
    df: Ints = np.maximum(counts.min(axis=-1) - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = 1 / (1 / counts[..., 0] + 1 / counts[..., 1])
    sample = np.where(df > 0, effective * m.s_xx, np.nan)
    prior = fit_prior(sample[off], df[off])
    variance, total = moderated(sample, df, prior, pooled_df(df * off))
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(variance / effective)
        t = np.where(m.x == 0, 0.0, m.x / se)
    known = np.isfinite(sample) & np.isfinite(m.x)
    p = np.where(known, np.minimum(2 * stdtr(total, -np.abs(t)), 1.0), np.nan)
    q = adjusted(np.where(off, p, np.nan))
    return GainTest(
        difference=np.where(known, m.x, np.nan), se=np.where(known, se, np.nan), df=np.where(known, total, np.nan),
        p=p, p_upper=np.where(known, stdtr(total, -t), np.nan), q=q, call=calls(m.x, q), prior=prior,
    )  # fmt: skip


def fit_prior(variance: Floats, df: Ints) -> Prior:
    """The scaled F distribution of sample variances, by the moments of their logarithms.

    Args:
        variance: (K,) sample variances; NaN where there is none.
        df: (K,) their degrees of freedom.

    Source: Smyth 2004, "Linear models and empirical Bayes methods", section 6.2; limma's `fitFDist`.
    """
    from scipy.special import digamma, polygamma

    known = np.isfinite(variance) & (df > 0)
    s2, half = variance[known], df[known] / 2
    if not s2.size or not s2.any():
        return Prior(0.0, 0.0)
    s2 = np.maximum(s2, SMALLEST * (float(np.median(s2)) or float(s2.max())))
    e = np.log(s2) - digamma(half) + np.log(half)
    mean = float(e.mean())
    beyond_chance = float(e.var(ddof=1) - polygamma(1, half).mean()) if e.size > 1 else 0.0
    if e.size == 1:
        return Prior(0.0, 0.0)
    if beyond_chance <= 0:
        return Prior(np.inf, float(np.exp(mean)))
    d0 = 2 * trigamma_inverse(beyond_chance)
    return Prior(d0, float(np.exp(mean + digamma(d0 / 2) - np.log(d0 / 2))))


def moderated(sample: Floats, df: Ints, prior: Prior, most: float) -> tuple[Floats, Floats]:
    """Variances drawn towards the prior, and their degrees of freedom.

    Args:
        sample: (...) sample variances.
        df: (...) their degrees of freedom.
        prior: where they are drawn to.
        most: degrees of freedom that there are at all.

    Source: Smyth 2004, equation 6; limma's `squeezeVar` and `eBayes`.
    """
    if np.isinf(prior.df):
        variance = np.where(np.isfinite(sample), prior.variance, np.nan)
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = (prior.df * prior.variance + df * sample) / (prior.df + df)
    return variance, np.minimum(np.maximum(df + prior.df, 1.0), max(most, 1.0))


def pooled_df(df: Ints) -> float:
    """Degrees of freedom of a variance pooled over the matrix, from those of its cells, (L, L).

    Cells of a row share their base, so a row counts once, with its largest df: fewer than limma's sum over all cells,
    which takes them for independent.
    """
    return float(df.max(axis=-1, initial=0).sum())


def trigamma_inverse(value: float) -> float:
    """The y at which trigamma(y) is the value, which is above 0.

    Source: Smyth 2004, appendix: Newton's method on 1 / trigamma, which converges from every start.
    """
    from scipy.special import polygamma

    if value > 1e7:
        return float(1 / np.sqrt(value))
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(NEWTON_STEPS):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y


def calls(difference: Floats, q: Floats) -> NDArray[np.str_]:
    """The `Call` of every cell, (...), at a false discovery rate of 5 %."""
    rejected: Bools = q <= 1 - LEVEL
    conditions = [np.isnan(q), rejected & (difference > 0), rejected & (difference < 0)]
    names = [Call.UNTESTED.value, Call.POSITIVE.value, Call.NEGATIVE.value]
    return np.select(conditions, names, default=Call.UNDECIDED.value)


def cell_columns(tests: CellTests) -> Mapping[str, Floats | NDArray[np.str_]]:
    """The tests as columns of `cells.parquet`: (L, L) each."""
    gain, own = tests.gain, tests.own
    return {
        "p_gain": gain.p, "q_gain": gain.q, "class": gain.call,
        "self_difference": own.difference, "self_difference_se": own.se,
        "p_self": own.p, "q_self": own.q, "class_self": own.call,
    }  # fmt: skip


def share_bounds(p_true: Floats, p_false: Floats) -> tuple[float, float] | None:
    """95 % interval of the share of cells of which something is true, by closed testing of all cells together.

    At least so many are true, and at least so many are not: each bound at half the error. The interval says what the
    tests can prove and no more, so it is wide where little is known; it needs no model of how the cells spread.

    Args:
        p_true: (K,) one-sided p-values, small where it is true.
        p_false: (K,) small where it is not.

    Returns:
        The bounds; None without a cell, or with one that is not tested.
    """
    if not p_true.size or not (np.isfinite(p_true).all() and np.isfinite(p_false).all()):
        return None
    error = (1 - LEVEL) / 2
    lower, upper = true_discoveries(p_true, error), p_true.size - true_discoveries(p_false, error)
    return lower / p_true.size, upper / p_true.size


def true_discoveries(p: Floats, error: float) -> int:
    """Lower bound of the number of false null hypotheses, at this error, by closed testing with Simes tests.

    It is K - h, with h the largest number of p-values, the largest ones, that Simes' test does not reject together.
    Sets of fewer of them are not rejected either, so h is found by bisection.

    Args:
        p: (K,) p-values.
        error: in (0, 1).

    Valid under the dependence for which Simes' inequality holds, as for Benjamini-Hochberg.

    Source: Goeman and Solari 2011, "Multiple testing for exploratory research"; for h Meijer, Krebs and Goeman 2019,
    "Hommel's procedure in linear time".
    """
    ordered, size = np.sort(p), p.size

    def rejected(count: int) -> bool:
        return bool((count * ordered[size - count :] <= np.arange(1, count + 1) * error).any())

    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if rejected(middle) else (middle, high)
    return size - low
