"""The matrix as a figure: `heatmap.pdf`, `.svg` and `.png`, from two languages to some hundred and fifty.

Languages are brought together by family, in order of first appearance. Text stays text in SVG and PDF. Matplotlib is
used through `Figure` alone, without global state and without a display.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.analyse import Analysis
from analysis.matrix import CLTM, Status
from analysis.palette import KEPT_OUT, colour_limit, family_colours, family_order, hex_colour, ink
from analysis.uncertainty import Bools
from grids.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
PNG_DOTS_PER_INCH = 200
NUMBERS_UP_TO = 20  # languages
ERRORS_UP_TO = 8  # so many, standard errors too
COLOURS = 512
HATCHES = {Status.UNDEFINED.value: "////", Status.NEGATIVE.value: "xxxx"}
STYLE: Any = {
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "cltm", "hatch.linewidth": 0.6,
    "hatch.color": "#8c8c8c", "font.family": "DejaVu Sans", "axes.linewidth": 0.6,
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Sizes in inches and points for a matrix of n languages.

    Attributes:
        cell: side of a cell.
        font: of language labels.
        matrix: side of the matrix.
        left: room for target labels and the left family bar.
        right: room for the right family bar and its labels.
        top: room for title, donor labels and the top family bar.
        bottom: room for the colour bar and the legend.
        bar: width of a family bar.
    """

    cell: float
    font: float
    matrix: float
    left: float
    right: float
    top: float
    bottom: float
    bar: float = 0.09

    @property
    def width(self) -> float:
        """Of the figure."""
        return self.left + self.matrix + self.right

    @property
    def height(self) -> float:
        """Of the figure."""
        return self.top + self.matrix + self.bottom


def write_heatmap(analysis: Analysis, out: Path) -> tuple[Path, ...]:
    """Draws the matrix and writes it in every format of `SUFFIXES`; returns the paths."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = heatmap(analysis)
        for suffix in SUFFIXES:
            meta: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})
            with replacing(out / f"heatmap{suffix}") as temporary:
                figure.savefig(temporary, dpi=PNG_DOTS_PER_INCH, metadata=meta)
    return tuple(out / f"heatmap{suffix}" for suffix in SUFFIXES)


def heatmap(analysis: Analysis) -> "Figure":
    """The figure: matrix, language labels, family bars, colour bar, and a legend of what the hatches mean."""
    from matplotlib.figure import Figure

    cltm, order = analysis.cltm, family_order(analysis.cltm.families)
    layout = _layout(cltm)
    limit = colour_limit(cltm.values[cltm.used])
    figure = Figure(figsize=(layout.width, layout.height))
    box = (layout.left / layout.width, layout.bottom / layout.height,
           layout.matrix / layout.width, layout.matrix / layout.height)  # fmt: skip
    axes = figure.add_axes(box)
    _draw_cells(axes, cltm, order, limit)
    _draw_labels(axes, cltm, order, layout)
    _draw_families(axes, cltm, order, layout)
    if cltm.n <= NUMBERS_UP_TO:
        _draw_numbers(axes, cltm, order, layout, limit)
    _draw_colour_bar(figure, cltm, layout, limit)
    _draw_title(figure, analysis, layout)
    _draw_legend(figure, cltm, layout)
    return figure


def _layout(cltm: CLTM) -> Layout:
    """Sizes: cells large enough for numbers while there are numbers, then for labels."""
    n = cltm.n
    cell = max(0.62 - 0.012 * n, 0.40) if n <= NUMBERS_UP_TO else max(0.10, min(0.20, 9.0 / n))
    font = min(9.0, max(4.6, 72 * cell * 0.72))
    letter = font / 72 * 0.60
    longest = max(len(code) for code in cltm.languages)
    family = max((len(name) for name in cltm.families), default=0)
    labels = longest * letter + 0.12
    return Layout(
        cell=cell, font=font, matrix=max(cell * n, 2.4),
        left=labels + 0.50, right=max(0.35, family * min(font, 8.0) / 72 * 0.60 + 0.40),
        top=labels + 0.80, bottom=1.0 if _legend_needed(cltm) else 0.72,
    )  # fmt: skip


def _legend_needed(cltm: CLTM) -> bool:
    """Whether a cell is drawn in another way than by its colour."""
    return any(cltm.count(Status(name)) for name in (*HATCHES, Status.MISSING))


def _colour_map() -> "ListedColormap":
    """The palette as matplotlib takes it."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([hex_colour(value, 1.0) for value in np.linspace(-1, 1, COLOURS)], name="cltm")


def _draw_cells(axes: "Axes", cltm: CLTM, order: tuple[int, ...], limit: float) -> None:
    """Coloured cells, hatched ones where r may not be used, crosses where it is missing."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    n, place = cltm.n, np.ix_(order, order)
    values, status = np.ma.masked_invalid(cltm.values[place]), cltm.status[place]
    edges = np.arange(n + 1) - 0.5
    line, width = ("white", 0.8) if n <= NUMBERS_UP_TO else ("face", 0.4)  # coloured edges close the seams of renderers
    mesh: Any = {"cmap": _colour_map(), "vmin": -limit, "vmax": limit}
    axes.pcolormesh(edges, edges, values, edgecolors=line, linewidth=width, **mesh)
    for name, hatch in HATCHES.items():
        cells = [Rectangle((j - 0.5, i - 0.5), 1, 1) for i, j in np.argwhere((status == name) & _off(n))]
        axes.add_collection(
            PatchCollection(cells, facecolor=KEPT_OUT, edgecolor="#8c8c8c", linewidth=0.0, hatch=_dense(hatch, n))
        )
    rows, columns = np.nonzero((status == Status.MISSING) & _off(n))
    if len(rows):
        size = min(60.0, 5000 / n**1.5)
        axes.scatter(columns, rows, marker="x", s=size, linewidth=0.7, color="#777777")
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    inset = 0.02  # of a cell, so that outlines of neighbours do not run into each other
    outlines = [Rectangle((i - 0.5 + inset, i - 0.5 + inset), 1 - 2 * inset, 1 - 2 * inset) for i in range(n)]
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolor="#1a1a1a", linewidth=_thin(n)))


def _off(n: int) -> Bools:
    """The off-diagonal cells."""
    return ~np.eye(n, dtype=bool)


def _dense(hatch: str, n: int) -> str:
    """A hatch that still shows in small cells."""
    return hatch if n <= NUMBERS_UP_TO else hatch * 2


def _thin(n: int) -> float:
    """Width of lines inside the matrix, in points."""
    return 0.9 if n <= NUMBERS_UP_TO else 0.45


def _draw_numbers(axes: "Axes", cltm: CLTM, order: tuple[int, ...], layout: Layout, limit: float) -> None:
    """Writes r in every cell that has a usable one, with its SE where there is room; a rounded -0 keeps its sign."""
    values, errors = cltm.values[np.ix_(order, order)], cltm.se[np.ix_(order, order)]
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            size = min(9.0, 72 * layout.matrix / cltm.n * 0.30) * (0.85 if len(text) > 5 else 1.0)
            colour = ink(hex_colour(float(value), limit))
            with_error = cltm.n <= ERRORS_UP_TO and i != j and np.isfinite(errors[i, j])
            axes.text(j, i - 0.1 * with_error, text, ha="center", va="center", fontsize=size, color=colour)
            if with_error:
                below = f"\N{PLUS-MINUS SIGN}{errors[i, j]:.2f}"
                axes.text(j, i + 0.2, below, ha="center", va="center", fontsize=0.75 * size, color=colour)


def _draw_labels(axes: "Axes", cltm: CLTM, order: tuple[int, ...], layout: Layout) -> None:
    """Targets on the left, donors on top, family bars between them and the matrix."""
    codes = [cltm.languages[i] for i in order]
    places = np.arange(cltm.n)
    axes.xaxis.tick_top()
    pad = 72 * (layout.bar + 0.05) + 1
    axes.tick_params(length=0, pad=pad, labelsize=layout.font)
    axes.set_xticks(places, codes, rotation=90, va="bottom", ha="center")
    axes.set_yticks(places, codes)
    axes.set_ylabel("target", fontsize=10, labelpad=4)
    axes.set_xlabel("donor", fontsize=10, labelpad=6)
    axes.xaxis.set_label_position("top")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_families(axes: "Axes", cltm: CLTM, order: tuple[int, ...], layout: Layout) -> None:
    """A coloured bar along rows (both sides) and columns; the right one carries the names, as the legend."""
    from matplotlib.patches import Rectangle

    if not any(cltm.families):
        return
    colours = family_colours([cltm.families[i] for i in order])
    unit = cltm.n / layout.matrix  # matrix cells an inch
    width, gap = layout.bar * unit, 0.045 * unit
    end = cltm.n - 0.5
    for name, members in groupby(range(cltm.n), key=lambda position: cltm.families[order[position]]):
        places = list(members)
        start, size = places[0] - 0.5, len(places)
        inset = min(0.012 * unit, 0.08)
        length = size - 2 * inset
        bars = (
            Rectangle((-0.5 - gap - width, start + inset), width, length),
            Rectangle((start + inset, -0.5 - gap - width), length, width),
            Rectangle((end + gap, start + inset), width, length),
        )
        for bar in bars:
            bar.set(facecolor=colours[name], edgecolor="none", clip_on=False)
            axes.add_patch(bar)
        axes.text(end + 2 * gap + width, start + size / 2, name or "unknown", va="center", ha="left",
                  fontsize=min(layout.font, 8.0), color="#1a1a1a" if name else "#777777")  # fmt: skip


def _draw_colour_bar(figure: "Figure", cltm: CLTM, layout: Layout, limit: float) -> None:
    """The scale under the matrix, with 0 and 1 marked and pointed ends where values lie beyond."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width = min(layout.matrix, 4.5)
    box = ((layout.left + (layout.matrix - width) / 2) / layout.width, (layout.bottom - 0.28) / layout.height,
           width / layout.width, 0.12 / layout.height)  # fmt: skip
    values = cltm.values[cltm.used]
    below, above = bool((values < -limit).any()), bool((values > limit).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    mappable = ScalarMappable(Normalize(-limit, limit), _colour_map())
    bar = figure.colorbar(mappable, cax=figure.add_axes(box), orientation="horizontal", extend=extend)
    ticks = (-limit, 0.0, 1.0, limit)
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    bar.ax.tick_params(labelsize=8, length=3)
    bar.ax.plot([1, 1], [0, 1], color="#1a1a1a", linewidth=1.6, transform=bar.ax.get_xaxis_transform())
    bar.outline.set_linewidth(0.5)
    bar.set_label("$r$: gain from the donor / gain from as much own data (1 = as good)", fontsize=8, labelpad=3)


def _draw_title(figure: "Figure", analysis: Analysis, layout: Layout) -> None:
    """What was measured, over the matrix."""
    from analysis.report import headline

    title = headline(analysis)
    room = layout.width - 0.3
    size = min(11.0, 72 * room / (0.56 * max(len(title), 1)))
    figure.text(0.15 / layout.width, 1 - 0.16 / layout.height, title, fontsize=size, va="top", ha="left",
                fontweight="bold")  # fmt: skip


def _draw_legend(figure: "Figure", cltm: CLTM, layout: Layout) -> None:
    """What hatched and crossed cells are, with their numbers; nothing if there are none."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=KEPT_OUT, edgecolor="#8c8c8c", linewidth=0.4, hatch=hatch * 2,
              label=f"{name.replace('_', ' ')} ({cltm.count(Status(name))})")
        for name, hatch in HATCHES.items() if cltm.count(Status(name))
    ]  # fmt: skip
    if cltm.count(Status.MISSING):
        handles.append(Line2D([], [], marker="x", color="#777777", linestyle="none", markersize=5,
                              label=f"missing ({cltm.count(Status.MISSING)})"))  # fmt: skip
    if handles:
        centre = (layout.left + layout.matrix / 2) / layout.width
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(centre, 0.04 / layout.height), ncols=3,
                      fontsize=7.5, frameon=False, handlelength=1.6, handleheight=1.0, columnspacing=1.4)  # fmt: skip
