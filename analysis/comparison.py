"""Two matrices over the same languages: do they agree on what target and donor don't explain, and where do they differ?

The correlation of residuals is bounded by noise, so its ceiling, from halves of the seeds, stands beside it. Cells are
compared by Student's t of the difference (delta-method errors, Welch-Satterthwaite degrees of freedom), and
Benjamini-Hochberg. The two matrices' errors are taken as independent; matrices whose trials share seeds and data are
then compared cautiously. Statistics of whole matrices are noise-corrected by the jackknife over seeds before they are
subtracted, since plain ones differ where only the noise differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.diagnostics import summarise
from analysis.distances import PERMUTATIONS, free_orders, mantel, permutation_p
from analysis.matrix import CLTM, from_scores, from_values
from analysis.replicates import Replicates, pseudo_values, replicates
from analysis.scores import Provenance, RawMatrix, Scores
from analysis.structure import adjusted, complete_subset, correlation, decompose, structure
from analysis.uncertainty import LEVEL, Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class Side:
    """One of the matrices.

    Attributes:
        name: unique among those compared.
        languages: L codes.
        families: L labels, "" if unknown.
        metric: what was measured, "" if unknown.
        values: (L, L) cells that aggregates use; NaN elsewhere and on the diagonal.
        se: (L, L) standard errors, NaN where unknown.
        df: (L, L) degrees of freedom of the errors.
        cltm: the matrix itself; None for one without self-gain.
        raw: the matrix without self-gain, if it is one.
        provenance: files and hashes.
    """

    name: str
    languages: tuple[str, ...]
    families: tuple[str, ...]
    metric: str
    values: Floats
    se: Floats
    df: Ints
    cltm: CLTM | None
    raw: RawMatrix | None = None
    provenance: Provenance | None = None

    @property
    def scores(self) -> Scores | RawMatrix | None:
        """Scores or raw values over seeds, if there are any."""
        return self.raw if self.cltm is None else self.cltm.scores

    @property
    def seeds(self) -> Replicates | None:
        """The matrix from other sets of seeds; None without enough of them."""
        return None if self.scores is None else replicates(self.scores, self.values)


@dataclass(frozen=True)
class Cell:
    """One cell in two matrices; None where no error is known."""

    target: str
    donor: str
    one: float
    other: float
    difference: float
    se: float | None
    p: float | None
    p_adjusted: float | None

    @property
    def differs(self) -> bool:
        """Whether the difference is significant after the adjustment."""
        return self.p_adjusted is not None and self.p_adjusted < 1 - LEVEL


@dataclass(frozen=True)
class Row:
    """A statistic of two matrices side by side; None where it can't be known.

    Attributes:
        key, title: of the statistic.
        one, other: its values.
        difference: one - other.
        lower, upper: 95 % interval of the difference; None where none with known coverage exists.
        percent: printed in percent.
    """

    key: str
    title: str
    one: float | int | None
    other: float | int | None
    difference: float | None
    lower: float | None = None
    upper: float | None = None
    percent: bool = False


@dataclass(frozen=True, eq=False)
class Pair:
    """Two matrices compared.

    Attributes:
        one, other: their names.
        shared_cells: off-diagonal cells that both have.
        cell_correlation: of the cells as they are.
        residual_correlation: of the residuals, target and donor effects removed over the shared cells.
        p: of the residual correlation, two-sided, languages permuted in one matrix.
        reliability_one, reliability_other: of the residuals, from halves of the seeds; None without enough seeds.
        ceiling: root of their product, the correlation that noise alone would leave of a perfect one.
        beyond_noise: residual correlation over ceiling; None where the ceiling is unknown or not above 0.
        cells: shared cells, empty if the two are not in the same units.
        tested: cells with a p-value.
        plain: the aggregates of the main report, without interval.
        corrected: noise-corrected statistics with intervals of the difference.
        notes: what a reader must know.
    """

    one: str
    other: str
    shared_cells: int
    cell_correlation: float | None
    residual_correlation: float | None
    p: float | None
    reliability_one: float | None
    reliability_other: float | None
    ceiling: float | None
    beyond_noise: float | None
    cells: tuple[Cell, ...]
    tested: int
    plain: tuple[Row, ...]
    corrected: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Statistic:
    """A smooth statistic of whole matrices: (K, L, L) with NaN for holes and on the diagonal -> (K,)."""

    key: str
    title: str
    of: Callable[[Floats], Floats]
    needs_ratio: bool = False


def side(name: str, content: CLTM | RawMatrix, families: Sequence[str], provenance: Provenance | None = None) -> Side:
    """A matrix ready to be compared."""
    if isinstance(content, RawMatrix):
        off = ~np.eye(len(content.languages), dtype=bool)
        values, se = (np.where(off, array, np.nan) for array in (content.values, content.se))
        df: Ints = np.maximum(content.count - 1, 0)
        return Side(name, content.languages, tuple(families), content.metric, values, se, df, None, content, provenance)
    values = np.where(content.off_diagonal, content.values, np.nan)
    return Side(name, content.languages, content.families, content.metric, values, content.se, content.moments.df,
                content, None, provenance)  # fmt: skip


def restricted(one: Side, codes: Sequence[str]) -> Side:
    """The matrix of some of its languages, in the order given."""
    at = np.array([one.languages.index(code) for code in codes], dtype=np.int64)
    square = np.ix_(at, at)
    families = tuple(one.families[i] for i in at)
    if one.raw is not None:
        return side(one.name, replace(one.raw, languages=tuple(codes), by_seed=one.raw.by_seed[square]), families,
                    one.provenance)  # fmt: skip
    cltm = one.cltm
    if cltm is not None and cltm.scores is not None:
        s = cltm.scores
        part = replace(s, languages=tuple(codes), base=s.base[at], self_=s.self_[at], cross=s.cross[square])
        cltm = from_scores(part, families)
    elif cltm is not None:
        cltm = from_values(codes, cltm.r[square], families, cltm.metric)
    return replace(one, languages=tuple(codes), families=families, values=one.values[square], se=one.se[square],
                   df=one.df[square], cltm=cltm)  # fmt: skip


def compare(one: Side, other: Side, permutations: int = PERMUTATIONS) -> Pair:
    """Compares two matrices of the same languages in the same order."""
    assert one.languages == other.languages
    both = np.isfinite(one.values) & np.isfinite(other.values)
    a, b = (np.where(both, each.values, np.nan) for each in (one, other))
    residuals = decompose(a), decompose(b)
    known = residuals[0].free > 0
    found = correlation(residuals[0].residual, residuals[1].residual) if known else None
    reliable = tuple(_reliability(each, both) if known else None for each in (one, other))
    ceiling = _ceiling(*reliable)
    comparable = (one.cltm is None) == (other.cltm is None) and (one.cltm is not None or one.metric == other.metric)
    cells = _cells(one, other, both) if comparable else ()
    return Pair(
        one=one.name, other=other.name, shared_cells=int(both.sum()), cell_correlation=correlation(a, b),
        residual_correlation=found,
        p=None if found is None else _p(residuals[0].residual, residuals[1].residual, permutations),
        reliability_one=reliable[0], reliability_other=reliable[1], ceiling=ceiling,
        beyond_noise=found / ceiling if found is not None and ceiling else None,
        cells=cells, tested=sum(cell.p is not None for cell in cells),
        plain=_plain(one, other), corrected=_corrected(one, other, both) if comparable else (),
        notes=tuple(_notes(one, other, both, comparable)),
    )  # fmt: skip


def _reliability(each: Side, both: Bools) -> float | None:
    """Reliability of the residuals over the shared cells."""
    seeds = each.seeds
    if seeds is None:
        return None
    halves = np.where(both, seeds.halves, np.nan)
    return structure(np.where(both, each.values, np.nan), each.languages, replace(seeds, halves=halves)).reliability


def _ceiling(one: float | None, other: float | None) -> float | None:
    """Geometric mean of two reliabilities; None where one is unknown, 0 where one is not above 0."""
    if one is None or other is None:
        return None
    return float(np.sqrt(max(one, 0.0) * max(other, 0.0)))


def _p(one: Floats, other: Floats, permutations: int) -> float | None:
    """Permutation p of the correlation of two residual matrices over languages that have every cell in the second."""
    kept = complete_subset(other)
    if len(kept) < 3:
        return None
    square = np.ix_(kept, kept)
    first, second = decompose(one[square]), decompose(other[square])
    if not first.free or not second.free:
        return None
    orders = free_orders(len(kept), permutations, np.random.default_rng(0))
    return permutation_p(*mantel(first.residual, second.residual, orders))


def _cells(one: Side, other: Side, both: Bools) -> tuple[Cell, ...]:
    """Every shared cell with its difference; a p-value where both errors are known and not 0."""
    from scipy.special import stdtr

    difference = one.values - other.values
    square = one.se**2 + other.se**2
    tested = both & np.isfinite(square) & (square > 0) & (one.df > 0) & (other.df > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = square**2 / (one.se**4 / one.df + other.se**4 / other.df)
        p = np.where(tested, 2 * stdtr(np.where(tested, df, 1.0), -np.abs(difference) / np.sqrt(square)), np.nan)
    q, error = adjusted(p), np.sqrt(square)
    return tuple(
        Cell(one.languages[i], one.languages[j], float(one.values[i, j]), float(other.values[i, j]),
             float(difference[i, j]), _known(error[i, j]), _known(p[i, j]), _known(q[i, j]))
        for i, j in np.argwhere(both)
    )  # fmt: skip


def _plain(one: Side, other: Side) -> tuple[Row, ...]:
    """The aggregates of two normalised matrices."""
    if one.cltm is None or other.cltm is None:
        return ()
    rows = []
    for a, b in zip(summarise(one.cltm), summarise(other.cltm), strict=True):
        difference = None if a.value is None or b.value is None else float(a.value) - float(b.value)
        rows.append(Row(a.aggregate.key, a.aggregate.title, a.value, b.value, difference, percent=a.aggregate.percent))
    return tuple(rows)


def _corrected(one: Side, other: Side, both: Bools) -> tuple[Row, ...]:
    """Noise-corrected statistics over the shared cells, with intervals of the difference."""
    rows = []
    for statistic in STATISTICS:
        if statistic.needs_ratio and (one.cltm is None or other.cltm is None):
            continue
        (a, var_a, df_a), (b, var_b, df_b) = (_estimate(statistic, each, both) for each in (one, other))
        difference = None if a is None or b is None else a - b
        low, high = (None, None) if difference is None else _interval(difference, var_a, var_b, df_a, df_b)
        rows.append(Row(statistic.key, statistic.title, a, b, difference, low, high))
    return tuple(rows)


def _estimate(statistic: Statistic, each: Side, both: Bools) -> tuple[float | None, float, int]:
    """Mean of the jackknife pseudo-values, its variance, its degrees of freedom; None without enough seeds."""
    seeds = each.seeds
    if seeds is None or not both.any():
        return None, np.nan, 0
    full = float(statistic.of(np.where(both, each.values, np.nan)[None])[0])
    values = pseudo_values(full, statistic.of(np.where(both, seeds.left_out, np.nan)))
    if not np.isfinite(values).all():
        return None, np.nan, 0
    return float(values.mean()), float(values.var(ddof=1) / len(values)), len(values) - 1


def _interval(difference: float, var_a: float, var_b: float, df_a: int, df_b: int) -> tuple[float | None, float | None]:
    """Student's 95 % interval of a difference of independent estimates, Welch-Satterthwaite degrees of freedom."""
    from scipy.special import stdtrit

    variance = var_a + var_b
    if variance == 0:
        return difference, difference
    df = variance**2 / (var_a**2 / df_a + var_b**2 / df_b)
    half = float(stdtrit(df, (1 + LEVEL) / 2) * np.sqrt(variance))
    return difference - half, difference + half


def _notes(one: Side, other: Side, both: Bools, comparable: bool) -> list[str]:
    """What limits the comparison."""
    notes = []
    total = len(one.languages) * (len(one.languages) - 1)
    if both.sum() < total:
        notes.append(f"{total - int(both.sum())} of {total} cells are not in both matrices; no statistic of the pair "
                     "uses them, but the plain aggregates use every cell that their own matrix has.")  # fmt: skip
    for each in (one, other):
        if each.scores is None:
            notes.append(f"{each.name}: no scores over seeds, so no noise ceiling and no interval of a difference.")
        elif each.seeds is None:
            notes.append(
                f"{each.name}: too few seeds for a noise ceiling and for intervals of whole-matrix statistics."
            )
    if not comparable:
        notes.append("The two are not in the same units, so cells and statistics are not subtracted.")
    return notes


def _mean(values: Floats) -> Floats:
    """Mean over the cells of each matrix."""
    return np.asarray(np.nanmean(values, axis=(-2, -1)))


def _rfd_squared(values: Floats) -> Floats:
    """RFD squared; see `analysis.diagnostics.rfd`."""
    n = values.shape[-1]
    return np.asarray((n - 1) / n * np.nanmean((values - 1) ** 2, axis=(-2, -1)))


def _mean_square(values: Floats) -> Floats:
    """Mean square of the cells, the square of RMS."""
    return np.asarray(np.nanmean(values**2, axis=(-2, -1)))


def _asymmetry_squared(values: Floats) -> Floats:
    """Half the mean square of r_ij - r_ji: variance of a direction about its pair's mean."""
    pairs = values - np.swapaxes(values, -1, -2)
    return np.asarray(
        np.nanmean(pairs**2, axis=(-2, -1)) / 2 if np.isfinite(pairs).any() else np.full(len(values), np.nan)
    )


def _known(value: float) -> float | None:
    """A plain number, or None."""
    return float(value) if np.isfinite(value) else None


STATISTICS = (
    Statistic("mean", "Mean cell", _mean),
    Statistic("rfd_squared", "RFD\N{SUPERSCRIPT TWO}, noise-corrected", _rfd_squared, needs_ratio=True),
    Statistic("rms_squared", "RMS\N{SUPERSCRIPT TWO}, noise-corrected", _mean_square),
    Statistic("direction_variance", "Variance of the two directions, noise-corrected", _asymmetry_squared),
)
