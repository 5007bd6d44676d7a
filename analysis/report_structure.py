"""The report's part on structure: what cells share, donors and targets, distances, graph, trees, and their figures."""

from collections.abc import Sequence
from pathlib import Path

from analysis.clusters import Cluster, Tree
from analysis.distances import PERMUTATIONS, DistanceTest
from analysis.figures import Drawn
from analysis.findings import Findings
from analysis.graph import Graph, Node
from analysis.page import DASH, Section, number
from analysis.structure import Score, Structure

FIGURES = (  # stem, title, text; the two-column file is shown
    ("scores", "Donors and targets", "Effects with 95 % intervals; hollow or grey where 0 can't be excluded."),
    ("map", "Map", "Near each other are languages that profit from the same donors and help the same targets."),
    (
        "tree",
        "Tree",
        "Average linkage of residuals: languages that profit from the same donors and help the same targets "
        "join early.",
    ),
    ("components", "Components", "Rows of the matrix on their first components; variance explained; eigenvalues."),
)
CLUSTERS_SHOWN = 30
MEMBERS_SHOWN = 12
PARTS = {
    "target": "Target (which language is tested)",
    "donor": "Donor, on its own",
    "donor_beyond_target": "Donor, beyond the target",
    "residual": "Pair (the residual)",
}


def structure_sections(found: Findings, drawn: Drawn) -> tuple[Section, ...]:
    """Tables, then figures."""
    return (
        _parts(found.structure),
        _scores(found.structure),
        _distances(found.distances),
        _graph(found.graph),
        _clusters(found.trees),
        *_figures(drawn),
    )


def _parts(found: Structure) -> Section:
    """Shares of variance."""
    return Section(
        "Decomposition",
        "r = mean + target + donor + residual, by least squares over the cells used. Target, donor beyond target and "
        "residual add up to the variance of the cells; noise is what the seeds alone contribute to each share.",
        header=("Part", "Share", "of it noise"),
        rows=tuple((PARTS[part.name], _percent(part.share), _percent(part.noise)) for part in found.parts),
    )


def _scores(found: Structure) -> Section:
    """Donor and recipient scores, the best donor first."""
    pairs = sorted(zip(found.donors, found.targets, strict=True), key=lambda pair: pair[0].rank or len(found.donors))
    stable = [
        f"{word} {value:.2f}"
        for word, value in (
            ("donors", found.donor_stability),
            ("targets", found.target_stability),
            ("residuals (the ceiling of any correlation with them)", found.reliability),
        )
        if value is not None
    ]
    text = "Effects on a cell, against the average language. The range holds the ranks that the seeds can't rule out."
    return Section(
        "Donors and recipients",
        text + (f" Reliability from halves of the seeds: {', '.join(stable)}." if stable else ""),
        header=("Language", "As donor", "95 %", "Rank", "Range", "As target", "95 %", "Rank", "Range"),
        rows=tuple((donor.language, *_score(donor), *_score(target)) for donor, target in pairs),
    )


def _score(one: Score) -> tuple[str, str, str, str]:
    """Effect, interval, rank and range of ranks."""
    sure = one.lower is not None and one.upper is not None
    return (
        number(one.effect),
        f"[{number(one.lower)}, {number(one.upper)}]" if sure else DASH,
        DASH if one.rank is None else str(one.rank),
        DASH if one.rank_low is None else f"{one.rank_low} to {one.rank_high}",
    )


def _distances(tests: Sequence[DistanceTest]) -> Section:
    """Mantel tests."""
    return Section(
        "Distances between languages",
        "Correlation of each distance with the residual; below 0: the nearer, the more transfer. Mantel tests with "
        f"{PERMUTATIONS} permutations of languages, two-sided; the strict ones map families onto families. Adjusted: "
        "Benjamini-Hochberg over the distances.",
        header=("Distance", "r", "p", "adjusted", "strict p", "adjusted", "Languages", "Cells", "Left out", "Remark"),
        rows=tuple(_distance(one) for one in tests),
        texts=(0, 8, 9),
    )


def _distance(one: DistanceTest) -> tuple[str, ...]:
    """One test as a row."""
    left_out = f"{len(one.left_out)}: {', '.join(one.left_out[:8])}" if one.left_out else "none"
    more = f" and {len(one.left_out) - 8} more" if len(one.left_out) > 8 else ""
    chances = (one.p, one.p_adjusted, one.p_strict, one.p_strict_adjusted)
    return (
        f"{one.name} ({one.source})", number(one.correlation), *(number(value) for value in chances),
        str(one.languages), str(one.cells), left_out + more, one.reason,
    )  # fmt: skip


def _graph(network: Graph) -> Section:
    """Measures of every language, and of the whole."""
    whole = [f"An edge runs from donor to target where {network.rule}", f"density {number(network.density)}"]
    if network.modularity is not None:
        count = network.communities
        whole.append(f"{count} communit{'y' if count == 1 else 'ies'}, modularity {number(network.modularity)}")
    if network.left_off:
        whole.append(f"not on the map: {', '.join(network.left_off)}")
    nodes = sorted(network.nodes, key=lambda node: -node.outgoing)
    return Section(
        "Graph",
        "; ".join(whole) + ". PageRank of a target: helped by languages that are helped; of a donor: helps those that "
        "help. Support: how often resampled seeds keep a language with its community.",
        header=("Language", "Helps", "Helped by", "Given", "Received", "PageRank donor", "PageRank target",
                "Community", "Support"),
        rows=tuple(_node(node) for node in nodes),
    )  # fmt: skip


def _node(node: Node) -> tuple[str, ...]:
    """One language as a row."""
    return (
        node.language, str(node.helps), str(node.helped_by), number(node.outgoing, 2), number(node.incoming, 2),
        number(node.pagerank_donor), number(node.pagerank_target), str(node.community + 1), number(node.support, 2),
    )  # fmt: skip


def _clusters(trees: Sequence[Tree]) -> Section:
    """The clusters of all trees, the best supported first; that of all languages says nothing and is left out."""
    pairs = [(tree.by, cluster) for tree in trees for cluster in tree.clusters[:-1]]
    pairs.sort(key=lambda pair: (-(pair[1].support or 0), pair[1].height))
    more = f" The first {CLUSTERS_SHOWN} of {len(pairs)}; structure.json has all." * (len(pairs) > CLUSTERS_SHOWN)
    return Section(
        "Clusters",
        "Languages whose residuals point the same way: as targets, as donors, or both; neither a target's level nor a "
        "donor's makes a cluster. Height: 1 \N{MINUS SIGN} similarity at which it forms, 0 to 2. Support: share of "
        f"seed resamples whose tree has the very same cluster.{more}",
        header=("Alike as", "Members", "Languages", "Height", "Support"),
        rows=tuple((by, *_cluster(cluster)) for by, cluster in pairs[:CLUSTERS_SHOWN]),
        texts=(0, 2),
    )


def _cluster(one: Cluster) -> tuple[str, str, str, str]:
    """A cluster as a row."""
    count = len(one.languages)
    more = f" and {count - MEMBERS_SHOWN} more" if count > MEMBERS_SHOWN else ""
    names = ", ".join(one.languages[:MEMBERS_SHOWN]) + more
    return str(count), names, number(one.height, 2), _percent(one.support)


def _figures(drawn: Drawn) -> tuple[Section, ...]:
    """The figures that there are."""
    files = {path.name: path for path in drawn.paths}
    shown = ((title, text, _wide(files, stem)) for stem, title, text in FIGURES)
    return tuple(Section(title, text, figure) for title, text, figure in shown if figure)


def _wide(files: dict[str, Path], stem: str) -> Path | None:
    """The two-column SVG of a figure."""
    return files.get(f"{stem}_2col.svg")


def _percent(share: float | None) -> str:
    """A share as people read it."""
    return DASH if share is None else f"{100 * share:.1f} %"
