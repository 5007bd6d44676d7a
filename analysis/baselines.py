"""What an aggregate is to be held against: chance, the ceiling that noise leaves, other languages.

Chance is what families drawn by lot would give; the ceiling is what two halves of the seeds say of the same row; other
languages are the same ones drawn again. Not covered: noise floors and intervals over seeds (`analysis.resampling`).

Shapes: L languages.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.families import groups
from analysis.matrix import CLTM, Status
from analysis.replicates import replicates
from analysis.structure import spearman_brown
from analysis.uncertainty import Bools, Floats, Ints, Moments, t_quantile

PERMUTATIONS = 1999
FEWEST_COMMON = 3  # donors that two rows must share for a correlation
FEWEST_LANGUAGES = 40  # for intervals over languages: simulations show no coverage below
WIDENED = 1.2  # simulated at 40 languages, a plain bootstrap covers 87 to 98 %, this one 92 % or more


@dataclass(frozen=True)
class FamilyTest:
    """The positive mass inside families, held against families drawn by lot.

    Attributes:
        observed: share of the positive off-diagonal mass.
        chance: its mean over permutations of the labels among the languages.
        p: share of permutations with as large a share, the observed one counted in.
    """

    observed: float
    chance: float
    p: float


def family_test(cltm: CLTM, permutations: int = PERMUTATIONS, seed: int = 0) -> FamilyTest | None:
    """Permutes family labels among languages; None without a family of two languages or without positive mass."""
    group = np.array(groups(cltm.families))
    mass = np.where(cltm.used, np.maximum(cltm.r, 0.0), 0.0)
    total = float(mass.sum())
    member = np.eye(cltm.n)[group]
    member = member[:, member.sum(axis=0) > 1]
    if not member.size or total == 0:
        return None

    def inside(order: Ints) -> float:
        return float(((mass @ member[order]) * member[order]).sum()) / total

    rng = np.random.default_rng(seed)
    drawn = np.array([inside(rng.permutation(cltm.n)) for _ in range(permutations)])
    observed = inside(np.arange(cltm.n))
    as_large = int((drawn >= observed - 1e-12).sum())  # rounding must not turn a tie into a difference
    return FamilyTest(observed, float(drawn.mean()), (as_large + 1) / (permutations + 1))


def row_correlation(cltm: CLTM) -> float | None:
    """Average correlation of two targets' rows over the donors that are neither: cosines of centred rows.

    A raw cosine near 1 says only that all cells have the same sign; this asks whether targets agree on which donors
    are better than others.
    """
    lines = np.where(cltm.used, cltm.r, np.nan)
    found = _correlations(lines, lines, symmetric=True)
    known = np.isfinite(found) & cltm.off_diagonal
    return float(found[known].mean()) if known.any() else None


def row_cosine_ceiling(cltm: CLTM) -> float | None:
    """Reliability of a row's cosine: of the same row from two halves of the seeds, stepped up to all seeds."""
    return _ceiling(cltm, _same_row_cosine)


def row_correlation_ceiling(cltm: CLTM) -> float | None:
    """Reliability of a row's profile: its correlation from two halves of the seeds, stepped up to all seeds."""
    return _ceiling(cltm, _same_row_correlation)


def language_interval(
    cltm: CLTM, statistic: Callable[[CLTM], float | int | None], draws: int, seed: int = 0
) -> tuple[float, float] | None:
    """What other languages of the same kind would give: an interval from drawing languages with replacement.

    Cells between two copies of one language are no cells and stay empty. The interval is the bootstrap's standard
    error times `WIDENED` and Student's quantile at n - 1 degrees of freedom.

    Args:
        cltm: the matrix.
        statistic: of a matrix.
        draws: bootstrap samples.
        seed: of the draws, the same for every statistic.

    Returns:
        The interval; None below `FEWEST_LANGUAGES`, or where the statistic can't be known.

    Source: Snijders and Borgatti 1999, "Non-parametric standard errors and tests for network statistics".
    """
    value = statistic(cltm)
    if value is None or cltm.n < FEWEST_LANGUAGES:
        return None
    rng = np.random.default_rng(seed)
    drawn = [statistic(take(cltm, rng.integers(cltm.n, size=cltm.n))) for _ in range(draws)]
    known = [one for one in drawn if one is not None]
    if len(known) < 2:
        return None
    half = float(t_quantile(np.array(cltm.n - 1)) * WIDENED * np.std(known, ddof=1))
    return value - half, value + half


def take(cltm: CLTM, chosen: Ints) -> CLTM:
    """The matrix of some of its languages; cells of a language with itself are missing.

    Args:
        cltm: L languages.
        chosen: (K,) positions of languages, in the order wanted; one may be there twice.
    """
    square = np.ix_(chosen, chosen)
    copies: Bools = (chosen[:, None] == chosen[None, :]) & ~np.eye(len(chosen), dtype=bool)
    m = cltm.moments
    return replace(
        cltm,
        languages=tuple(cltm.languages[i] for i in chosen),
        families=tuple(cltm.families[i] or f"unknown {i}" for i in chosen) if any(cltm.families) else cltm.families,
        r=cltm.r[square], se=cltm.se[square], lower=cltm.lower[square], upper=cltm.upper[square], g=cltm.g[square],
        status=np.where(copies, Status.MISSING.value, cltm.status[square]),
        moments=Moments(**{name: values[square] for name, values in vars(m).items()}),
        scores=None,
    )  # fmt: skip


def _ceiling(cltm: CLTM, same_row: Callable[[Floats, Floats], Floats]) -> float | None:
    """Mean over rows and splits, stepped up; None without enough seeds."""
    seeds = replicates(cltm.scores, cltm.values, draws=0) if cltm.scores is not None else None
    if seeds is None:
        return None
    one, other = (np.where(cltm.used, half, np.nan) for half in seeds.halves)
    found = np.array([same_row(a, b) for a, b in zip(one, other, strict=True)])
    known = found[np.isfinite(found)]
    return spearman_brown(float(known.mean())) if known.size else None


def _same_row_cosine(one: Floats, other: Floats) -> Floats:
    """(L,) cosine of each row with itself, the diagonal's 1 in."""
    both = np.isfinite(one) & np.isfinite(other)
    a, b = (np.where(both, values, 0.0) for values in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = ((a * b).sum(axis=1) + 1) / np.sqrt(((a**2).sum(axis=1) + 1) * ((b**2).sum(axis=1) + 1))
    return np.where(both.any(axis=1), cosine, np.nan)


def _same_row_correlation(one: Floats, other: Floats) -> Floats:
    """(L,) correlation of each row with itself."""
    return np.diag(_correlations(one, other, symmetric=False))


def _correlations(one: Floats, other: Floats, *, symmetric: bool) -> Floats:
    """(L, L) Pearson's correlation of every row of one with every row of the other, over the columns known in both.

    NaN with fewer than `FEWEST_COMMON` columns or without variance. `symmetric` promises that both are the same.
    """
    seen_a = np.isfinite(one).astype(np.float64)
    seen_b = seen_a if symmetric else np.isfinite(other).astype(np.float64)
    # Centring by the row's own mean first keeps the products small against their differences.
    a, b = (_centred(values) for values in (one, other))
    count = seen_a @ seen_b.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b = (a @ seen_b.T) / count, (seen_a @ b.T) / count
        covariance = (a @ b.T) / count - mean_a * mean_b
        variance_a = (a**2 @ seen_b.T) / count - mean_a**2
        variance_b = (seen_a @ b.T**2) / count - mean_b**2
        varied = (count >= FEWEST_COMMON) & (np.minimum(variance_a, variance_b) > 1e-24)
        return np.where(varied, covariance / np.sqrt(variance_a * variance_b), np.nan)


def _centred(values: Floats) -> Floats:
    """Rows less their mean, 0 where nothing is known."""
    seen = np.isfinite(values)
    mean = np.where(seen, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return np.where(seen, values - mean, 0.0)
