"""The matrix as a graph: an edge from donor to target where the donor helps, and a map of the languages.

Works on any (L, L) array in which positive means help. Communities come from Louvain on the mean of the two
directions, seeded; their support from resampled seeds. The map is metric multidimensional scaling of 1 - similarity
(`analysis.structure.similarity`): near each other are languages that profit from the same donors and help the same
targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.replicates import Replicates
from analysis.structure import complete_subset, decompose, similarity
from analysis.uncertainty import Bools, Floats

if TYPE_CHECKING:
    import networkx as nx

DAMPING = 0.85  # of PageRank, as in Page et al. 1999
LOUVAIN_SEED = 0
COMMUNITY_DRAWS = 50  # resamples used for the support of communities
SMACOF_STEPS = 300
SMACOF_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Node:
    """One language in the graph; None where it can't be known.

    Attributes:
        helped_by, helps: number of edges in and out.
        incoming, outgoing: sums of their weights.
        pagerank_target: PageRank along the edges: helped by languages that are themselves helped.
        pagerank_donor: PageRank against the edges: helps languages that themselves help.
        community: number of its community, 0 the largest.
        support: share of resamples in which it is together with a member of its community, mean over the members;
            None without enough seeds or alone.
        x, y: place on the map.
    """

    language: str
    helped_by: int
    helps: int
    incoming: float
    outgoing: float
    pagerank_target: float | None
    pagerank_donor: float | None
    community: int
    support: float | None
    x: float | None
    y: float | None


@dataclass(frozen=True, eq=False)
class Graph:
    """A transfer graph.

    Attributes:
        edge: (L, L) weights, rows targets and columns donors as in the matrix; 0 where there is no edge.
        rule: which cells are edges, in words.
        nodes: one a language, in the order of the matrix.
        density: edges over known cells; None without a cell.
        communities: their number.
        modularity: of the communities; None without an edge.
        stress: Kruskal's stress of the map, 0 (exact) to 1; None without a map.
        left_off: languages that are not on the map, since they share too few cells with the others.
    """

    edge: Floats
    rule: str
    nodes: tuple[Node, ...]
    density: float | None
    communities: int
    modularity: float | None
    stress: float | None
    left_off: tuple[str, ...]


def graph(
    values: Floats, languages: Sequence[str], seeds: Replicates | None = None, significant: Bools | None = None
) -> Graph:
    """The graph of a matrix.

    Args:
        values: (L, L); the diagonal is not used, NaN is a hole.
        languages: L codes.
        seeds: the same matrix from other sets of seeds, for support.
        significant: (L, L) cells whose transfer is significantly positive; then only these are edges.
    """
    edge = edges(values, significant)
    groups, modularity = communities(edge)
    together = None if seeds is None else _together(seeds.drawn[:COMMUNITY_DRAWS], significant)
    place, stress, on_map = _map(values)
    toward, against = pagerank(edge), pagerank(edge.T)
    known = np.isfinite(values) & ~np.eye(len(values), dtype=bool)
    nodes = tuple(
        Node(code, int((edge[i] > 0).sum()), int((edge[:, i] > 0).sum()), float(edge[i].sum()),
             float(edge[:, i].sum()), _at(toward, i), _at(against, i), groups[i], _support(together, groups, i),
             _at(place[:, 0], i), _at(place[:, 1], i))
        for i, code in enumerate(languages)
    )  # fmt: skip
    return Graph(
        edge=edge,
        rule="cell is positive" if significant is None else "transfer is significantly positive",
        nodes=nodes,
        density=float((edge > 0).sum() / known.sum()) if known.any() else None,
        communities=len(set(groups)),
        modularity=modularity,
        stress=stress,
        left_off=tuple(code for i, code in enumerate(languages) if not on_map[i]),
    )


def edges(values: Floats, significant: Bools | None = None) -> Floats:
    """(L, L) the positive off-diagonal cells, or those among them that are significant; 0 elsewhere."""
    positive = np.where(np.isfinite(values) & ~np.eye(len(values), dtype=bool), np.maximum(values, 0.0), 0.0)
    return positive if significant is None else np.where(significant, positive, 0.0)


def pagerank(edge: Floats) -> Floats:
    """PageRank along donor -> target, (L,), sum 1; a language that helps nobody spreads its rank evenly.

    Args:
        edge: (L, L) weights, rows targets, columns donors.

    Returns:
        NaN throughout without an edge, where every language would rank equal by definition alone.

    Source: Page et al. 1999, "The PageRank Citation Ranking", as a linear system.
    """
    n = len(edge)
    if not edge.any():
        return np.full(n, np.nan)
    out = edge.sum(axis=0)
    flow = np.where(out > 0, edge / np.where(out > 0, out, 1.0), 1 / n)
    return np.linalg.solve(np.eye(n) - DAMPING * flow, np.full(n, (1 - DAMPING) / n))


def communities(edge: Floats) -> tuple[tuple[int, ...], float | None]:
    """Louvain communities of the two directions' mean weight.

    Args:
        edge: (L, L) weights, rows targets, columns donors.

    Returns:
        The community of each language, numbered from the largest (first language breaks ties), and the modularity;
        None without an edge.

    Source: Blondel et al. 2008, as networkx implements it, with a fixed seed.
    """
    import networkx as nx

    network = _network(edge)
    found = nx.community.louvain_communities(network, seed=LOUVAIN_SEED)
    ordered = sorted((sorted(one) for one in found), key=lambda one: (-len(one), one[0]))
    number = {node: k for k, one in enumerate(ordered) for node in one}
    modularity = float(nx.community.modularity(network, [set(one) for one in ordered])) if edge.any() else None
    return tuple(number[i] for i in range(len(edge))), modularity


def scaling(distance: Floats) -> tuple[Floats, float]:
    """Places in the plane whose distances are as near as can be to those given: classical scaling, then SMACOF.

    Args:
        distance: (K, K), symmetric, known.

    Returns:
        (K, 2) places, centred, turned to their principal axes with the larger part of each axis' skew positive; and
        Kruskal's stress, `sqrt(sum (d - given)^2 / sum d^2)`.

    Source: Torgerson 1952 for the start; De Leeuw 1977 for SMACOF (Guttman transform).
    """
    n = len(distance)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    place = vectors[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 0.0))
    last = np.inf
    for _ in range(SMACOF_STEPS):
        apart = _apart(place)
        stress = float(((apart - distance) ** 2).sum())
        if last - stress < SMACOF_TOLERANCE * max(float((distance**2).sum()), 1e-300):
            break
        last = stress
        ratio = np.where(apart > 0, distance / np.where(apart > 0, apart, 1.0), 0.0)
        place = (np.diag(ratio.sum(axis=1)) - ratio) @ place / n
    apart = _apart(place)
    size = float((apart**2).sum())
    return _turned(place), float(np.sqrt(((apart - distance) ** 2).sum() / size)) if size > 0 else 0.0


def _map(values: Floats) -> tuple[Floats, float | None, Bools]:
    """Places (L, 2), their stress, and which languages are on the map."""
    alike = similarity(decompose(values).residual)
    kept = complete_subset(alike)
    place, on_map = np.full((len(values), 2), np.nan), np.zeros(len(values), dtype=bool)
    if len(kept) < 3:
        return place, None, on_map
    place[kept], stress = scaling(np.maximum(1 - alike[np.ix_(kept, kept)], 0.0))
    on_map[kept] = True
    return place, stress, on_map


def _apart(place: Floats) -> Floats:
    """(K, K) Euclidean distances."""
    return np.asarray(np.sqrt(((place[:, None, :] - place[None, :, :]) ** 2).sum(axis=-1)))


def _turned(place: Floats) -> Floats:
    """The same places with a fixed orientation, so that equal distances always give the same map."""
    place = place - place.mean(axis=0)
    _, _, axes = np.linalg.svd(place, full_matrices=False)
    place = place @ axes.T
    skew = (place**3).sum(axis=0)
    return place * np.where(skew < 0, -1.0, 1.0)


def _network(edge: Floats) -> "nx.Graph[int]":
    """The undirected graph of the two directions' mean."""
    import networkx as nx

    weight = (edge + edge.T) / 2
    network: nx.Graph[int] = nx.Graph()
    network.add_nodes_from(range(len(edge)))
    rows, columns = np.nonzero(np.triu(weight, 1))
    network.add_weighted_edges_from((int(i), int(j), float(weight[i, j])) for i, j in zip(rows, columns, strict=True))
    return network


def _together(drawn: Floats, significant: Bools | None) -> Floats:
    """(L, L) share of resamples in which two languages are in one community."""
    found = [np.array(communities(edges(one, significant))[0]) for one in drawn]
    return np.asarray(np.mean([one[:, None] == one[None, :] for one in found], axis=0))


def _support(together: Floats | None, groups: Sequence[int], i: int) -> float | None:
    """Mean share of a language with the other members of its community."""
    others = [j for j, group in enumerate(groups) if group == groups[i] and j != i]
    return float(together[i, others].mean()) if together is not None and others else None


def _at(values: Floats, i: int) -> float | None:
    """A plain number, or None if it is not finite."""
    return float(values[i]) if np.isfinite(values[i]) else None
