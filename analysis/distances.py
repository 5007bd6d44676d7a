"""Does transfer go with a distance between languages? Mantel tests on what target and donor do not explain.

The residual e of `analysis.structure` is correlated with a distance over the off-diagonal cells; of the distance, too,
what rows and columns explain is taken out first, since e has none of it. Languages, not cells, are exchanged: rows and
columns of the matrix are permuted together. (The residuals of a permuted matrix are the permuted residuals, holes and
all, since every language of a test has every distance; a test shows it.) The strict version maps families onto
families: it keeps every same-family relation, so that what a family has in common can't pass for an effect of the
distance.

A language without a distance to the others is left out of that test and named. Not covered: partial tests of one
distance given another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from analysis.families import groups
from analysis.structure import TINY, Fit, adjusted, complete_subset, decompose
from analysis.uncertainty import Floats, Ints
from grids.errors import UserError
from grids.files import expanded
from grids.languages import Language, language
from grids.typology import Typology, great_circle_km, jaccard, typology

Row = TypeVar("Row", Language, Typology)

PERMUTATIONS = 999
NEEDED = 4  # languages
CHUNK_CELLS = 4_000_000  # of permuted matrices held at a time


@dataclass(frozen=True, eq=False)
class Distance:
    """A distance between languages.

    Attributes:
        name: "family", "geography", ...
        unit: of the values, "" for a share or a yes and no.
        source: where it is from.
        values: (L, L), NaN where it is not known; the diagonal is not used.
    """

    name: str
    unit: str
    source: str
    values: Floats


@dataclass(frozen=True)
class DistanceTest:
    """A Mantel test; None where it can't be known, with the reason.

    Attributes:
        name, source: of the distance.
        languages: number of languages in the test.
        left_out: those without the distance, or without a cell.
        cells: off-diagonal cells in the test.
        correlation: of the residuals of transfer and of distance; below 0: the nearer, the more transfer.
        p: two-sided, languages exchanged freely.
        p_adjusted: Benjamini-Hochberg over the distances.
        p_strict: two-sided, families mapped onto families.
        p_strict_adjusted: likewise.
        reason: why a number is not known, "" if all are.
    """

    name: str
    source: str
    languages: int
    left_out: tuple[str, ...]
    cells: int
    correlation: float | None
    p: float | None
    p_adjusted: float | None
    p_strict: float | None
    p_strict_adjusted: float | None
    reason: str


def known_distances(languages: Sequence[str]) -> tuple[Distance, ...]:
    """Distances that the project's tables give: family, genus, script, geography, phone inventory."""
    rows, places = [language(code) for code in languages], [typology(code) for code in languages]
    table, own = "grids/languages.toml", "grids/typology.toml"
    return (
        Distance("family", "", table, _pairs(rows, lambda a, b: _differs(a.family, b.family))),
        Distance("genus", "", table, _pairs(rows, lambda a, b: _differs(_genus(a), _genus(b)))),
        Distance("script", "", table, _pairs(rows, lambda a, b: _differs(a.script, b.script))),
        Distance("geography", "km", own, _pairs(places, great_circle_km)),
        Distance("phones", "", own, _pairs(places, jaccard)),
    )


def read_distance(text: str, languages: Sequence[str]) -> Distance:
    """A distance of the user's: "name=file", a square CSV; languages that it lacks get NaN.

    Raises:
        UserError: not of this form, the file can't be read, or a distance is negative.
    """
    from analysis.matrix_csv import read_square

    name, separator, file = text.partition("=")
    if not separator or not name.strip() or not file.strip():
        raise UserError(f"--distance {text!r} is not of the form name=file, e.g. syntax=syntax.csv")
    path = expanded(file.strip())
    codes, values = read_square(path)
    if (values < 0).any():
        i, j = (int(place) for place in np.argwhere(values < 0)[0])
        raise UserError(f"{path}: the distance ({codes[i]}, {codes[j]}) is {values[i, j]:g}; none can be below 0")
    place = np.array([codes.index(code) if code in codes else len(codes) for code in languages], dtype=np.int64)
    padded = np.pad(values, (0, 1), constant_values=np.nan)
    return Distance(name.strip(), "", path.name, padded[np.ix_(place, place)])


def distance_tests(
    values: Floats,
    languages: Sequence[str],
    families: Sequence[str],
    distances: Sequence[Distance],
    permutations: int = PERMUTATIONS,
) -> tuple[DistanceTest, ...]:
    """Tests each distance and adjusts the p-values over all of them.

    Args:
        values: (L, L) the matrix; NaN is a hole.
        languages: L codes.
        families: L labels for the strict version, "" if unknown; top-level families keep more than branches.
        distances: any number.
        permutations: random ones for each test, from a fixed seed.
    """
    found = [_test(values, languages, families, one, permutations) for one in distances]
    free = adjusted(np.array([np.nan if one.p is None else one.p for one in found]))
    strict = adjusted(np.array([np.nan if one.p_strict is None else one.p_strict for one in found]))
    return tuple(
        DistanceTest(one.name, one.source, one.languages, one.left_out, one.cells, one.correlation,
                     one.p, _known(a), one.p_strict, _known(b), one.reason)
        for one, a, b in zip(found, free, strict, strict=True)
    )  # fmt: skip


def mantel(residual: Floats, distance: Floats, orders: Ints) -> tuple[float, Floats]:
    """Correlation of residual and distance, as they are and with the residual's languages in other orders.

    Args:
        residual: (L, L), NaN where there is no cell.
        distance: (L, L), known off the diagonal.
        orders: (P, L) permutations of the languages.

    Returns:
        The correlation, and (P,) those of the permutations; NaN without variance.
    """
    n = len(residual)
    off = ~np.eye(n, dtype=bool)
    d = np.where(off, distance, 0.0)
    d = np.where(off, d - d[off].mean(), 0.0)
    seen = (np.isfinite(residual) & off).astype(np.float64)
    e = np.where(seen > 0, residual, 0.0)
    every = np.concatenate([np.arange(n)[None, :], orders])
    size = max(1, CHUNK_CELLS // (n * n))
    parts = [_correlations(e, seen, d, every[at : at + size]) for at in range(0, len(every), size)]
    found = np.concatenate(parts)
    return float(found[0]), found[1:]


def free_orders(n: int, count: int, rng: np.random.Generator) -> Ints:
    """(P, n) random permutations."""
    return np.asarray(rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1), dtype=np.int64)


def family_orders(families: Sequence[str], count: int, rng: np.random.Generator) -> Ints:
    """(P, L) random permutations that map families onto families: of the same size, with members in any order.

    They form a group, so that a test with them is exact. Languages of unknown family are families of one.
    """
    group = np.array(groups(families), dtype=np.int64)
    members = [np.flatnonzero(group == number) for number in range(int(group.max(initial=-1)) + 1)]
    orders = np.tile(np.arange(len(group)), (count, 1))
    for size in sorted({len(one) for one in members}):
        blocks = np.array([one for one in members if len(one) == size])
        which = rng.permuted(np.tile(np.arange(len(blocks)), (count, 1)), axis=1)
        moved = rng.permuted(blocks[which].reshape(count * len(blocks), size), axis=1)
        orders[:, blocks.ravel()] = moved.reshape(count, -1)
    return orders


def permutation_p(observed: float, others: Floats) -> float | None:
    """Two-sided p of a statistic among those of permutations (P,), itself one of them; None if it can't be computed.

    Source: Phipson and Smyth 2010, "Permutation p-values should never be zero".
    """
    if not np.isfinite(observed) or not np.isfinite(others).any():
        return None
    known = others[np.isfinite(others)]
    return float((1 + (np.abs(known) >= abs(observed) * (1 - 1e-9)).sum()) / (1 + len(known)))


def _test(
    values: Floats, languages: Sequence[str], families: Sequence[str], one: Distance, permutations: int
) -> DistanceTest:
    """One test, before the adjustment."""
    off = ~np.eye(len(values), dtype=bool)
    seen = np.isfinite(values) & off
    present = np.flatnonzero(seen.any(axis=1) | seen.any(axis=0))
    kept = present[complete_subset(one.values[np.ix_(present, present)])]
    left_out = tuple(code for i, code in enumerate(languages) if i not in set(kept.tolist()))
    fit = decompose(values[np.ix_(kept, kept)])
    distance = decompose(one.values[np.ix_(kept, kept)]).residual

    def result(
        reason: str, r: float | None = None, p: float | None = None, strict: float | None = None
    ) -> DistanceTest:
        return DistanceTest(one.name, one.source, len(kept), left_out, fit.cells, r, p, None, strict, None, reason)

    reason = _untestable(values[np.ix_(kept, kept)], fit, one.values[np.ix_(kept, kept)], distance)
    if reason:
        return result(reason)
    rng = np.random.default_rng(0)
    observed, free = mantel(fit.residual, distance, free_orders(len(kept), permutations, rng))
    orders = family_orders([families[i] for i in kept], permutations, rng)
    _, strict = mantel(fit.residual, distance, orders)
    if not np.isfinite(observed):
        return result("the distance does not vary over the cells there are")
    if np.abs(strict - observed).max() < 1e-9:
        return result("no order of languages within and among families changes it, so no strict test",
                      observed, permutation_p(observed, free))  # fmt: skip
    return result("", observed, permutation_p(observed, free), permutation_p(observed, strict))


def _untestable(values: Floats, fit: Fit, given: Floats, distance: Floats) -> str:
    """Why a test is impossible, or "". With three languages rows and columns explain every symmetric distance."""
    if len(values) < NEEDED:
        return f"{len(values)} languages have both cells and this distance; {NEEDED} are needed"
    if fit.free < 1 or np.nansum(fit.residual**2) <= TINY * max(float(np.nansum(values**2)), TINY):
        return "target and donor leave no residual"
    size = float((given[~np.eye(len(given), dtype=bool)] ** 2).sum())
    flat = np.nansum(distance**2) <= TINY * size
    return "the distance does not tell pairs apart beyond what its rows and columns do" if flat else ""


def _correlations(e: Floats, seen: Floats, d: Floats, orders: Ints) -> Floats:
    """(P,) correlations; e has mean 0 over its cells, and the same cells in every order."""
    n = len(e)
    flat = (orders[:, :, None] * n + orders[:, None, :]).reshape(len(orders), -1)
    line, count, norm = d.ravel(), seen.sum(), float((e**2).sum())
    product = e.ravel()[flat] @ line
    if count == n * (n - 1):
        spread = np.full(len(orders), line @ line)
    else:
        there = seen.ravel()[flat]
        spread = there @ line**2 - (there @ line) ** 2 / count
    known = spread > TINY * max(float(line @ line), TINY)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, product / np.sqrt(norm * np.where(known, spread, np.nan)), np.nan)


def _pairs(rows: Sequence[Row], of: Callable[[Row, Row], float | None]) -> Floats:
    """(L, L) a distance of every pair; NaN for None, 0 on the diagonal."""
    out = np.zeros((len(rows), len(rows)))
    for i, one in enumerate(rows):
        for j in range(i):
            value = of(one, rows[j])
            out[i, j] = out[j, i] = np.nan if value is None else value
    return out


def _differs(one: str, other: str) -> float | None:
    """1 if two labels differ, 0 if not; None if one is unknown."""
    return float(one != other) if one and other else None


def _genus(row: Language) -> str:
    """A genus with its family, so that equal names in two families stay two."""
    return f"{row.family}/{row.genus}" if row.genus else ""


def _known(value: float) -> float | None:
    """A plain number, or None."""
    return float(value) if np.isfinite(value) else None
