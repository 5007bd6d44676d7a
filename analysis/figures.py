"""Figures of structure: principal components, the graph as a map, donors and targets, the tree.

Each is drawn for one and for two columns, as PDF, SVG and PNG, with text that stays text. `write_figures` writes those
that the matrix has enough cells for and says why the others are not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clusters import Tree
from analysis.dendrogram import tree_figure
from analysis.diagnostics import PCA_SHARE
from analysis.drawing import (
    FONT,
    INK,
    LINE,
    SMALL,
    SOFT,
    Mark,
    draw_labels,
    draw_legend,
    draw_points,
    family_marks,
    legend_lines,
    numbered_marks,
    plain_axes,
    wrapped,
    write_figure,
)  # fmt: skip
from analysis.graph import Graph
from analysis.spectrum import Spectrum, spectrum
from analysis.structure import Score, Structure
from analysis.uncertainty import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS_SHOWN = 50  # of donors and of targets; of more languages the first and the last are shown
ARROWS = {20: 2, 60: 1}  # up to so many languages: arrows from the strongest donors of each target
BEND = 0.12  # of an arrow, over its length
PARTS = {"target": ("target", "#22639b"), "donor_beyond_target": ("donor", "#e8863a"), "residual": ("pair", "#d9d9d9")}


@dataclass(frozen=True)
class Drawn:
    """Files that were written, and why others were not."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def write_figures(
    values: Floats, languages: Sequence[str], families: Sequence[str], found: Structure, network: Graph, likeness: Tree,
    out: Path,
) -> Drawn:  # fmt: skip
    """Writes `components_*`, `map_*`, `scores_*` and `tree_*` into a folder.

    Args:
        values: (L, L), with the diagonal if the matrix has one.
        languages: L codes.
        families: L labels.
        found: its decomposition.
        network: its graph.
        likeness: its tree.
        out: the folder, which exists.
    """
    paths: list[Path] = []
    notes: list[str] = []
    spans = spectrum(values)
    if spans is None:
        notes.append("No figure of components: fewer than three languages have every cell, diagonal included.")
    else:
        paths += write_figure("components", lambda width: components_figure(spans, languages, families, width), out)
    if network.stress is None:
        notes.append("No map: fewer than three languages share enough cells.")
    else:
        paths += write_figure("map", lambda width: map_figure(network, width), out)
    if not found.parts:
        notes.append("No figure of scores: target and donor leave no residual.")
    else:
        paths += write_figure("scores", lambda width: scores_figure(found, width), out)
    if likeness.linkage is None:
        notes.append(f"No tree: {likeness.reason}.")
    else:
        paths += write_figure("tree", lambda width: tree_figure(likeness, languages, families, width), out)
    return Drawn(tuple(paths), tuple(notes))


def components_figure(spans: Spectrum, languages: Sequence[str], families: Sequence[str], width: float) -> "Figure":
    """Rows on the first two components, variance explained, eigenvalues."""
    from matplotlib.figure import Figure

    marks = family_marks([families[i] for i in spans.kept]) if any(families) else ()
    columns = 3 if width > 5 else 2
    foot = 0.05 + 0.115 * legend_lines(marks, columns) if marks else 0.02
    height = (3.9 if width > 5 else 5.0) + foot
    figure = Figure(figsize=(width, height))
    low, high = (foot + 0.34) / height, 1 - 0.22 / height
    if width > 5:
        grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1), left=0.07, right=0.985, bottom=low, top=high,
                                   hspace=0.48, wspace=0.24)  # fmt: skip
        boxes: Any = (grid[:, 0], grid[0, 1], grid[1, 1])
    else:
        grid = figure.add_gridspec(2, 2, height_ratios=(2.1, 1), left=0.13, right=0.965, bottom=low, top=high,
                                   hspace=0.34, wspace=0.46)  # fmt: skip
        boxes = (grid[0, :], grid[1, 0], grid[1, 1])
    names = [languages[i] for i in spans.kept]
    _draw_plane(figure.add_subplot(boxes[0]), spans, names, marks or (Mark("", "#22639b", "o"),) * len(names))
    _draw_variance(figure.add_subplot(boxes[1]), spans)
    _draw_eigenvalues(figure.add_subplot(boxes[2]), spans)
    if marks:
        draw_legend(figure, marks, columns)
    return figure


def map_figure(network: Graph, width: float) -> "Figure":
    """Languages on the map, coloured by community, as large as they help, with arrows from the strongest donors."""
    from matplotlib.figure import Figure

    nodes = [node for node in network.nodes if node.x is not None]
    marks = numbered_marks([node.community for node in nodes], "community")
    columns = 6 if width > 5 else 3
    foot = 0.30 + 0.12 * legend_lines(marks, columns)
    height = 0.80 * width + foot
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.02, foot / height, 0.96, 1 - (foot + 0.05) / height))
    places = np.array([(node.x, node.y) for node in nodes], dtype=np.float64)
    strength = np.array([node.outgoing for node in nodes])
    scale = 1.0 if width > 5 else 0.55
    largest = scale * (170 if len(nodes) <= 20 else 90 if len(nodes) <= 60 else 45)
    sizes = largest * (0.12 + 0.88 * strength / max(float(strength.max()), 1e-12))
    _fit(axes, places, 0.07)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=LINE, linewidth=0.5)
    each, curves = _draw_arrows(axes, network, places, sizes)
    draw_points(axes, places, marks, sizes)
    first = np.argsort(-strength, kind="stable")
    size = FONT if width > 5 and len(nodes) <= 60 else SMALL if len(nodes) <= 60 else 4.6
    missed = draw_labels(axes, places[first], [nodes[i].language for i in first], sizes[first], size, curves)
    notes = [f"stress {network.stress:.2f}", "size: help given"]
    donors = "two strongest donors" if each == 2 else "strongest donor"
    notes += [f"arrows: {donors} of each target"] if len(curves) else []
    notes += [f"{missed} names find no room"] if missed else []
    line = (foot - 0.15) / height
    for k, text in enumerate(wrapped(notes, width)):
        figure.text(0.025, line - k * 0.1 / height, text, fontsize=SMALL, color=SOFT, va="center")
    draw_legend(figure, marks, columns)
    return figure


def scores_figure(found: Structure, width: float) -> "Figure":
    """Shares of variance on top; donors and targets below, from the largest effect to the smallest."""
    from matplotlib.figure import Figure

    rows = max(len(_shown(found.donors)), len(_shown(found.targets)), 3)
    step = 0.125 if rows <= 20 else 0.105
    height = 1.34 + step * rows
    figure = Figure(figsize=(width, height))
    bar = figure.add_axes((0.03, 1 - 0.46 / height, 0.94, 0.16 / height))
    _draw_parts(bar, found)
    label = max(len(one.language) for one in found.donors) * 0.62 * SMALL / 72 + 0.10
    for side, (title, scores, stability) in enumerate(
        (("as donor", found.donors, found.donor_stability), ("as target", found.targets, found.target_stability))
    ):
        left = side * width / 2 + label + 0.03
        box = (left / width, 0.42 / height, (width / 2 - label - 0.14) / width, step * rows / height)
        _draw_scores(figure.add_axes(box), scores, title, stability, rows)
    return figure


def _draw_plane(axes: "Axes", spans: Spectrum, names: Sequence[str], marks: Sequence[Mark]) -> None:
    """The first two components, an axis as long as its share asks."""
    places = spans.scores[:, :2]
    sizes = np.full(len(names), 22.0 if len(names) <= 60 else 12.0)
    _fit(axes, places, 0.08)
    for draw in (axes.axhline, axes.axvline):
        draw(0, color=LINE, linewidth=0.5, zorder=0)
    draw_points(axes, places, marks, sizes)
    far = np.argsort(-(places**2).sum(axis=1), kind="stable")
    missed = draw_labels(axes, places[far], [names[i] for i in far], sizes[far], SMALL if len(names) <= 60 else 4.6)
    axes.set_xlabel(f"component 1 ({100 * spans.shares[0]:.0f} % of variance)", fontsize=FONT, labelpad=2)
    axes.set_ylabel(f"component 2 ({100 * spans.shares[1]:.0f} %)", fontsize=FONT, labelpad=2)
    plain_axes(axes)
    title = f"rows of {len(names)} targets" + (f"; {missed} names find no room" if missed else "")
    axes.set_title(title, fontsize=SMALL, color=SOFT, loc="left", pad=3)


def _draw_variance(axes: "Axes", spans: Spectrum) -> None:
    """Variance explained by the first components together."""
    from matplotlib.ticker import MaxNLocator

    total = 100 * np.cumsum(spans.shares)
    count = np.arange(1, len(total) + 1)
    axes.plot(count, total, color="#22639b", linewidth=1.0, marker="o", markersize=2.2 if len(total) <= 60 else 0)
    axes.axhline(100 * PCA_SHARE, color=SOFT, linewidth=0.6, linestyle=(0, (4, 2)))
    k = spans.components
    axes.plot([k, k], [0, total[k - 1]], color=SOFT, linewidth=0.6, linestyle=(0, (1, 1.5)))
    words = f"{k} component{'s' * (k != 1)} for {100 * PCA_SHARE:.0f} %"
    axes.text(0.97, 0.08, words, fontsize=SMALL, ha="right", va="bottom", transform=axes.transAxes, color=INK)
    axes.set(xlim=(min(0.5, 1), len(total) + 0.5), ylim=(0, 103))
    axes.set_xlabel("components", fontsize=FONT, labelpad=2)
    axes.set_ylabel("variance (%)", fontsize=FONT, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    plain_axes(axes)


def _draw_eigenvalues(axes: "Axes", spans: Spectrum) -> None:
    """Eigenvalues in the complex plane, with the circle of the spectral radius."""
    from matplotlib.patches import Circle

    values = spans.eigenvalues
    radius = float(np.abs(values).max())
    axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=LINE, linewidth=0.6))
    for draw in (axes.axhline, axes.axvline):
        draw(0, color=LINE, linewidth=0.5, zorder=0)
    axes.scatter(values.real, values.imag, s=7, color="#b85a14", edgecolor="white", linewidth=0.25, zorder=3)
    room = 1.12 * radius
    axes.set(xlim=(-room, room), ylim=(-room, room), aspect="equal")
    axes.set_anchor("C")
    axes.set_xlabel("eigenvalue, real", fontsize=FONT, labelpad=2)
    axes.set_ylabel("imaginary", fontsize=FONT, labelpad=2)
    axes.set_title(f"spectral radius {radius:.3g}", fontsize=SMALL, color=SOFT, pad=3)
    plain_axes(axes)


def _draw_arrows(axes: "Axes", network: Graph, places: Floats, sizes: Floats) -> tuple[int, Floats]:
    """Arrows from the strongest donors to each target; returns how many a target, and (K, 2) places on them, pixels."""
    from matplotlib.patches import FancyArrowPatch

    here = [i for i, node in enumerate(network.nodes) if node.x is not None]
    each = next((count for most, count in ARROWS.items() if len(here) <= most), 0)
    edge = network.edge[np.ix_(here, here)]
    radius, curves = np.sqrt(sizes) / 2, [np.empty((0, 2))]
    for i, row in enumerate(edge):
        for j in np.argsort(-row, kind="stable")[:each]:
            if row[j] > 0:
                arrow = FancyArrowPatch(
                    (places[j, 0], places[j, 1]), (places[i, 0], places[i, 1]), arrowstyle="-|>,head_width=1.3,"
                    "head_length=2.6", connectionstyle=f"arc3,rad={BEND}", shrinkA=radius[j] + 0.5,
                    shrinkB=radius[i] + 0.5, linewidth=0.5, color="#9a9a9a", zorder=1, mutation_scale=1.0,
                )  # fmt: skip
                axes.add_patch(arrow)
                curves.append(_curve(axes.transData.transform(places[[j, i]])))
    return each, np.concatenate(curves)


def _curve(ends: Floats) -> Floats:
    """(40, 2) places on the bent line between two ends, as matplotlib's arc3 bends it."""
    (x0, y0), (x1, y1) = ends
    middle = (ends[0] + ends[1]) / 2 + BEND * np.array([y1 - y0, x0 - x1])
    t = np.linspace(0, 1, 40)[:, None]
    return np.asarray((1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * middle + t**2 * ends[1])


def _draw_parts(axes: "Axes", found: Structure) -> None:
    """One bar: variance by target, by donor, and by the pair; the seeds' noise hatched inside each."""
    start = 0.0
    shares = {part.name: part for part in found.parts}
    for name, (word, colour) in PARTS.items():
        part = shares[name]
        axes.barh(0, part.share, left=start, color=colour, height=1.0, edgecolor="white", linewidth=0.6)
        if part.noise is not None:
            noise = min(part.noise, part.share)
            axes.barh(0, noise, left=start + part.share - noise, color="none", height=1.0, hatch="//////",
                      edgecolor="#333333", linewidth=0)  # fmt: skip
        text = f"{word} {100 * part.share:.0f} %"
        axes.text(start if part.share < 0.12 else start + part.share / 2, 0.62, text, fontsize=SMALL, va="bottom",
                  ha="center", color=INK)  # fmt: skip
        start += part.share
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
    axes.axis("off")
    words = "variance of the cells" + ("; hatched: noise of the seeds" if found.parts[0].noise is not None else "")
    axes.text(0, -0.62, words, fontsize=SMALL, va="top", ha="left", color=SOFT)


def _draw_scores(axes: "Axes", scores: Sequence[Score], title: str, stability: float | None, rows: int) -> None:
    """Points with intervals, the largest on top."""
    shown = _shown(scores)
    names = [one.language if one else "\N{VERTICAL ELLIPSIS}" for one in shown]
    for y, one in enumerate(shown):
        if one is None or one.effect is None:
            continue
        if one.lower is not None and one.upper is not None:
            sure = one.lower > 0 or one.upper < 0
            axes.plot([one.lower, one.upper], [y, y], color=INK if sure else "#9a9a9a", linewidth=0.8)
        else:
            sure = True
        axes.plot(one.effect, y, "o", markersize=3, color="#b85a14" if one.effect > 0 else "#22639b",
                  markerfacecolor=None if sure else "white", markeredgewidth=0.7)  # fmt: skip
    axes.axvline(0, color=SOFT, linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(rows - 0.4, -0.6)
    plain_axes(axes)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color="#ececec", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.margins(x=0.06)
    axes.set_title(title, fontsize=FONT, color=INK, pad=3 if stability is None else 9, loc="left")
    if stability is not None:
        axes.annotate(f"rank stability {stability:.2f}", (0, 1), (0, 2.5), xycoords="axes fraction",
                      textcoords="offset points", fontsize=SMALL, color=SOFT)  # fmt: skip
    axes.set_xlabel("effect on a cell", fontsize=FONT, labelpad=2)


def _shown(scores: Sequence[Score]) -> list[Score | None]:
    """Known scores from the largest to the smallest; None stands for those left out in the middle."""
    known = sorted((one for one in scores if one.effect is not None), key=lambda one: one.rank or 0)
    if len(known) <= ROWS_SHOWN:
        return list(known)
    half = ROWS_SHOWN // 2
    return [*known[:half], None, *known[-half + 1 :]]


def _fit(axes: "Axes", places: Floats, room: float) -> None:
    """Limits around the places with room for names."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, max(float((high - low).max()) * 0.05, 1e-12))
    axes.set(xlim=(low[0] - room * span[0], high[0] + room * span[0]))
    axes.set(ylim=(low[1] - room * span[1], high[1] + room * span[1]))
