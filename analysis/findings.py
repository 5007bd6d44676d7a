"""What structures a matrix, all in one frozen value: decomposition, distance tests, graph, trees.

`findings` computes it of any matrix, also of two languages; what can't be known is None, and `notes` says why.
`structure.json` holds its numbers. Not covered: figures (`analysis.figures`).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis.clusters import Tree, trees
from analysis.distances import DistanceTest, distance_tests, known_distances, read_distance
from analysis.graph import Graph, Node, graph
from analysis.inference import Call, CellTests
from analysis.matrix import CLTM
from analysis.replicates import MIN_SEEDS, replicates
from analysis.structure import Structure, structure

STRUCTURE_FILE = "structure.json"


@dataclass(frozen=True, eq=False)
class Findings:
    """Decomposition, distances, graph and trees of a matrix.

    Attributes:
        structure: effects of targets and donors, and what they explain.
        distances: one test a distance.
        graph: who helps whom.
        trees: which languages are alike as targets, as donors, as both.
        notes: why something is not known, one sentence each.
    """

    structure: Structure
    distances: tuple[DistanceTest, ...]
    graph: Graph
    trees: tuple[Tree, ...]
    notes: tuple[str, ...]

    def tree(self, by: str) -> Tree:
        """The tree by "targets", "donors" or "both"."""
        return next(one for one in self.trees if one.by == by)


def findings(
    cltm: CLTM, tests: CellTests | None, families: Sequence[str], named: Sequence[tuple[str, Path]] = ()
) -> Findings:
    """Computes everything.

    Args:
        cltm: the matrix; cells that aggregates don't use are holes.
        tests: of its cells; then only significantly positive ones are edges of the graph.
        families: L labels for the strict distance tests.
        named: further distances, a name and a square CSV each.

    Raises:
        UserError: a distance file can't be used.
    """
    further = [read_distance(f"{name}={path}", cltm.languages) for name, path in named]
    seeds = replicates(cltm.scores, cltm.values) if cltm.scores is not None else None
    found = structure(cltm.values, cltm.languages, seeds)
    tested = tests is not None and bool((tests.gain.call != Call.UNTESTED)[cltm.off_diagonal].any())
    significant = tests.gain.call == Call.POSITIVE if tests is not None and tested else None
    return Findings(
        found,
        distance_tests(cltm.values, cltm.languages, families, (*known_distances(cltm.languages), *further)),
        graph(cltm.values, cltm.languages, seeds, significant),
        trees(cltm.values, cltm.languages, seeds),
        _notes(found, cltm, seeds is not None),
    )


def top_families(languages: Sequence[str]) -> tuple[str, ...]:
    """The top-level family of each language by the built-in table, "" if unknown."""
    from grids.languages import language

    return tuple(language(code).family for code in languages)


def findings_text(found: Findings) -> str:
    """`structure.json`: null where something is not known. Places on the map are the figure's, so they are not here."""
    fit, network = found.structure.fit, found.graph
    content = {
        "mu": float(fit.mu) if np.isfinite(fit.mu) else None,
        "cells": fit.cells,
        "residual_df": fit.free,
        "parts": [asdict(part) for part in found.structure.parts],
        "targets": [asdict(one) for one in found.structure.targets],
        "donors": [asdict(one) for one in found.structure.donors],
        "target_stability": found.structure.target_stability,
        "donor_stability": found.structure.donor_stability,
        "residual_reliability": found.structure.reliability,
        "distances": [asdict(one) for one in found.distances],
        "graph": {
            "rule": network.rule, "density": network.density, "communities": network.communities,
            "modularity": network.modularity, "nodes": [_node(node) for node in network.nodes],
        },
        "trees": [_tree(one, [score.language for score in found.structure.targets]) for one in found.trees],
        "notes": list(found.notes),
    }  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _node(node: Node) -> dict[str, object]:
    """A node without its place."""
    return {name: value for name, value in asdict(node).items() if name not in ("x", "y")}


def _tree(found: Tree, languages: Sequence[str]) -> dict[str, object]:
    """A tree without its drawing; `order` as codes."""
    clusters = [asdict(one) for one in found.clusters]
    return {"by": found.by, "order": [languages[i] for i in found.order], "left_out": list(found.left_out),
            "reason": found.reason, "clusters": clusters}  # fmt: skip


def _notes(found: Structure, cltm: CLTM, replicated: bool) -> tuple[str, ...]:
    """Why something is not known."""
    notes = []
    if not found.parts:
        notes.append("Target and donor leave no residual to share out: too few languages or cells, or no variance.")
    if not np.isfinite(found.fit.mu):
        notes.append("The cells that there are don't connect all targets and donors, so their effects can't be "
                     "compared.")  # fmt: skip
    if cltm.scores is None:
        notes.append("A bare matrix knows no seeds: no intervals, rank ranges, stability or support.")
    elif not replicated:
        count = len(cltm.scores.seeds)
        notes.append(f"{count} seed{'s' * (count != 1)}: intervals, rank ranges, stability and support of a whole "
                     f"matrix take {MIN_SEEDS}.")  # fmt: skip
    return tuple(notes)
