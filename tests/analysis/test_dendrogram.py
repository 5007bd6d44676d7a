"""The tree as a figure: brackets worked by hand, supports, texts that stay inside and apart, leaves on their rows."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest

from analysis.clusters import Cluster, Tree, tree
from analysis.dendrogram import branches, tree_figure
from analysis.drawing import STYLE, WIDTHS
from analysis.view import view
from tests.analysis.test_plots import random_matrix
from tests.analysis.test_structure import codes, known, planted

LEAVES = ("a", "b", "c", "d")


def by_hand() -> Tree:
    """((a, c), (b, d)), of which resamples have the first."""
    link = np.array([[0, 2, 0.2, 2], [1, 3, 0.5, 2], [4, 5, 1.0, 4]])
    clusters = (Cluster(("a", "c"), 0.2, 0.9), Cluster(("b", "d"), 0.5, 0.3), Cluster(LEAVES, 1.0, 1.0))
    return Tree("both", (0, 2, 1, 3), (), clusters, link, "")


def test_brackets_join_at_their_heights_half_way_between_their_parts():
    found = branches(by_hand(), {"a": 0, "c": 1, "b": 2, "d": 3})
    assert [(one.first, one.second, one.height, one.sure) for one in found] == [
        ((0, 0), (0, 1), 0.2, True), ((0, 2), (0, 3), 0.5, False), ((0.2, 0.5), (0.5, 2.5), 1.0, True),
    ]  # fmt: skip


def test_languages_not_shown_take_their_bracket_away_and_no_height_changes():
    (only,) = branches(by_hand(), {"a": 0, "d": 1})
    assert (only.first, only.second, only.height, only.size) == ((0, 0), (0, 1), 1.0, 4)
    assert branches(by_hand(), {"a": 0}) == ()


def test_the_supports_of_half_the_resamples_or_more_are_written_but_not_that_of_the_whole():
    figure = tree_figure(by_hand(), LEAVES, ("f", "f", "g", ""), 3.5)
    assert [text.get_text() for text in figure.axes[0].texts] == ["90"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "c", "b", "d"]


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 44, 147])
@pytest.mark.parametrize("width", list(WIDTHS.values()))
def test_every_text_of_the_tree_lies_inside_and_names_and_supports_stay_apart(n, width):
    rng = np.random.default_rng(n)
    values, seeds = known(planted("half", n, rng), 6, 0.05, rng)
    families = [f"Family {i % 13}" if i % 5 else "" for i in range(n)]
    with matplotlib.rc_context(STYLE):
        figure = tree_figure(tree(values, codes(n), "both", seeds), codes(n), families, width)
        figure.draw_without_rendering()
        axes, page = figure.axes[0], figure.bbox.padded(1)
        texts = [*figure.texts, *axes.texts, *axes.get_yticklabels(), axes.xaxis.label]
        for box in (text.get_window_extent() for text in texts):
            assert page.x0 <= box.x0 <= box.x1 <= page.x1
            assert page.y0 <= box.y0 <= box.y1 <= page.y1
        assert figure.get_figheight() < 11
        for group in (axes.texts, axes.get_yticklabels()):
            boxes = [text.get_window_extent().shrunk(0.9, 0.6) for text in group]
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_beside_the_heatmap_each_leaf_stands_on_its_row(tmp_path):
    from dataclasses import replace

    from analysis.plots import heatmap

    found = random_matrix(tmp_path, 12)
    cltm = found.cltm
    likeness = tree(cltm.values, cltm.languages)
    figure = heatmap(replace(found, view=view(cltm.languages, cltm.families, "cluster", tree=likeness)))
    matrix, beside = figure.axes[0], figure.axes[-1]
    names = [label.get_text() for label in matrix.get_yticklabels()]
    assert names == [cltm.languages[i] for i in likeness.order]
    (lines,) = beside.collections
    ends = sorted(float(y) for path in lines.get_paths() for x, y in path.vertices if x == 0)
    assert ends == list(range(12))
    assert matrix.get_position().y0 == beside.get_position().y0
    assert matrix.get_ylim() == beside.get_ylim()
