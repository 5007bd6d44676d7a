"""The Cross-Lingual Transfer Matrix as a value: r, its uncertainty, and the status of every cell.

Rows are targets, columns are donors. `from_scores` makes it of scores over seeds, `from_values` of a bare matrix that
somebody published. Which cells the aggregates may use is decided here, in `CLTM.used`, and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.families import groups
from analysis.scores import Scores
from analysis.uncertainty import BASE, Bools, Floats, Ints, Moments, delta_se, fieller, moments, t_quantile


class Status(StrEnum):
    """What is known of a cell. `from_scores` decides in this order: missing, undefined, negative, undetermined."""

    DEFINED = "defined"  # g < 1 and a positive mean self-gain: r has a bounded interval
    UNDEFINED = "undefined"  # the target's self-gain can't be told from 0 (g >= 1; with one seed: it is not above 0)
    NEGATIVE = "negative_self_gain"  # g < 1 and the mean self-gain is below 0: r would flip every sign
    UNDETERMINED = "undetermined"  # fewer than two seeds: r is known, its interval can't be
    GIVEN = "given"  # a number read from a bare matrix; nothing is known of its uncertainty
    MISSING = "missing"  # a score that it needs is not there


USED = (Status.DEFINED, Status.UNDETERMINED, Status.GIVEN)


@dataclass(frozen=True, eq=False)
class CLTM:
    """A transfer matrix of L languages. NaN is "not known" in every array.

    Attributes:
        languages: L codes.
        families: L labels, "" if unknown.
        metric: what was measured, "" if unknown.
        r: (L, L) ratio of mean gains, 1 on the diagonal by definition, whatever the cell's status.
        se: (L, L) standard error of r (paired delta method), 0 on the diagonal.
        lower: (L, L) lower bound of Fieller's interval.
        upper: (L, L) upper bound.
        g: (L, L) see `uncertainty.Interval`.
        status: (L, L) `Status`; on the diagonal that of the target's own self-gain.
        moments: (L, L, ...) gains and their variances. On the diagonal A is C, so x there is the self-gain.
        scores: what it was made of; None for a bare matrix.
    """

    languages: tuple[str, ...]
    families: tuple[str, ...]
    metric: str
    r: Floats
    se: Floats
    lower: Floats
    upper: Floats
    g: Floats
    status: NDArray[np.str_]
    moments: Moments
    scores: Scores | None = None

    @property
    def n(self) -> int:
        """Number of languages."""
        return len(self.languages)

    @property
    def off_diagonal(self) -> Bools:
        """(L, L) the cells of two languages."""
        return ~np.eye(self.n, dtype=bool)

    @cached_property
    def used(self) -> Bools:
        """(L, L) the off-diagonal cells that aggregates use: defined, given, or undetermined for want of seeds."""
        used: Bools = np.isin(self.status, USED) & self.off_diagonal
        return used

    @cached_property
    def values(self) -> Floats:
        """(L, L) r where it is used, 1 on the diagonal, NaN elsewhere."""
        return np.where(self.used | ~self.off_diagonal, self.r, np.nan)

    @cached_property
    def same_family(self) -> Bools:
        """(L, L) off-diagonal cells inside a family; two languages of unknown family are in different ones."""
        group = np.array(groups(self.families))
        same: Bools = group[:, None] == group[None, :]
        return same & self.off_diagonal

    @property
    def self_gain(self) -> Floats:
        """(L,) D_i, mean over seeds."""
        return np.diag(self.moments.x)

    @property
    def gain_se(self) -> Floats:
        """(L, L) standard error of the gain D_ij; of the self-gain D_i on the diagonal."""
        return np.sqrt(self.moments.s_xx)

    @property
    def relative_gain(self) -> Floats:
        """(L, L) M_ij = D_ij / P(i); on the diagonal D_i / P(i). NaN unless P(i) > 0."""
        base = self.moments.mean[..., BASE]
        return self.moments.x / np.where(base > 0, base, np.nan)

    def count(self, status: Status) -> int:
        """Number of off-diagonal cells with this status."""
        return int(((self.status == status) & self.off_diagonal).sum())


def from_scores(scores: Scores, families: Sequence[str]) -> CLTM:
    """The matrix of scores over seeds: ratio of means, Fieller's intervals, delta-method errors."""
    n = len(scores.languages)
    diagonal = np.eye(n, dtype=bool)
    cross = np.where(diagonal[..., None], scores.self_[:, None, :], scores.cross)
    m = moments(cross, scores.base[:, None, :], scores.self_[:, None, :])
    interval = fieller(m)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(m.y == 0, np.nan, m.x / m.y)
    known = np.isfinite(interval.lower) & ~diagonal
    return CLTM(
        languages=scores.languages,
        families=tuple(families),
        metric=scores.metric,
        r=np.where(diagonal, 1.0, ratio),
        se=np.where(diagonal, 0.0, np.where(m.y == 0, np.nan, delta_se(m))),
        lower=np.where(diagonal, 1.0, np.where(known, interval.lower, np.nan)),
        upper=np.where(diagonal, 1.0, np.where(known, interval.upper, np.nan)),
        g=interval.g,
        status=_status(m, interval.g),
        moments=m,
        scores=scores,
    )


def from_values(languages: Sequence[str], values: Floats, families: Sequence[str], metric: str = "") -> CLTM:
    """The matrix of somebody's numbers, (L, L): every finite cell is `given`, every other one missing."""
    n = len(languages)
    unknown = np.full((n, n), np.nan)
    status = np.where(np.isfinite(values), Status.GIVEN.value, Status.MISSING.value)
    return CLTM(
        languages=tuple(languages), families=tuple(families), metric=metric, r=values, se=unknown, lower=unknown,
        upper=unknown, g=unknown, status=status, moments=_unknown_moments(n),
    )  # fmt: skip


def _status(m: Moments, g: Floats) -> NDArray[np.str_]:
    """The status of every cell; see `Status` for the rule.

    A cell with one seed of A, but with several of B and C, takes g from its row: in doubt is the row's own gain.
    """
    row_g = np.broadcast_to(np.diag(g)[:, None], g.shape)
    g = np.where(np.isnan(g), row_g, g)
    no_interval = m.df < 1
    choices = [
        (np.isnan(m.x) | np.isnan(m.y), Status.MISSING),
        ((g >= 1) | (np.isnan(g) & (m.y <= 0)), Status.UNDEFINED),
        (m.y < 0, Status.NEGATIVE),
        (no_interval, Status.UNDETERMINED),
    ]
    conditions, names = [c for c, _ in choices], [str(s.value) for _, s in choices]
    return np.select(conditions, names, default=Status.DEFINED.value)


def _unknown_moments(n: int) -> Moments:
    """Moments of a matrix of which only r is known."""
    nan = np.full((n, n), np.nan)
    none: Ints = np.zeros((n, n), dtype=np.int64)
    return Moments(
        mean=np.full((n, n, 3), np.nan), count=np.zeros((n, n, 3), dtype=np.int64), x=nan, y=nan, s_xx=nan, s_yy=nan,
        s_xy=nan, df=none, clipped=np.zeros((n, n), dtype=bool),
    )  # fmt: skip


def gain_interval(m: Moments) -> tuple[Floats, Floats]:
    """Student's interval of the gain x, (L, L) each; NaN with fewer than two seeds."""
    half = t_quantile(m.df) * np.sqrt(m.s_xx)
    return m.x - half, m.x + half
