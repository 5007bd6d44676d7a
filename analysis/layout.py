"""What the heatmap shows and how large its parts are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.analyse import Analysis
from analysis.clusters import Tree
from analysis.drawing import LETTER, Mark, family_marks, legend_lines
from analysis.matrix import Status
from analysis.palette import colour_limit
from analysis.uncertainty import Bools, Floats

NUMBERS_UP_TO = 20  # languages
HATCHES = {Status.UNDEFINED.value: "////", Status.NEGATIVE.value: "xxxx"}
SMALLEST = 3.4  # points: smaller names and numbers are left out
LARGEST_CELL = 0.75  # inches
NARROW = 5.0  # inches: below it families have no room for their names beside the matrix


@dataclass(frozen=True, eq=False)
class Shown:
    """What is drawn, rows and columns in the order of the view.

    Attributes:
        title: over the matrix.
        note: which part of the languages this is, or "".
        codes, families: n of each.
        values, errors, status: (n, n) each.
        beyond: whether cells of the matrix lie below and above the colour scale.
        limit: r at the ends of the colour scale.
        grouped: families stand together.
        tree: along the rows, or None.
    """

    title: str
    note: str
    codes: tuple[str, ...]
    families: tuple[str, ...]
    values: Floats
    errors: Floats
    status: NDArray[np.str_]
    beyond: tuple[bool, bool]
    limit: float
    grouped: bool
    tree: Tree | None

    @property
    def n(self) -> int:
        """Number of languages drawn."""
        return len(self.codes)

    def count(self, status: str) -> int:
        """Number of off-diagonal cells drawn with this status."""
        return int(((self.status == status) & off_diagonal(self.n)).sum())


def shown(analysis: Analysis) -> Shown:
    """What of an analysis is drawn; colours mean the same as in the whole matrix."""
    from analysis.report import headline

    cltm, view = analysis.cltm, analysis.view
    place, used = np.ix_(view.positions, view.positions), cltm.values[cltm.used]
    limit = colour_limit(used)
    return Shown(
        headline(analysis), view.note,
        codes=tuple(cltm.languages[i] for i in view.positions),
        families=tuple(cltm.families[i] for i in view.positions),
        values=cltm.values[place], errors=cltm.se[place], status=cltm.status[place],
        beyond=(bool((used < -limit).any()), bool((used > limit).any())), limit=limit,
        grouped=view.order == "family", tree=view.tree,
    )  # fmt: skip


def off_diagonal(n: int) -> Bools:
    """(n, n), True on the off-diagonal cells."""
    return ~np.eye(n, dtype=bool)


@dataclass(frozen=True)
class Layout:
    """Sizes in inches and points for a matrix of n languages.

    Attributes:
        cell: side of a cell.
        font: of language labels; 0 where there is no room for any.
        matrix: side of the matrix.
        left: room for target labels and the left family bar.
        right: room for the right family bar and its labels, or for the tree.
        top: room for title, donor labels and the top family bar.
        kinds: lines of the legend of cells without a colour, and `columns` of it.
        marks: a mark for each language where families have no names beside the matrix.
        families: lines of the legend of these marks.
        bar: width of a family bar.
    """

    cell: float
    font: float
    matrix: float
    left: float
    right: float
    top: float
    kinds: int
    marks: tuple[Mark, ...]
    bar: float = 0.09

    @property
    def width(self) -> float:
        """Of the figure."""
        return self.left + self.matrix + self.right

    @property
    def height(self) -> float:
        """Of the figure."""
        return self.top + self.matrix + self.bottom

    @property
    def columns(self) -> int:
        """Of the legends."""
        return max(1, int(self.width / 1.75))

    @property
    def families(self) -> float:
        """Room for the legend of families."""
        return 0.04 + 0.115 * legend_lines(self.marks, self.columns) if self.marks else 0.0

    @property
    def bottom(self) -> float:
        """Room for the colour bar and the legends."""
        return 0.72 + 0.2 * -(-self.kinds // self.columns) + self.families


def layout_of(drawn: Shown, width: float | None = None) -> Layout:
    """Sizes for a width in inches; without one, cells large enough for numbers or names."""
    n = drawn.n
    named = drawn.grouped and any(drawn.families) and (width is None or width >= NARROW)
    marks = family_marks(drawn.families) if any(drawn.families) and not named else ()
    kinds = sum(drawn.count(name) > 0 for name in (*HATCHES, Status.MISSING.value))
    cell = max(0.62 - 0.012 * n, 0.40) if n <= NUMBERS_UP_TO else max(0.10, min(0.20, 9.0 / n))
    font = min(9.0, max(4.6, 72 * cell * 0.72))
    labels, right = _room(drawn, font, named, width)
    left = labels + (0.5 if width is None else 0.36)
    for _ in range(8 if width is not None else 0):  # names take room from cells, and cells decide how large names are
        assert width is not None
        cell = min((width - left - right) / n, LARGEST_CELL)
        font = min(8.0, 72 * cell * 0.85)
        font = font if font >= SMALLEST else 0.0
        labels, right = _room(drawn, font, named, width)
        left = labels + 0.36
    matrix = max(cell * n, 2.4) if width is None else cell * n
    spare = 0.0 if width is None else (width - left - matrix - right) / 2
    top = labels + (0.80 if width is None else 0.66) + (0.13 if drawn.note else 0.0)
    return Layout(cell, font, matrix, left + spare, right + spare, top, kinds, marks)


def _room(drawn: Shown, font: float, named: bool, width: float | None) -> tuple[float, float]:
    """What codes take on the left and on top; what families' names or the tree take on the right."""
    labels = max(map(len, drawn.codes)) * font / 72 * 0.60 + 0.12
    if drawn.tree:
        return labels, 1.6 if width is None or width >= NARROW else 0.75
    if not named:
        return labels, 0.35 if width is None else 0.16
    return labels, max(map(len, drawn.families)) * family_font(font) / 72 * LETTER + (0.40 if width is None else 0.32)


def family_font(font: float) -> float:
    """Points of families' names, which are there even where languages have none."""
    return min(font or 4.8, 8.0)
