"""What makes a cell large: its target, its donor, or the two together.

`r_ij = mu + target_i + donor_j + e_ij` over the off-diagonal cells, by least squares, holes and all. Works on any
(L, L) array, ratios or raw gains. Scores of donors and targets get intervals from leaving out one seed at a time, and
the ranks that the seeds can't rule out. Not covered: what the residual e goes with (`analysis.distances`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.replicates import Replicates, jackknife_se, t_half_width
from analysis.uncertainty import LEVEL, Bools, Floats, Ints

TINY = 1e-12  # of the total variance: what rounding leaves


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares decomposition; NaN where something can't be known.

    Attributes:
        mu: mean over targets and donors.
        target: (L,) effects with mean 0; NaN for a row without a cell.
        donor: (L,) likewise for columns.
        residual: (L, L) e, NaN where there is no cell.
        cells: number of cells.
        free: degrees of freedom of the residual.
    """

    mu: float
    target: Floats
    donor: Floats
    residual: Floats
    cells: int
    free: int


@dataclass(frozen=True)
class Part:
    """A share of the variance of the cells.

    Attributes:
        name: "target", "donor", "donor_beyond_target" or "residual".
        share: of the sum of squares about the mean; target, donor_beyond_target and residual add up to 1.
        noise: what the seeds' noise alone contributes, as a share of the same total; None without enough seeds.
    """

    name: str
    share: float
    noise: float | None


@dataclass(frozen=True)
class Score:
    """How much a language gives as a donor, or takes as a target; None where it can't be known.

    Attributes:
        effect: difference from the average language, in units of the matrix.
        se: standard error (delete-one-seed jackknife).
        lower, upper: Student's 95 % interval.
        rank: 1 is the largest effect.
        rank_low, rank_high: the ranks that the seeds can't rule out: beside those of languages that are significantly
            larger or smaller (every pair tested, Benjamini-Hochberg).
    """

    language: str
    effect: float | None
    se: float | None
    lower: float | None
    upper: float | None
    rank: int | None
    rank_low: int | None
    rank_high: int | None


@dataclass(frozen=True, eq=False)
class Structure:
    """The decomposition of a matrix and how sure it is.

    Attributes:
        fit: effects and residuals.
        parts: shares of variance; empty without a degree of freedom left or without variance.
        targets, donors: a score a language, in the order of the matrix.
        target_stability, donor_stability: Spearman correlation of the ranks from two halves of the seeds, mean over
            splits, stepped up to all seeds (Spearman-Brown); None without enough seeds or with fewer than 3 languages.
        reliability: the same of the residuals, with Pearson's correlation: the ceiling of any correlation with them.
    """

    fit: Fit
    parts: tuple[Part, ...]
    targets: tuple[Score, ...]
    donors: tuple[Score, ...]
    target_stability: float | None
    donor_stability: float | None
    reliability: float | None


def structure(values: Floats, languages: Sequence[str], seeds: Replicates | None = None) -> Structure:
    """Decomposes a matrix.

    Args:
        values: (L, L); the diagonal is not used, NaN is a hole.
        languages: L codes.
        seeds: the same matrix from other sets of seeds, for intervals.
    """
    fit = decompose(values)
    others = () if seeds is None else tuple(decompose(one) for one in seeds.left_out)
    split = () if seeds is None else tuple((decompose(a), decompose(b)) for a, b in zip(*seeds.halves, strict=True))
    return Structure(
        fit, _parts(values, fit, others),
        targets=_scores(languages, fit.target, np.array([one.target for one in others])),
        donors=_scores(languages, fit.donor, np.array([one.donor for one in others])),
        target_stability=_stability([(a.target, b.target) for a, b in split], ranks=True),
        donor_stability=_stability([(a.donor, b.donor) for a, b in split], ranks=True),
        reliability=_stability([(a.residual, b.residual) for a, b in split], ranks=False) if fit.free else None,
    )  # fmt: skip


def decompose(values: Floats) -> Fit:
    """Least squares of `r_ij = mu + target_i + donor_j + e_ij` over the finite off-diagonal cells.

    The donor effects solve the normal equations left when the rows are swept out. Where holes split the languages into
    groups that share no cell (always with two languages), effects can't be compared: they are NaN, residuals are not.

    Args:
        values: (L, L), NaN where there is no cell.
    """
    seen = np.isfinite(values) & ~np.eye(len(values), dtype=bool)
    cell = np.where(seen, values, 0.0)
    rows, columns = seen.sum(axis=1), seen.sum(axis=0)
    per_row = 1 / np.maximum(rows, 1)
    left = np.diag(columns.astype(np.float64)) - (seen * per_row[:, None]).T @ seen
    right = cell.sum(axis=0) - seen.T @ (per_row * cell.sum(axis=1))
    donor = np.linalg.pinv(left, rcond=1e-10, hermitian=True) @ right if seen.any() else np.zeros(len(values))
    target = per_row * (cell.sum(axis=1) - seen @ donor)
    residual = np.where(seen, values - target[:, None] - donor[None, :], np.nan)
    groups = _groups(seen)
    free = int(seen.sum() - (rows > 0).sum() - (columns > 0).sum() + groups)
    scale = 1.0 if groups == 1 else np.nan
    target, donor = np.where(rows > 0, scale * target, np.nan), np.where(columns > 0, scale * donor, np.nan)
    if groups != 1:
        return Fit(np.nan, target, donor, residual, int(seen.sum()), free)
    mean_target, mean_donor = float(np.nanmean(target)), float(np.nanmean(donor))
    return Fit(mean_target + mean_donor, target - mean_target, donor - mean_donor, residual, int(seen.sum()), free)


def similarity(residual: Floats, by: str = "both") -> Floats:
    """How alike languages are: the cosine of their residuals, (L, L), over the cells that both have.

    A row's or column's own level is no part of it, since the residual has none.

    Args:
        residual: (L, L) e, NaN where there is no cell.
        by: "targets" (rows: profit from the same donors), "donors" (columns: help the same targets), or "both".

    Returns:
        1 on the diagonal, NaN where two languages share fewer than two cells; NaN throughout if e is 0.
    """
    sides = {"targets": (residual,), "donors": (residual.T,), "both": (residual, residual.T)}[by]
    lines = np.concatenate(sides, axis=1)
    seen = np.isfinite(lines).astype(np.float64)
    e = np.where(seen > 0, lines, 0.0)
    size = np.nanmax(np.abs(lines), initial=0.0)
    norms = (e**2 @ seen.T) * (seen @ e.T**2)
    known = (seen @ seen.T >= 2) & (norms > (TINY * size**2) ** 2) & (size > TINY)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(known, (e @ e.T) / np.sqrt(norms), np.nan)
    np.fill_diagonal(cosine, 1.0)
    return np.clip(cosine, -1.0, 1.0)


def complete_subset(square: Floats) -> Ints:
    """Positions of languages that have every value among them; greedily, the one with the most holes goes first.

    Args:
        square: (L, L); the diagonal is not looked at.
    """
    hole = ~np.isfinite(square) & ~np.eye(len(square), dtype=bool)
    kept = np.arange(len(square))
    while hole.any():
        worst = int(np.argmax(hole.sum(axis=0) + hole.sum(axis=1)))
        kept = np.delete(kept, worst)
        hole = np.delete(np.delete(hole, worst, axis=0), worst, axis=1)
    return kept


def adjusted(p: Floats) -> Floats:
    """Benjamini-Hochberg adjusted p-values over the finite entries, (...) -> (...); NaN stays NaN."""
    from scipy.stats import false_discovery_control

    out, known = np.full(p.shape, np.nan), np.isfinite(p)
    if known.any():
        out[known] = false_discovery_control(np.clip(p[known], 0.0, 1.0))
    return out


def spearman_brown(correlation: float) -> float:
    """The reliability of a whole from the correlation of its two halves; below 0 it is left as it is."""
    return 2 * correlation / (1 + correlation) if correlation > 0 else correlation


def correlation(one: Floats, other: Floats) -> float | None:
    """Pearson's correlation over the entries (K,) finite in both; None with fewer than three or without variance."""
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 3:
        return None
    a, b = one[both] - one[both].mean(), other[both] - other[both].mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / norm, -1, 1)) if norm > TINY * max(float(np.abs(one[both]).max()), TINY) else None


def _groups(seen: Bools) -> int:
    """Number of groups of rows and columns joined by cells."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = len(seen)
    graph = np.zeros((2 * n, 2 * n), dtype=bool)
    graph[:n, n:] = seen
    count, _ = connected_components(csr_array(graph), directed=False)
    return int(count - (~seen.any(axis=1)).sum() - (~seen.any(axis=0)).sum())


def _parts(values: Floats, fit: Fit, others: tuple[Fit, ...]) -> tuple[Part, ...]:
    """Shares of the sum of squares, and of the jackknife variance of each part beside it."""
    seen = np.isfinite(fit.residual)
    if not fit.free or not seen.any():
        return ()
    total = float(((values[seen] - values[seen].mean()) ** 2).sum())
    if total <= TINY * float((values[seen] ** 2).sum()):
        return ()
    alone = [_explained(values, seen, axis) / total for axis in (1, 0)]
    residual = float(np.nansum(fit.residual**2)) / total
    shares = {
        "target": alone[0], "donor": alone[1], "donor_beyond_target": max(1 - residual - alone[0], 0.0),
        "residual": residual,
    }  # fmt: skip
    noise = _noise(seen, others, total)
    return tuple(Part(name, share, noise.get(name)) for name, share in shares.items())


def _explained(values: Floats, seen: Bools, axis: int) -> float:
    """Sum of squares of the row means (axis 1) or column means (axis 0) about the mean."""
    count = seen.sum(axis=axis)
    mean = np.where(seen, values, 0.0).sum(axis=axis) / np.maximum(count, 1)
    return float((count * (mean - values[seen].mean()) ** 2).sum())


def _noise(seen: Bools, others: tuple[Fit, ...], total: float) -> dict[str, float]:
    """Sum over cells of the jackknife variance of each fitted part, over the total sum of squares."""
    if not others:
        return {}
    target = jackknife_se(np.array([one.target for one in others])) ** 2
    donor = jackknife_se(np.array([one.donor for one in others])) ** 2
    residual = jackknife_se(np.array([one.residual for one in others])) ** 2
    sums = {
        "target": np.nansum(seen.sum(axis=1) * target), "donor": np.nansum(seen.sum(axis=0) * donor),
        "donor_beyond_target": np.nansum(seen.sum(axis=0) * donor), "residual": np.nansum(residual),
    }  # fmt: skip
    return {name: float(value) / total for name, value in sums.items()}


def _scores(languages: Sequence[str], effect: Floats, left_out: Floats) -> tuple[Score, ...]:
    """One score a language, with interval and ranks where there are replicates."""
    known = np.isfinite(effect)
    rank = np.where(known, 1 + (effect[None, :] > effect[:, None]).sum(axis=1), 0)
    if len(left_out):
        se = jackknife_se(left_out)
        half = t_half_width(se, len(left_out))
        low, high = _rank_bounds(effect, left_out)
    else:
        se = half = low = high = np.full(len(effect), np.nan)
    return tuple(
        Score(code, _float(effect[i]), _float(se[i]), _float(effect[i] - half[i]), _float(effect[i] + half[i]),
              int(rank[i]) if known[i] else None, _int(low[i]), _int(high[i]))
        for i, code in enumerate(languages)
    )  # fmt: skip


def _rank_bounds(effect: Floats, left_out: Floats) -> tuple[Floats, Floats]:
    """Lowest and highest rank of each language that its significant differences allow, (L,) each."""
    from scipy.special import stdtr

    count, n = len(left_out), len(effect)
    spread = left_out - left_out.mean(axis=0)
    cross = spread.T @ spread
    square = np.diag(cross)[:, None] + np.diag(cross)[None, :] - 2 * cross
    difference = effect[None, :] - effect[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(difference) / np.sqrt((count - 1) / count * np.maximum(square, 0.0))
    upper = np.triu(np.ones((n, n), dtype=bool), 1)
    p = np.where(upper & np.isfinite(difference), 2 * stdtr(count - 1, -np.where(np.isnan(t), 0.0, t)), np.nan)
    significant = adjusted(p) < 1 - LEVEL
    significant |= significant.T
    known = np.isfinite(effect) & np.isfinite(left_out).all(axis=0)
    low = 1.0 + (significant & (difference > 0)).sum(axis=1)
    high = float(np.isfinite(effect).sum()) - (significant & (difference < 0)).sum(axis=1)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _stability(pairs: Sequence[tuple[Floats, Floats]], ranks: bool) -> float | None:
    """Mean correlation of two halves over splits, stepped up to all seeds; of ranks or of values."""
    from scipy.stats import rankdata

    found = []
    for a, b in pairs:
        both = np.isfinite(a) & np.isfinite(b)
        one, other = (rankdata(a[both]), rankdata(b[both])) if ranks else (a[both], b[both])
        found.append(correlation(one, other))
    known = [value for value in found if value is not None]
    return spearman_brown(float(np.mean(known))) if known else None


def _float(value: float) -> float | None:
    """A plain number, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None


def _int(value: float) -> int | None:
    """A whole number, or None if it is not finite."""
    return int(value) if np.isfinite(value) else None
