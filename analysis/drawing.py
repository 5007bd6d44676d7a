"""What the figures share: their widths, how they are written, marks for families, labels that do not collide.

A figure is a function of its width, so that text has the same size in a one-column and a two-column figure. Marks
differ in shape and lightness too, not only in hue, so that they can be told apart in grey.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.palette import FAMILIES, UNKNOWN_FAMILY
from analysis.uncertainty import Floats
from grids.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
STYLE: Any = {
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "cltm", "hatch.linewidth": 0.6,
    "hatch.color": "#8c8c8c", "font.family": "DejaVu Sans", "axes.linewidth": 0.6,
    "text.parse_math": False,  # a name may hold "$"
}  # fmt: skip
WIDTHS = {"1col": 3.5, "2col": 7.16}  # inches: one and two columns of an IEEE or ISCA page
DOTS_PER_INCH = 300  # of PNG files
FONT = 7.0  # points
SMALL = 5.5
INK = "#1a1a1a"
SOFT = "#6f6f6f"
LINE = "#c9c9c9"
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">")
OTHER = "other families"
OTHER_COLOUR = "#b5b5b5"
LETTER = 0.62  # width of a letter over the font size, DejaVu Sans, generously


@dataclass(frozen=True)
class Mark:
    """How a group of languages is drawn."""

    name: str
    colour: str
    shape: str


def write_figure(name: str, make: Callable[[float], "Figure"], out: Path) -> tuple[Path, ...]:
    """Writes a figure at every width as PDF, SVG and PNG, e.g. `map_1col.pdf`; returns the paths.

    Args:
        name: the stem.
        make: draws the figure for a width in inches.
        out: the folder.
    """
    written = (save_figure(f"{name}_{label}", partial(make, width), out) for label, width in WIDTHS.items())
    return tuple(path for paths in written for path in paths)


def save_figure(name: str, make: Callable[[], "Figure"], out: Path, dots: int = DOTS_PER_INCH) -> tuple[Path, ...]:
    """Writes one figure in every format of `SUFFIXES`, `dots` an inch in PNG; returns the paths."""
    import matplotlib

    paths = tuple(out / f"{name}{suffix}" for suffix in SUFFIXES)
    with matplotlib.rc_context(STYLE):
        figure = make()
        for path in paths:
            meta: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=dots, metadata=meta)
    return paths


def family_marks(families: Sequence[str]) -> tuple[Mark, ...]:
    """A mark for each language: the most frequent families get their own, the others share one."""
    count = Counter(name for name in families if name)
    named = sorted(count, key=lambda name: (-count[name], name))  # the same in every order of languages
    marks = {name: Mark(name, FAMILIES[k], SHAPES[k]) for k, name in enumerate(named[: len(SHAPES) - 1])}
    if len(named) == len(SHAPES):
        marks[named[-1]] = Mark(named[-1], FAMILIES[-1], SHAPES[-1])
    unknown = Mark("unknown", UNKNOWN_FAMILY, "o")
    other = Mark(OTHER, OTHER_COLOUR, ".")
    return tuple(marks.get(name, other) if name else unknown for name in families)


def numbered_marks(numbers: Sequence[int], word: str) -> tuple[Mark, ...]:
    """A mark for each language by the number of its group; groups of one share a mark."""
    count = Counter(numbers)
    alone = Mark(f"{word} of one", OTHER_COLOUR, "o")
    return tuple(
        alone if count[k] == 1 else Mark(f"{word} {k + 1}", FAMILIES[k % len(FAMILIES)], SHAPES[k % len(SHAPES)])
        for k in numbers
    )


def draw_points(axes: "Axes", places: Floats, marks: Sequence[Mark], sizes: Floats) -> None:
    """One mark a language; marks of large points are drawn first, so that small ones stay visible.

    Args:
        axes: to draw on.
        places: (L, 2) x and y, in data units.
        marks: L of them.
        sizes: (L,) areas in square points.
    """
    chosen = {mark: np.array([one == mark for one in marks]) for mark in dict.fromkeys(marks)}
    for mark, here in sorted(chosen.items(), key=lambda item: -float(sizes[item[1]].mean())):
        x, y = places[here].T
        axes.scatter(x, y, s=sizes[here], marker=mark.shape, color=mark.colour, edgecolor="white",
                     linewidth=0.4, zorder=3, clip_on=False)  # fmt: skip


def draw_legend(figure: "Figure", marks: Sequence[Mark], columns: int, y: float = 0.0) -> None:
    """The marks that occur, under the figure."""
    from matplotlib.lines import Line2D

    count = Counter(marks)
    seen = sorted(count, key=lambda mark: (mark.colour in (OTHER_COLOUR, UNKNOWN_FAMILY), -count[mark], mark.name))
    handles = [Line2D([], [], marker=m.shape, color=m.colour, linestyle="none", markersize=4.5, label=m.name,
                      markeredgecolor="white", markeredgewidth=0.3) for m in seen]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, y), ncols=columns, fontsize=SMALL,
                  frameon=False, handletextpad=0.2, columnspacing=0.8, borderaxespad=0.2)  # fmt: skip


def legend_lines(marks: Sequence[Mark], columns: int) -> int:
    """Lines that the legend takes."""
    return -(-len(set(marks)) // columns)


def draw_labels(
    axes: "Axes", places: Floats, names: Sequence[str], sizes: Floats, size: float, avoid: Floats | None = None
) -> int:
    """Writes each name beside its point where it hits neither a point nor another name, nor leaves the axes.

    Args:
        axes: with its final limits.
        places: (K, 2) in data coordinates.
        names: K texts, the most important first.
        sizes: (K,) areas of the marks, points squared.
        size: of the font, points.
        avoid: (M, 2) places in pixels that names cover only where nothing else is free.

    Returns:
        How many names found no room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    point = figure.dpi / 72
    centre = axes.transData.transform(places)
    half = np.sqrt(sizes)[:, None] / 2 * point
    box = axes.get_window_extent()
    taken = [(*(c - h), *(c + h)) for c, h in zip(centre, np.broadcast_to(half, centre.shape), strict=True)]
    soft = np.empty((0, 4)) if avoid is None else np.concatenate([avoid - point / 2, avoid + point / 2], axis=1)
    page = (box.x0, box.y0, box.x1, box.y1)
    left_off = 0
    for k, name in enumerate(names):
        width, height = LETTER * size * len(name) * point, 1.05 * size * point
        gap = float(half[k, 0]) + 0.8 * point
        hard = np.array(taken)
        found = _free(centre[k], width, height, gap, np.concatenate([hard, soft]), page)
        found = found or _free(centre[k], width, height, gap, hard, page)
        if found is None:
            left_off += 1
            continue
        taken.append(found)
        x, y = axes.transData.inverted().transform(((found[0] + found[2]) / 2, (found[1] + found[3]) / 2))
        axes.text(x, y, name, fontsize=size, ha="center", va="center", color=INK, zorder=4)
    return left_off


def plain_axes(axes: "Axes") -> None:
    """Thin lines, no frame on the right and on top, small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, length=2, width=0.5, pad=1.5)


def wrapped(notes: Sequence[str], width: float) -> list[str]:
    """Notes in lines that fit the width."""
    lines, room = [""], int(width * 72 / (SMALL * 0.56)) - 2
    for note in notes:
        joined = f"{lines[-1]}; {note}" if lines[-1] else note
        lines = [*lines[:-1], joined] if len(joined) <= room else [*lines, note]
    return lines


def _free(
    centre: Floats, width: float, height: float, gap: float, taken: Floats, page: tuple[float, float, float, float]
) -> tuple[float, float, float, float] | None:
    """The first box beside a point that is free, in pixels: right, left, above, below, then the corners."""
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        slant = 0.72 if dx and dy else 1.0
        x = float(centre[0]) + dx * (slant * gap + width / 2)
        y = float(centre[1]) + dy * (slant * gap + height / 2)
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        inside = box[0] >= page[0] and box[1] >= page[1] and box[2] <= page[2] and box[3] <= page[3]
        hit = (taken[:, 0] < box[2]) & (taken[:, 2] > box[0]) & (taken[:, 1] < box[3]) & (taken[:, 3] > box[1])
        if inside and not hit.any():
            return box
    return None
