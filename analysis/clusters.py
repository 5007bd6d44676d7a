"""Which languages are alike as targets, as donors, or both: a tree, and an order for figures.

Alike means that their residuals point the same way (`analysis.structure.similarity`), so that neither a target's level
nor a donor's makes a cluster. The tree is average linkage on 1 - similarity. Support of a cluster is the share of
seed resamples whose tree has the very same cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.replicates import Replicates
from analysis.structure import complete_subset, decompose, similarity
from analysis.uncertainty import Floats, Ints

NEEDED = 3  # languages, for a tree that says anything
KINDS = ("targets", "donors", "both")


@dataclass(frozen=True)
class Cluster:
    """One branch of the tree.

    Attributes:
        languages: its members, in the order of the matrix.
        height: 1 - similarity at which it forms, 0 to 2.
        support: share of resamples that have it; None without enough seeds.
    """

    languages: tuple[str, ...]
    height: float
    support: float | None


@dataclass(frozen=True, eq=False)
class Tree:
    """A clustering of languages.

    Attributes:
        by: "targets", "donors" or "both".
        order: every position of the matrix, languages that are alike side by side; those left out come last.
        left_out: languages that share too few cells with the others.
        clusters: from the smallest height to the largest; the last one holds all.
        linkage: (K - 1, 4) as scipy writes it, over the languages in the tree in the order of the matrix; None
            without a tree.
        reason: why there is no tree, "" if there is one.
    """

    by: str
    order: tuple[int, ...]
    left_out: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    linkage: Floats | None
    reason: str

    @property
    def leaves(self) -> tuple[str, ...]:
        """The languages in the tree, in the order of the matrix; none without a tree."""
        return self.clusters[-1].languages if self.clusters else ()


def tree(values: Floats, languages: Sequence[str], by: str = "both", seeds: Replicates | None = None) -> Tree:
    """Clusters the languages of a matrix, (L, L), by one kind of likeness; see `trees`."""
    return trees(values, languages, seeds, (by,))[0]


def trees(
    values: Floats, languages: Sequence[str], seeds: Replicates | None = None, kinds: Sequence[str] = KINDS
) -> tuple[Tree, ...]:
    """Clusters the languages of a matrix.

    Args:
        values: (L, L); the diagonal is not used, NaN is a hole.
        languages: L codes.
        seeds: the same matrix from other sets of seeds, for support.
        kinds: what makes languages alike: "targets", "donors" or "both", a tree each.
    """
    residual = decompose(values).residual
    drawn = None if seeds is None else tuple(decompose(one).residual for one in seeds.drawn)
    return tuple(_tree(residual, languages, by, drawn) for by in kinds)


def _tree(residual: Floats, languages: Sequence[str], by: str, drawn: tuple[Floats, ...] | None) -> Tree:
    """The tree of one kind; `drawn` are the residuals of the resamples."""
    from scipy.cluster.hierarchy import leaves_list, optimal_leaf_ordering

    alike = similarity(residual, by)
    kept = complete_subset(alike)
    rest = [i for i in range(len(residual)) if i not in set(kept.tolist())]
    left_out = tuple(languages[i] for i in rest)
    if len(kept) < NEEDED:
        reason = f"a tree takes {NEEDED} languages that share enough cells, there are {len(kept)}"
        return Tree(by, tuple(range(len(residual))), left_out, (), None, reason)
    distance = _condensed(alike[np.ix_(kept, kept)])
    link: Floats = _linkage(distance)
    order = (*(int(kept[i]) for i in leaves_list(optimal_leaf_ordering(link, distance))), *rest)
    return Tree(by, order, left_out, _clusters(link, kept, languages, by, drawn), link, "")


def _clusters(
    link: Floats, kept: Ints, languages: Sequence[str], by: str, drawn: tuple[Floats, ...] | None
) -> tuple[Cluster, ...]:
    """The branches with their support."""
    sets = _sets(link)
    support: list[float | None] = [None] * len(sets)
    if drawn is not None:
        others = [set(_sets(_linkage(_drawn(one, kept, by)))) for one in drawn]
        support = [float(np.mean([one in other for other in others])) for one in sets]
    return tuple(
        Cluster(tuple(languages[int(kept[i])] for i in range(len(kept)) if one >> i & 1), float(height), share)
        for one, height, share in zip(sets, link[:, 2], support, strict=True)
    )


def _drawn(residual: Floats, kept: Ints, by: str) -> Floats:
    """Distances of the languages in the tree in a resample; a similarity that it leaves unknown counts as 0."""
    alike = similarity(residual, by)[np.ix_(kept, kept)]
    return _condensed(np.where(np.isfinite(alike), alike, 0.0))


def _condensed(alike: Floats) -> Floats:
    """1 - similarity, as scipy takes it: the upper triangle as one line."""
    from scipy.spatial.distance import squareform

    line: Floats = squareform(np.maximum(1 - alike, 0.0), checks=False)
    return line


def _linkage(distance: Floats) -> Any:
    """Average linkage (UPGMA)."""
    from scipy.cluster.hierarchy import linkage

    return linkage(distance, method="average")


def _sets(link: Floats) -> list[int]:
    """The members of every branch as a number whose bit i says whether leaf i is in it."""
    leaves = len(link) + 1
    sets = [1 << i for i in range(leaves)]
    for left, right in link[:, :2].astype(np.int64).tolist():
        sets.append(sets[left] | sets[right])
    return sets[leaves:]
