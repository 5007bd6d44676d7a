"""What a whole matrix says: the aggregates of the CLTM paper, and strengths a language.

Each is a function of a `CLTM` and a line in `AGGREGATES`; it returns None where it can't be known. These are what the
profile "paper" shows; a statistic of your own goes into `FURTHER` of `analysis.summary`.

Cells that are kept out (`CLTM.used`: undefined, negative self-gain, missing) are treated by one rule, fixed before any
score is there: a mean over cells is taken over the cells used, and the diagonal keeps the weight that it has in a full
matrix. On a full matrix every formula is the paper's own. A statistic that needs every cell (principal components,
spectral radius, condition number) is None when one is kept out.

Not covered: intervals and noise floors of the aggregates (`analysis.summary`). Without them, a number alone does
not say whether a matrix differs from an agnostic one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from analysis.beside import Beside
from analysis.matrix import CLTM, Status
from analysis.uncertainty import Bools, Floats

PCA_SHARE = 0.8  # of the variance, that the components counted must explain


@dataclass(frozen=True)
class Aggregate:
    """One statistic of a whole matrix.

    Attributes:
        key: its name in `summary.json`.
        of: computes it.
        title: what people call it.
        meaning: one sentence.
        percent: it is a share, printed in percent.
    """

    key: str
    of: Callable[[CLTM], float | int | None]
    title: str
    meaning: str
    percent: bool = False


@dataclass(frozen=True)
class Value:
    """A computed aggregate, and what is known beside it (nothing where nobody asked)."""

    aggregate: Aggregate
    value: float | int | None
    beside: Beside = field(default_factory=Beside)


@dataclass(frozen=True)
class LanguageRow:
    """One language as a target and as a donor; None where it can't be known.

    Attributes:
        untouched: score of the model without training, where the grid asked for it.
        base: P(i), mean over seeds.
        incoming: row sum of the positive off-diagonal cells used.
        outgoing: column sum.
        entropy_in, entropy_out: of the row's or column's positive part, natural log, 0 to ln(n - 1).
        gini_in, gini_out: of the row's or column's positive part, 0 (even) to 1.
    """

    language: str
    family: str
    untouched: float | None
    base: float | None
    self_gain: float | None
    self_gain_se: float | None
    g: float | None
    self_gain_status: str
    seeds: int
    incoming: float | None
    outgoing: float | None
    entropy_in: float | None
    entropy_out: float | None
    gini_in: float | None
    gini_out: float | None


def summarise(cltm: CLTM) -> tuple[Value, ...]:
    """Every published aggregate of the matrix, in the order of `AGGREGATES`, with nothing beside it."""
    return tuple(Value(aggregate, aggregate.of(cltm)) for aggregate in AGGREGATES)


def rfd(cltm: CLTM) -> float | None:
    """norm_F(C - 1) / n, with 1 the all-ones matrix: distance from a language-agnostic matrix.

    With cells kept out: sqrt((n - 1)/n * mean over the cells used of (r - 1)^2), the same number on a full matrix.

    Source: CLTM paper (arXiv 2603.08231), relative Frobenius distance.
    """
    mean = _mean((cltm.r - 1) ** 2, cltm.used)
    return None if mean is None else float(np.sqrt((cltm.n - 1) / cltm.n * mean))


def relative_asymmetry(cltm: CLTM) -> float | None:
    """norm_F(C - C^T) / norm_F(C).

    With cells kept out: both norms over the pairs with both directions used, the diagonal with its full weight.
    """
    both = cltm.used & cltm.used.T
    difference, square = _mean((cltm.r - cltm.r.T) ** 2, both), _mean(cltm.r**2, both)
    if difference is None or square is None:
        return None
    return float(np.sqrt((cltm.n - 1) * difference / ((cltm.n - 1) * square + 1)))


def average_row_cosine(cltm: CLTM) -> float | None:
    """Mean over ordered pairs of rows of their cosine, diagonal included.

    With cells kept out: a pair's cosine is over the columns used in both rows; a pair with fewer than two has none.
    """
    there = cltm.used | ~cltm.off_diagonal
    values = np.where(there, cltm.r, 0.0)
    common = there.astype(np.float64) @ there.T.astype(np.float64)
    square = values**2
    norm = (square @ there.T.astype(np.float64)) * (there.astype(np.float64) @ square.T)
    pairs = (common >= 2) & cltm.off_diagonal & (norm > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (values @ values.T) / np.sqrt(norm)
    return _mean(cosine, pairs)


def prop_positive(cltm: CLTM) -> float | None:
    """Share of the off-diagonal cells used with r > 0."""
    return _mean(cltm.r > 0, cltm.used)


def prop_negative(cltm: CLTM) -> float | None:
    """Share of the off-diagonal cells used with r < 0."""
    return _mean(cltm.r < 0, cltm.used)


def prop_above_one(cltm: CLTM) -> float | None:
    """Share of the off-diagonal cells used with r > 1."""
    return _mean(cltm.r > 1, cltm.used)


def reciprocity_positive(cltm: CLTM) -> float | None:
    """Share of the unordered pairs with both directions used that have both above 0."""
    return _mean((cltm.r > 0) & (cltm.r.T > 0), cltm.used & cltm.used.T)


def intra_family_positive_mass(cltm: CLTM) -> float | None:
    """Positive off-diagonal mass inside families / all of it, over the cells used; None without a known family."""
    positive = np.where(cltm.used, np.maximum(cltm.r, 0.0), 0.0)
    return _share(cltm, positive)


def intra_family_positive_cells(cltm: CLTM) -> float | None:
    """Share of the positive off-diagonal cells used that lie inside families."""
    return _share(cltm, ((cltm.r > 0) & cltm.used).astype(np.float64))


def intra_family_positive_rate(cltm: CLTM) -> float | None:
    """Share of the cells used inside families with r > 0."""
    return _mean(cltm.r > 0, cltm.used & cltm.same_family) if any(cltm.families) else None


def intra_family_chance(cltm: CLTM) -> float | None:
    """Share of the off-diagonal cells used that lie inside families: what the two shares would be by chance."""
    return _share(cltm, cltm.used.astype(np.float64))


def rms(cltm: CLTM) -> float | None:
    """Root mean square of the off-diagonal cells used."""
    mean = _mean(cltm.r**2, cltm.used)
    return None if mean is None else float(np.sqrt(mean))


def median_se(cltm: CLTM) -> float | None:
    """Median standard error over the off-diagonal cells used of which it is known."""
    errors = cltm.se[cltm.used & np.isfinite(cltm.se)]
    return float(np.median(errors)) if errors.size else None


def mean_se(cltm: CLTM) -> float | None:
    """Mean standard error over the off-diagonal cells used of which it is known."""
    return _mean(cltm.se, cltm.used & np.isfinite(cltm.se))


def pca_components(cltm: CLTM) -> int | None:
    """Fewest principal components of the rows, column means removed, that explain 80 % of the variance."""
    if not _full(cltm):
        return None
    variance = np.linalg.svd(cltm.r - cltm.r.mean(axis=0), compute_uv=False) ** 2
    if variance.sum() == 0:
        return None
    return int(np.searchsorted(np.cumsum(variance) / variance.sum(), PCA_SHARE) + 1)


def spectral_radius(cltm: CLTM) -> float | None:
    """Largest absolute eigenvalue of C."""
    return float(np.abs(np.linalg.eigvals(cltm.r)).max()) if _full(cltm) else None


def condition_number(cltm: CLTM) -> float | None:
    """Largest singular value of C over the smallest; None for a singular matrix."""
    number = float(np.linalg.cond(cltm.r)) if _full(cltm) else np.inf
    return number if number < 1 / np.finfo(np.float64).eps else None


def undefined_cells(cltm: CLTM) -> int | None:
    """Off-diagonal cells whose target's self-gain can't be told from 0; None for a bare matrix."""
    return cltm.count(Status.UNDEFINED) if cltm.scores is not None else None


def negative_self_gain_cells(cltm: CLTM) -> int | None:
    """Off-diagonal cells whose target is hurt by more of its own data; None for a bare matrix."""
    return cltm.count(Status.NEGATIVE) if cltm.scores is not None else None


def undetermined_cells(cltm: CLTM) -> int | None:
    """Off-diagonal cells with too few seeds for an interval; None for a bare matrix."""
    return cltm.count(Status.UNDETERMINED) if cltm.scores is not None else None


def missing_cells(cltm: CLTM) -> int:
    """Off-diagonal cells that lack a score they need, or are empty in a bare matrix."""
    return cltm.count(Status.MISSING)


def used_cells(cltm: CLTM) -> int:
    """Off-diagonal cells that the aggregates use."""
    return int(cltm.used.sum())


def language_rows(cltm: CLTM, untouched: Mapping[str, float] = MappingProxyType({})) -> tuple[LanguageRow, ...]:
    """One row a language: what training adds, its self-gain, and what it takes and gives."""
    positive = np.where(cltm.used, np.maximum(cltm.r, 0.0), np.nan)
    base = cltm.moments.mean[..., 1].diagonal()
    rows = []
    for i, code in enumerate(cltm.languages):
        taken, given = (line[np.isfinite(line)] for line in (positive[i], positive[:, i]))
        rows.append(
            LanguageRow(
                language=code,
                family=cltm.families[i],
                untouched=untouched.get(code),
                base=known(base[i]),
                self_gain=known(cltm.self_gain[i]),
                self_gain_se=known(cltm.gain_se[i, i]),
                g=known(cltm.g[i, i]),
                self_gain_status=str(cltm.status[i, i]),
                seeds=int(cltm.moments.count[i, i].min()),
                incoming=_sum(taken),
                outgoing=_sum(given),
                entropy_in=entropy(taken),
                entropy_out=entropy(given),
                gini_in=gini(taken),
                gini_out=gini(given),
            )
        )
    return tuple(rows)


def entropy(mass: Floats) -> float | None:
    """Shannon entropy, natural log, of a line's positive mass (K,); None if there is none."""
    share = mass[mass > 0] / mass.sum() if mass.sum() > 0 else None
    return None if share is None else float(-(share * np.log(share)).sum()) + 0.0


def gini(mass: Floats) -> float | None:
    """Gini coefficient of a line's cells (K,), negative ones counted as 0; None if all are 0.

    Source: `sum_k (2k - K - 1) x_k / (K sum x)` over the sorted x_k.
    """
    if mass.sum() <= 0:
        return None
    size = mass.size
    return float(((2 * np.arange(1, size + 1) - size - 1) * np.sort(mass)).sum() / (size * mass.sum()))


def known(value: float) -> float | None:
    """The value as a plain number, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None


def _sum(mass: Floats) -> float | None:
    """Sum of a line, or None if none of its cells is used."""
    return float(mass.sum()) if mass.size else None


def _mean(values: Floats | Bools, where: Bools) -> float | None:
    """Mean over the cells chosen, or None if there is none."""
    return float(values[where].mean()) if where.any() else None


def _share(cltm: CLTM, mass: Floats) -> float | None:
    """Share of the mass that lies inside families; None without a known family or without mass."""
    total = float(mass.sum())
    return float(mass[cltm.same_family].sum() / total) if any(cltm.families) and total > 0 else None


def _full(cltm: CLTM) -> bool:
    """Whether every off-diagonal cell is used, and there is one."""
    return cltm.n > 1 and bool((cltm.used | ~cltm.off_diagonal).all())


AGGREGATES = (
    Aggregate("rfd", rfd, "RFD", "Distance from a matrix in which every language helps as much as the target's own."),
    Aggregate("relative_asymmetry", relative_asymmetry, "Relative asymmetry",
              "How much the two directions of a pair differ, relative to the size of the matrix."),
    Aggregate("average_row_cosine", average_row_cosine, "Average row cosine",
              "How alike the targets' rows are: 1 if all profit from the same donors."),
    Aggregate("prop_positive", prop_positive, "prop+", "Share of the cells in which the donor helps.", True),
    Aggregate("prop_negative", prop_negative, "prop-", "Share of the cells in which the donor hurts.", True),
    Aggregate("prop_above_one", prop_above_one, "prop>1",
              "Share of the cells in which the donor helps more than the target's own data.", True),
    Aggregate("reciprocity_positive", reciprocity_positive, "Reciprocity+",
              "Share of the pairs in which each language helps the other.", True),
    Aggregate("intra_family_positive_mass", intra_family_positive_mass, "Intra-family+ (mass)",
              "Share of all positive transfer that stays inside language families.", True),
    Aggregate("intra_family_positive_cells", intra_family_positive_cells, "Intra-family+ (cells)",
              "Share of the positive cells that lie inside families.", True),
    Aggregate("intra_family_positive_rate", intra_family_positive_rate, "Positive rate inside families",
              "Share of the cells inside families in which the donor helps.", True),
    Aggregate("intra_family_chance", intra_family_chance, "Intra-family chance level",
              "Share of all cells that lie inside families: the shares above, if family did not matter.", True),
    Aggregate("rms", rms, "RMS", "Root mean square of the off-diagonal cells."),
    Aggregate("median_se", median_se, "Median SE", "Median standard error of a cell over seeds."),
    Aggregate("mean_se", mean_se, "Mean SE", "Mean standard error of a cell over seeds."),
    Aggregate("pca_components", pca_components, "Components for 80 %",
              "Principal components of the rows that explain 80 % of their variance."),
    Aggregate("spectral_radius", spectral_radius, "Spectral radius", "Largest absolute eigenvalue of the matrix."),
    Aggregate("condition_number", condition_number, "Condition number",
              "Largest singular value over the smallest."),
    Aggregate("used_cells", used_cells, "Cells used", "Off-diagonal cells that the numbers above use."),
    Aggregate("undefined_cells", undefined_cells, "Undefined cells",
              "Cells kept out because the target's own gain can't be told from 0."),
    Aggregate("negative_self_gain_cells", negative_self_gain_cells, "Cells with negative self-gain",
              "Cells kept out because more of its own data hurts the target."),
    Aggregate("undetermined_cells", undetermined_cells, "Cells without interval",
              "Cells that are used, but have too few seeds for an interval."),
    Aggregate("missing_cells", missing_cells, "Missing cells", "Cells kept out because a score is not there."),
)  # fmt: skip
