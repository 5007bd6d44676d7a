"""Where languages lie in the embedding spaces of trained models: centroids, spread, distances (method: section 5).

Embeddings of two models are in two spaces, so a distance is taken inside one model and only then averaged: over
the mixtures of a seed, then over seeds. Which models: "common" ones, which embed every language, where a grid has
`evaluate = "all"` (or the untouched model); otherwise "pair", the models of A_i + A_j for the languages i and j. They
are never mixed, since models trained on other languages have other scales.

Shapes: L languages, D dimensions, C clips.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.uncertainty import Bools, Floats, Ints
from grids.errors import UserError

Models = Literal["common", "pair"]
PERMUTATIONS = 9999
EXACT_UP_TO = 7  # languages: all orders are tried


@dataclass(frozen=True)
class Model:
    """A trained model whose embeddings were kept."""

    path: Path
    mixture: str
    trained: tuple[str, ...]
    seed: int


@dataclass(frozen=True, eq=False)
class Cloud:
    """One language's clips in one model.

    Attributes:
        centroid: (D,) mean over clips.
        within_euclidean: mean distance of a clip to the centroid.
        within_cosine: mean of 1 - cosine of a clip and the centroid.
        clips: C.
    """

    centroid: Floats
    within_euclidean: float
    within_cosine: float
    clips: int


@dataclass(frozen=True, eq=False)
class Geometry:
    """Distances between and inside languages; NaN where no model embeds them.

    Attributes:
        languages: L codes.
        models: which models were used.
        mixtures: number of different ones.
        seeds: the draws.
        clips: (L,) test clips.
        euclidean, cosine: (L, L) distance of centroids, 0 on the diagonal.
        euclidean_se, cosine_se: (L, L) standard error over seeds; NaN with fewer than two.
        within_euclidean, within_cosine: (L,) see `Cloud`.
    """

    languages: tuple[str, ...]
    models: Models
    mixtures: int
    seeds: tuple[int, ...]
    clips: Ints
    euclidean: Floats
    cosine: Floats
    euclidean_se: Floats
    cosine_se: Floats
    within_euclidean: Floats
    within_cosine: Floats


@dataclass(frozen=True)
class RankTest:
    """Spearman's correlation of a distance with r, and how often exchanged languages give as strong a one.

    Attributes:
        distance: "euclidean" or "cosine".
        cells: off-diagonal cells with r and distance.
        rho: below 0: the nearer, the more transfer; None where it can't be known.
        p: two-sided; None likewise.
        orders: of the languages that were tried, or all there are.
        exact: all of them.
    """

    distance: str
    cells: int
    rho: float | None
    p: float | None
    orders: int
    exact: bool


def cloud(embeddings_CD: Floats) -> Cloud:
    """Centroid and spread of one language's clips.

    Args:
        embeddings_CD: (C, D), one a clip.

    Raises:
        UserError: an embedding is not finite, or of length 0.
    """
    size = np.linalg.norm(embeddings_CD, axis=1)
    if not np.isfinite(size).all() or not (size > 0).all():
        raise UserError("an embedding is not finite, or 0 everywhere")
    centroid = embeddings_CD.mean(axis=0)
    euclidean = float(np.linalg.norm(embeddings_CD - centroid, axis=1).mean())
    cosines = embeddings_CD @ centroid / (size * max(float(np.linalg.norm(centroid)), 1e-300))
    return Cloud(centroid, euclidean, float(1 - cosines.mean()), len(embeddings_CD))


def choose_models(
    models: Sequence[Model], embedded: Callable[[Model], frozenset[str]], languages: Sequence[str]
) -> Models:
    """Which models count: "common" ones if some model embeds every language, else "pair"."""
    return "common" if any(embedded(model) >= {*languages} for model in models) else "pair"


def geometry(languages: Sequence[str], clouds: Iterable[tuple[Model, Mapping[str, Cloud]]], models: Models) -> Geometry:
    """Averages distances over models.

    Args:
        languages: L codes.
        clouds: each model with the languages that it embeds, read one after the other.
        models: which models count.
    """
    place = {code: i for i, code in enumerate(languages)}
    n = len(languages)
    by_seed: dict[int, _Sums] = defaultdict(lambda: _Sums(n))
    mixtures, clips = set[str](), np.zeros(n, dtype=np.int64)
    for model, found in clouds:
        inside = {code: one for code, one in found.items() if code in place}
        fits = {*inside} >= {*languages} if models == "common" else len(model.trained) == 2
        if models == "pair":
            inside = {code: one for code, one in inside.items() if code in model.trained}
        if not fits or len(inside) < 2:
            continue
        mixtures.add(model.mixture)
        by_seed[model.seed].add(inside, place)
        for code, one in inside.items():
            clips[place[code]] = one.clips
    seeds = tuple(sorted(by_seed))
    empty = np.full((1, 2, n, n), np.nan)
    between = np.stack([by_seed[seed].between() for seed in seeds]) if seeds else empty
    within = np.stack([by_seed[seed].within() for seed in seeds]) if seeds else empty[:, :, 0]
    (euclidean, cosine), (euclidean_se, cosine_se) = _mean_and_se(between)
    (inside_e, inside_c), _ = _mean_and_se(within)
    return Geometry(tuple(languages), models, len(mixtures), seeds, clips, euclidean, cosine, euclidean_se, cosine_se,
                    inside_e, inside_c)  # fmt: skip


class _Sums:
    """Distances of the models of one seed, summed."""

    def __init__(self, n: int) -> None:
        self._between, self._pairs = np.zeros((2, n, n)), np.zeros((n, n))
        self._within, self._models = np.zeros((2, n)), np.zeros(n)

    def add(self, clouds: Mapping[str, Cloud], place: Mapping[str, int]) -> None:
        """Adds one model."""
        for code, one in clouds.items():
            self._within[:, place[code]] += one.within_euclidean, one.within_cosine
            self._models[place[code]] += 1
        for (a, one), (b, other) in combinations(clouds.items(), 2):
            i, j = place[a], place[b]
            sizes = np.linalg.norm(one.centroid) * np.linalg.norm(other.centroid)
            cosine = 1 - float(one.centroid @ other.centroid) / float(sizes) if sizes > 0 else np.nan
            both = np.array([np.linalg.norm(one.centroid - other.centroid), cosine])
            self._between[:, i, j] += both
            self._between[:, j, i] += both
            self._pairs[[i, j], [j, i]] += 1

    def between(self) -> Floats:
        """(2, L, L) means over models: Euclidean, cosine; 0 on the diagonal."""
        with np.errstate(invalid="ignore"):
            mean = self._between / self._pairs
        mean[:, np.eye(len(self._pairs), dtype=bool)] = 0.0
        return np.asarray(mean)

    def within(self) -> Floats:
        """(2, L)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._within / self._models)


def _mean_and_se(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard error over the first axis, of what is known."""
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0.0).sum(axis=0) / count
        se = np.sqrt(np.where(seen, (values - mean) ** 2, 0.0).sum(axis=0) / (count - 1) / count)
    return np.where(count > 0, mean, np.nan), np.where(count > 1, se, np.nan)


def rank_test(name: str, distance: Floats, r: Floats, permutations: int = PERMUTATIONS, seed: int = 0) -> RankTest:
    """Spearman's correlation over off-diagonal cells, with languages exchanged in the distance for p.

    A cell counts if it has r; every language of the test has every distance (others are left out), so that each order
    of the languages has as many cells. Ranks of the distance are taken once, over all pairs: with holes in r the
    permuted statistic is the correlation of these ranks.

    Args:
        name: of the distance.
        distance: (L, L) symmetric, NaN where not known.
        r: (L, L), NaN where it is not used; the diagonal is ignored.
        permutations: random orders, where there are too many languages for all.
        seed: of the draw.
    """
    from scipy.stats import rankdata

    keep = _complete(distance)
    distance, r = distance[np.ix_(keep, keep)], r[np.ix_(keep, keep)]
    n = len(keep)
    off = ~np.eye(n, dtype=bool)
    used = np.isfinite(r) & off
    exact = n <= EXACT_UP_TO
    orders = _orders(n, permutations, seed)
    if used.sum() < 3 or np.ptp(r[used]) == 0 or np.ptp(distance[used]) == 0:
        return RankTest(name, int(used.sum()), None, None, 0, exact)
    rho = _correlation(rankdata(distance[used])[None], rankdata(r[used]))[0]
    ranks = np.zeros((n, n))
    ranks[off] = rankdata(distance[off])
    statistic = _permuted(ranks, orders, used, rankdata(r[used]))
    own = _correlation(ranks[used][None], rankdata(r[used]))[0]
    as_strong = int((np.abs(statistic) >= abs(own) - 1e-12).sum())
    p = as_strong / len(orders) if exact else (as_strong + 1) / (len(orders) + 1)
    return RankTest(name, int(used.sum()), float(rho), float(p), len(orders), exact)


def _permuted(ranks: Floats, orders: Ints, used: Bools, against: Floats) -> Floats:
    """The correlation for every order, some orders at a time."""
    rows, columns = np.nonzero(used)
    step = max(1, 4_000_000 // len(rows))
    parts = [orders[start : start + step] for start in range(0, len(orders), step)]
    return np.concatenate([_correlation(ranks[part[:, rows], part[:, columns]], against) for part in parts])


def _correlation(many: Floats, one: Floats) -> Floats:
    """Pearson's correlation of each row of (M, C) with (C,)."""
    many, one = many - many.mean(axis=1, keepdims=True), one - one.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        found = many @ one / np.sqrt((many**2).sum(axis=1) * (one**2).sum())
    return np.asarray(np.nan_to_num(found))


def _orders(n: int, permutations: int, seed: int) -> Ints:
    """All orders of n languages where there are few, else random ones."""
    if n <= EXACT_UP_TO:
        from itertools import permutations as every

        return np.array(list(every(range(n))), dtype=np.int64).reshape(-1, n)
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)


def _complete(distance: Floats) -> NDArray[np.int64]:
    """Languages that have a distance to each other; the one that lacks most is left out until all have."""
    keep = np.arange(len(distance))
    while True:
        lacking = (~np.isfinite(distance[np.ix_(keep, keep)])).sum(axis=1)
        if not lacking.any():
            return keep
        keep = np.delete(keep, int(np.argmax(lacking)))
