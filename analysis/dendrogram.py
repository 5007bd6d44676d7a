"""A tree of languages (`analysis.clusters`) as a figure of its own, or along the rows of another one.

A branch that at least half of the seed resamples have is dark and carries its support in percent, others are grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.clusters import Tree
from analysis.drawing import (
    FONT,
    INK,
    LETTER,
    SMALL,
    SOFT,
    Mark,
    draw_labels,
    draw_legend,
    draw_points,
    family_marks,
    legend_lines,
    plain_axes,
    wrapped,
)  # fmt: skip
from analysis.uncertainty import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORTH_SAYING = 0.5  # support from which a branch is dark and numbered
UNSURE = "#a8a8a8"
TALLEST = 8.9  # inches, for the rows: what a page leaves
NAMED = 8  # languages that are left out, in a note
WORDS = {"targets": "alike as targets", "donors": "alike as donors", "both": "alike as targets and donors"}


@dataclass(frozen=True)
class Branch:
    """A bracket of the tree: where its two parts start, (height, place), and the height at which they join.

    Attributes:
        size: number of languages in it, also those without a place.
    """

    first: tuple[float, float]
    second: tuple[float, float]
    height: float
    support: float | None
    size: int

    @property
    def middle(self) -> float:
        """The place at which it goes on."""
        return (self.first[1] + self.second[1]) / 2

    @property
    def sure(self) -> bool:
        """Whether enough resamples have it; without resamples, always."""
        return self.support is None or self.support >= WORTH_SAYING


def branches(tree: Tree, places: Mapping[str, float]) -> tuple[Branch, ...]:
    """The brackets that join the languages which have a place; their heights and supports are the whole tree's."""
    if tree.linkage is None:
        return ()
    nodes = [(0.0, places[code]) if code in places else None for code in tree.leaves]
    found = []
    for pair, cluster in zip(tree.linkage[:, :2].astype(int), tree.clusters, strict=True):
        ends = [node for node in (nodes[pair[0]], nodes[pair[1]]) if node]
        if len(ends) == 2:
            branch = Branch(ends[0], ends[1], cluster.height, cluster.support, len(cluster.languages))
            found.append(branch)
            nodes.append((branch.height, branch.middle))
        else:
            nodes.append(ends[0] if ends else None)
    return tuple(found)


def draw_tree(axes: "Axes", tree: Tree, places: Mapping[str, float], size: float) -> int:
    """Draws the tree, heights along x, and writes the supports.

    Args:
        axes: with its final limits.
        tree: what to draw.
        places: y of each language shown.
        size: of the font of the supports, points; 0 for none.

    Returns:
        How many supports found no room.
    """
    from matplotlib.collections import LineCollection

    found = branches(tree, places)
    lines = [[one.first, (one.height, one.first[1]), (one.height, one.second[1]), one.second] for one in found]
    colours = [INK if one.sure else UNSURE for one in found]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=[0.9 if one.sure else 0.6 for one in found]))
    told = [one for one in found if one.sure and one.support is not None and one.size < len(tree.leaves)]
    if not told or not size:
        return 0
    told.sort(key=lambda one: -(one.support or 0))
    spots = np.array([(one.height, one.middle) for one in told])
    axes.scatter(spots[:, 0], spots[:, 1], s=3.5, color=INK, zorder=3)
    texts = [f"{100 * (one.support or 0):.0f}" for one in told]
    return draw_labels(axes, spots, texts, np.full(len(told), 3.5), size, _along(axes, lines))


def _along(axes: "Axes", lines: Sequence[Sequence[tuple[float, float]]]) -> Floats:
    """(M, 2) places on the lines, in pixels, for texts to stay clear of."""
    ends = np.array([[line[k], line[k + 1]] for line in lines for k in range(3)])
    t = np.linspace(0, 1, 25)[:, None, None]
    return np.asarray(axes.transData.transform(((1 - t) * ends[:, 0] + t * ends[:, 1]).reshape(-1, 2)))


def tree_figure(tree: Tree, languages: Sequence[str], families: Sequence[str], width: float) -> "Figure":
    """The tree with its root on the left; languages marked by family, those left out named below.

    Args:
        tree: has a linkage.
        languages: L codes, as the tree's positions count them.
        families: L labels, "" if unknown.
        width: inches.
    """
    from matplotlib.figure import Figure

    leaves = [i for i in tree.order if languages[i] not in tree.left_out]
    codes = [languages[i] for i in leaves]
    marks = family_marks([families[i] for i in leaves]) if any(families) else ()
    columns = 3 if width > 5 else 2
    step = min(0.125, TALLEST / len(leaves))
    letters = min(FONT, 72 * step * 0.8)
    notes = _notes(tree)
    key = 0.05 + 0.115 * legend_lines(marks, columns) if marks else 0.0
    foot, right = key + 0.10 * len(wrapped(notes, width)) + 0.42, max(map(len, codes)) * LETTER * letters / 72 + 0.1
    height = foot + step * len(leaves) + 0.22
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.1 / width, foot / height, (width - 0.1 - right) / width, step * len(leaves) / height))
    top = 1.05 * tree.clusters[-1].height
    axes.set(xlim=(top, -0.1 * top / (width - 0.1 - right)), ylim=(len(leaves) - 0.5, -0.5))
    missed = draw_tree(axes, tree, {code: float(k) for k, code in enumerate(codes)}, min(SMALL, 72 * step * 0.85))
    _draw_leaves(axes, codes, marks, letters)
    notes += [f"{missed} supports find no room"] if missed else []
    figure.text(0.1 / width, 1 - 0.05 / height, WORDS[tree.by], fontsize=FONT, color=INK, va="top")
    for k, line in enumerate(reversed(wrapped(notes, width))):
        figure.text(0.1 / width, (key + 0.06 + 0.1 * k) / height, line, fontsize=SMALL, color=SOFT, va="center")
    if marks:
        draw_legend(figure, marks, columns)
    return figure


def _notes(tree: Tree) -> list[str]:
    """What dark branches are, and who is not in the tree."""
    notes = []
    if tree.clusters[0].support is not None:
        notes.append(f"dark, with support in %: branches that {WORTH_SAYING:.0%} of resamples or more have")
    if tree.left_out:
        more = f" and {len(tree.left_out) - NAMED} more" if len(tree.left_out) > NAMED else ""
        notes.append(f"not in the tree: {', '.join(tree.left_out[:NAMED])}{more}")
    return notes


def _draw_leaves(axes: "Axes", codes: Sequence[str], marks: Sequence[Mark], letters: float) -> None:
    """Codes on the right, each with the mark of its family; the axis of heights below."""
    low = axes.get_xlim()[1]
    places = np.array([(0.45 * low, k) for k in range(len(codes))])
    if marks:
        draw_points(axes, places, marks, np.full(len(codes), min(20.0, (letters * 0.85) ** 2)))
    plain_axes(axes)
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(codes)), codes)
    axes.tick_params(axis="y", length=0, pad=1, labelsize=letters)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("1 \N{MINUS SIGN} similarity", fontsize=FONT, labelpad=2)
