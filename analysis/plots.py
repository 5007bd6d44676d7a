"""The matrix as a figure: `heatmap.pdf`, `.svg` and `.png`, from two languages to some hundred and fifty.

Shown are the languages of the view, in its order: families side by side with their names, or every language with the
mark of its family and, in the order of the tree, the tree along the rows. `heatmap` is as large as its labels need,
`heatmap_1col` and `heatmap_2col` are as wide as a page's columns. Text stays text in SVG and PDF. Matplotlib is used
through `Figure` alone, without global state and without a display.
"""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.analyse import Analysis
from analysis.dendrogram import WORTH_SAYING, draw_tree
from analysis.drawing import FONT, SMALL, SOFT, draw_legend, draw_points, plain_axes, save_figure, write_figure
from analysis.layout import HATCHES, NUMBERS_UP_TO, SMALLEST, Layout, Shown, family_font, layout_of, off_diagonal, shown
from analysis.matrix import Status
from analysis.palette import KEPT_OUT, family_colours, hex_colour, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

PNG_DOTS_PER_INCH = 200
ERRORS_UP_TO = 8  # so many, standard errors too
COLOURS = 512


def write_heatmap(analysis: Analysis, out: Path) -> tuple[Path, ...]:
    """Draws the matrix at its own size and at each column's width, in every format; returns the paths."""
    own = save_figure("heatmap", lambda: heatmap(analysis), out, PNG_DOTS_PER_INCH)
    return own + write_figure("heatmap", lambda width: heatmap(analysis, width), out)


def heatmap(analysis: Analysis, width: float | None = None) -> "Figure":
    """The figure: matrix, languages, families, tree, colour bar, and a legend of what the hatches mean.

    Args:
        analysis: its view says which languages and in which order.
        width: inches; as large as the labels need by default.
    """
    from matplotlib.figure import Figure

    drawn = shown(analysis)
    layout = layout_of(drawn, width)
    figure = Figure(figsize=(layout.width, layout.height))
    axes = figure.add_axes(_box(layout, layout.left, layout.matrix))
    _draw_cells(axes, drawn, layout)
    _draw_labels(axes, drawn, layout)
    if layout.marks:
        _draw_marks(axes, drawn, layout)
    elif any(drawn.families):
        _draw_families(axes, drawn, layout)
    if drawn.n <= NUMBERS_UP_TO:
        _draw_numbers(axes, drawn, layout)
    _draw_colour_bar(figure, drawn, layout)
    if drawn.tree:
        _draw_tree(figure, drawn, layout)
    _draw_title(figure, drawn, layout)
    _draw_legends(figure, drawn, layout)
    return figure


def _box(layout: Layout, left: float, width: float) -> tuple[float, float, float, float]:
    """A box as high as the matrix, as matplotlib takes it; inches in, shares of the figure out."""
    return (left / layout.width, layout.bottom / layout.height, width / layout.width, layout.matrix / layout.height)


def _colour_map() -> "ListedColormap":
    """The palette as matplotlib takes it."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([hex_colour(value, 1.0) for value in np.linspace(-1, 1, COLOURS)], name="cltm")


def _draw_cells(axes: "Axes", drawn: Shown, layout: Layout) -> None:
    """Coloured cells, hatched ones where r may not be used, crosses where it is missing."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    n, large = drawn.n, layout.matrix >= 0.25 * drawn.n
    edges = np.arange(n + 1) - 0.5
    line, width = ("white", 0.8) if large else ("face", 0.4)  # coloured edges close the seams of renderers
    mesh: Any = {"cmap": _colour_map(), "vmin": -drawn.limit, "vmax": drawn.limit}
    axes.pcolormesh(edges, edges, np.ma.masked_invalid(drawn.values), edgecolors=line, linewidth=width, **mesh)
    for name, hatch in HATCHES.items():
        cells = [Rectangle((j - 0.5, i - 0.5), 1, 1) for i, j in np.argwhere((drawn.status == name) & off_diagonal(n))]
        axes.add_collection(PatchCollection(
            cells, facecolor=KEPT_OUT, edgecolor="#8c8c8c", linewidth=0.0, hatch=hatch if large else hatch * 2
        ))  # fmt: skip
    rows, columns = np.nonzero((drawn.status == Status.MISSING) & off_diagonal(n))
    if len(rows):
        side = 72 * layout.matrix / n
        axes.scatter(columns, rows, marker="x", s=min(60.0, (0.55 * side) ** 2), linewidth=min(0.7, 0.08 * side),
                     color="#777777")  # fmt: skip
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    inset = 0.02  # of a cell, so that outlines of neighbours do not run into each other
    outlines = [Rectangle((i - 0.5 + inset, i - 0.5 + inset), 1 - 2 * inset, 1 - 2 * inset) for i in range(n)]
    thin = min(0.9 if large else 0.45, 4.5 * layout.matrix / n)
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolor="#1a1a1a", linewidth=thin))


def _draw_numbers(axes: "Axes", drawn: Shown, layout: Layout) -> None:
    """Writes r in every cell that has a usable one, with its SE where there is room; a rounded -0 keeps its sign."""
    usual = min(9.0, 72 * layout.matrix / drawn.n * 0.30)
    if usual < SMALLEST:
        return
    for (i, j), value in np.ndenumerate(drawn.values):
        if np.isfinite(value):
            text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            size = usual * (0.85 if len(text) > 5 else 1.0)
            colour = ink(hex_colour(float(value), drawn.limit))
            with_error = drawn.n <= ERRORS_UP_TO and i != j and np.isfinite(drawn.errors[i, j])
            axes.text(j, i - 0.1 * with_error, text, ha="center", va="center", fontsize=size, color=colour)
            if with_error:
                below = f"\N{PLUS-MINUS SIGN}{drawn.errors[i, j]:.2f}"
                axes.text(j, i + 0.2, below, ha="center", va="center", fontsize=0.75 * size, color=colour)


def _draw_labels(axes: "Axes", drawn: Shown, layout: Layout) -> None:
    """Targets on the left, donors on top, with room for families between them and the matrix."""
    axes.xaxis.tick_top()
    pad = 72 * (layout.bar + 0.05) + 1
    axes.tick_params(length=0, pad=pad, labelsize=layout.font or None)
    places, codes = (range(drawn.n), drawn.codes) if layout.font else ([], [])
    axes.set_xticks(places, codes, rotation=90, va="bottom", ha="center")
    axes.set_yticks(places, codes)
    size = 10 if layout.width > 5 else FONT
    apart = 4 if layout.font else 4 + pad
    axes.set_ylabel("target", fontsize=size, labelpad=apart)
    axes.set_xlabel("donor" if layout.font else "donor (names: heatmap.pdf)", fontsize=size, labelpad=apart)
    axes.xaxis.set_label_position("top")
    axes.spines[:].set_visible(False)


def _draw_marks(axes: "Axes", drawn: Shown, layout: Layout) -> None:
    """The mark of each language's family, left of its row and over its column."""
    unit, along = drawn.n / layout.matrix, np.arange(drawn.n)
    beside = np.full(drawn.n, -0.5 - 0.07 * unit)
    sizes = np.full(drawn.n, min(25.0, (72 * 0.85 / unit) ** 2))
    draw_points(axes, np.column_stack([beside, along]), layout.marks, sizes)
    draw_points(axes, np.column_stack([along, beside]), layout.marks, sizes)


def _draw_families(axes: "Axes", drawn: Shown, layout: Layout) -> None:
    """A coloured bar along rows (both sides) and columns; the right one carries the names, as the legend."""
    from matplotlib.patches import Rectangle

    colours, unit = family_colours(drawn.families), drawn.n / layout.matrix  # matrix cells an inch
    width, gap, end = layout.bar * unit, 0.045 * unit, drawn.n - 0.5
    inset, size = min(0.012 * unit, 0.08), family_font(layout.font)
    runs = [(name, list(places)) for name, places in groupby(range(drawn.n), key=lambda k: drawn.families[k])]
    middles = [(places[0] + places[-1]) / 2 for _, places in runs]
    right = end + gap + width
    for (name, places), middle, line in zip(runs, middles, _apart(middles, 1.12 * size / 72 * unit, end), strict=True):
        start, length = places[0] - 0.5 + inset, len(places) - 2 * inset
        for corner, sides in (((-0.5 - gap - width, start), (width, length)), ((end + gap, start), (width, length)),
                              ((start, -0.5 - gap - width), (length, width))):  # fmt: skip
            axes.add_patch(Rectangle(corner, *sides, facecolor=colours[name], edgecolor="none", clip_on=False))
        if line != middle:
            axes.plot([right, right + 3.2 * gap], [middle, line], color=SOFT, linewidth=0.4, clip_on=False)
        axes.text(right + (3.6 if line != middle else 1) * gap, line, name or "unknown", va="center", ha="left",
                  fontsize=size, color="#1a1a1a" if name else "#777777")  # fmt: skip


def _apart(places: list[float], gap: float, end: float) -> list[float]:
    """Ascending places moved as far as needed to be `gap` apart and not beyond `end`; less where there is no room."""
    gap = min(gap, (end + 0.5) / len(places))
    for k in range(1, len(places)):
        places = [*places[:k], max(places[k], places[k - 1] + gap), *places[k + 1 :]]
    last = end - gap / 2
    for k in reversed(range(len(places))):
        places = [*places[:k], min(places[k], last), *places[k + 1 :]]
        last = places[k] - gap
    return places


def _draw_tree(figure: "Figure", drawn: Shown, layout: Layout) -> None:
    """The tree on the right, a leaf a row."""
    assert drawn.tree is not None
    left = layout.left + layout.matrix + 0.05
    axes = figure.add_axes(_box(layout, left, min(layout.right - 0.1, 1.5)))
    axes.set(xlim=(0, 1.05 * drawn.tree.clusters[-1].height), ylim=(drawn.n - 0.5, -0.5), yticks=[])
    places = {code: float(k) for k, code in enumerate(drawn.codes)}
    size = min(SMALL, 72 * layout.matrix / drawn.n * 0.8)
    size = size if size >= SMALLEST else 0.0
    draw_tree(axes, drawn.tree, places, size)
    plain_axes(axes)
    axes.spines["left"].set_visible(False)
    supported = drawn.tree.clusters[0].support is not None
    told = "" if not supported else "\nsupport in %" if size else f"\ndark: support\n{WORTH_SAYING:.0%} or more"
    axes.set_xlabel(f"1 \N{MINUS SIGN} similarity{told}", fontsize=SMALL, labelpad=2)


def _draw_colour_bar(figure: "Figure", drawn: Shown, layout: Layout) -> None:
    """The scale under the matrix, with 0 and 1 marked and pointed ends where values lie beyond."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width = min(layout.matrix, 4.5)
    box = ((layout.left + (layout.matrix - width) / 2) / layout.width, (layout.bottom - 0.28) / layout.height,
           width / layout.width, 0.12 / layout.height)  # fmt: skip
    limit = drawn.limit
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(drawn.beyond, "neither")
    mappable = ScalarMappable(Normalize(-limit, limit), _colour_map())
    bar = figure.colorbar(mappable, cax=figure.add_axes(box), orientation="horizontal", extend=extend)
    ticks = (-limit, 0.0, 1.0, limit)
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    bar.ax.tick_params(labelsize=8 if layout.width > 5 else 6.5, length=3)
    bar.ax.plot([1, 1], [0, 1], color="#1a1a1a", linewidth=1.6, transform=bar.ax.get_xaxis_transform())
    bar.outline.set_linewidth(0.5)
    half = 0.5 * layout.width if layout.width < 5 else 2.2
    words = "$r$: gain from the donor / gain from as much own data (1 = as good)"
    size = min(8.0, 72 * layout.width / (0.58 * len(words)))
    middle = min(max(layout.left + layout.matrix / 2, half), layout.width - half) / layout.width
    figure.text(middle, (layout.bottom - 0.58) / layout.height, words, fontsize=size, ha="center", va="center",
                parse_math=True)  # fmt: skip


def _draw_title(figure: "Figure", drawn: Shown, layout: Layout) -> None:
    """What was measured, over the matrix, and which part of it is shown."""
    room = layout.width - 0.3
    size = min(11.0, 72 * room / (0.56 * max(len(drawn.title), 1)))
    figure.text(0.15 / layout.width, 1 - 0.16 / layout.height, drawn.title, fontsize=size, va="top", ha="left",
                fontweight="bold")  # fmt: skip
    if drawn.note:
        small = min(7.5, 72 * room / (0.56 * len(drawn.note)))
        figure.text(0.15 / layout.width, 1 - (0.2 + 1.25 * size / 72) / layout.height, drawn.note, fontsize=small,
                    va="top", ha="left", color=SOFT)  # fmt: skip


def _draw_legends(figure: "Figure", drawn: Shown, layout: Layout) -> None:
    """What hatched and crossed cells are, with their numbers, and the marks of families; nothing if there are none."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=KEPT_OUT, edgecolor="#8c8c8c", linewidth=0.4, hatch=hatch * 2,
              label=f"{name.replace('_', ' ')} ({drawn.count(name)})")
        for name, hatch in HATCHES.items() if drawn.count(name)
    ]  # fmt: skip
    missing = drawn.count(Status.MISSING.value)
    if missing:
        handles.append(Line2D([], [], marker="x", color="#777777", linestyle="none", markersize=5,
                              label=f"missing ({missing})"))  # fmt: skip
    if handles:
        low = (0.04 + layout.families) / layout.height
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, low),
                      ncols=layout.columns, fontsize=7.5, frameon=False, handlelength=1.6, handleheight=1.0,
                      columnspacing=1.4, borderaxespad=0)  # fmt: skip
    if layout.marks:
        draw_legend(figure, layout.marks, layout.columns)
