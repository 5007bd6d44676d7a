"""Writes a comparison: `compare.json`, `compare_cells.csv`, a scatter figure and a self-contained page."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.compare import Comparison
from analysis.comparison import Cell, Pair, Row, Side
from analysis.drawing import FONT, INK, LINE, SMALL, SOFT, draw_labels, plain_axes, write_figure
from analysis.page import DASH, Page, Section, number, write_page
from grids.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JSON_FILE, CELLS_FILE, PAGE_FILE = "compare.json", "compare_cells.csv", "compare.html"
CELLS_SHOWN = 40  # on the page; the CSV has all
NAMED_CELLS = 6  # in a panel with few enough cells
NAMED_UP_TO = 400
ONE_SCALE_UP_TO = 3.0  # times the other matrix's span; beyond, each axis has its own scale
RASTER_FROM = 2000  # cells in a panel
SHOWN_PERCENTILES = (0.5, 99.5)
SAME, DIFFERENT, OTHER = "#22639b", "#b85a14", "#b5b5b5"


def write_comparison(found: Comparison, out: Path) -> tuple[Path, ...]:
    """Writes everything into `out`, which exists, and returns the paths."""
    tables = write_tables(found, out)
    figures = write_figure("compare", lambda width: scatter_figure(found, width), out)
    page = write_page(comparison_page(found, out / "compare_2col.svg"), out / PAGE_FILE)
    return (*tables, *figures, page)


def write_tables(found: Comparison, out: Path) -> tuple[Path, ...]:
    """Writes `compare.json` and `compare_cells.csv`."""
    write_atomically(out / JSON_FILE, json_text(found))
    write_atomically(out / CELLS_FILE, cells_text(found))
    return out / JSON_FILE, out / CELLS_FILE


def json_text(found: Comparison) -> str:
    """`compare.json`: matrices, shared languages, pairs; null where something is not known."""
    pairs = []
    for pair in found.pairs:
        table = {name: value for name, value in vars(pair).items() if name not in ("cells", "plain", "corrected")}
        differing = [asdict(cell) for cell in differing_cells(pair)]
        plain, corrected = ([asdict(row) for row in rows] for rows in (pair.plain, pair.corrected))
        pairs.append({**table, "differing": len(differing), "differing_cells": differing, "aggregates": plain,
                      "noise_corrected": corrected})  # fmt: skip
    matrices = [_matrix(one, only) for one, only in zip(found.sides, found.only, strict=True)]
    content = {"languages": list(found.languages), "matrices": matrices, "pairs": pairs}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def cells_text(found: Comparison) -> str:
    """`compare_cells.csv`: every shared cell of every pair."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["target", "donor", "value_one", "value_other", "difference", "se", "p", "p_adjusted", "differs"]
    writer.writerow(["one", "other", *header])
    for pair in found.pairs:
        for cell in pair.cells:
            numbers = (cell.one, cell.other, cell.difference, cell.se, cell.p, cell.p_adjusted)
            differs = "" if cell.p is None else str(cell.differs).lower()
            writer.writerow([pair.one, pair.other, cell.target, cell.donor,
                             *("" if value is None else repr(value) for value in numbers), differs])  # fmt: skip
    return text.getvalue()


def differing_cells(pair: Pair) -> tuple[Cell, ...]:
    """The cells that differ after the adjustment, the surest first."""
    return tuple(sorted((cell for cell in pair.cells if cell.differs), key=lambda cell: cell.p or 0.0))


def pair_line(pair: Pair) -> str:
    """A pair in one line."""
    ceiling = "unknown" if pair.ceiling is None else f"{pair.ceiling:.2f}"
    differ = f"{len(differing_cells(pair))} of {pair.tested} cells differ" if pair.tested else "no cell can be tested"
    found = "unknown" if pair.residual_correlation is None else f"{pair.residual_correlation:.2f}"
    p = "" if pair.p is None else f" (p = {pair.p:.3g})"
    return f"{pair.one} and {pair.other}: residual correlation {found}{p}, noise ceiling {ceiling}; {differ}"


def scatter_figure(found: Comparison, width: float) -> "Figure":
    """A panel a pair: each shared cell in one matrix against the other."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    count = len(found.pairs)
    columns = min(count, 3 if width > 5 else 2 if count > 1 else 1)
    lines = -(-count // columns)
    panel = min(width / columns, 4.4)
    height = panel * lines + 0.20
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(lines, columns, left=0.44 / width, right=1 - 0.10 / width, top=1 - 0.28 / height,
                               bottom=0.54 / height, wspace=0.44 / panel * 1.4, hspace=0.62 / panel * 1.3)  # fmt: skip
    same = _same_family(found.sides[0])
    for k, pair in enumerate(found.pairs):
        axes = figure.add_subplot(grid[k // columns, k % columns])
        sides = {one.name: one for one in found.sides}
        _draw_pair(axes, pair, sides[pair.one], sides[pair.other], same)
    entries = [("same family", SAME, "o"), ("other cells", OTHER, "o"), ("differs (5 % BH)", DIFFERENT, "^")]
    absent = {SAME: not same.any(), DIFFERENT: not any(pair.tested for pair in found.pairs)}
    handles = [Line2D([], [], marker=shape, color=colour, linestyle="none", markersize=3.5, label=name)
               for name, colour, shape in entries if not absent.get(colour)]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=SMALL, frameon=False, handletextpad=0.1,
                  columnspacing=1.0, borderaxespad=0.2)  # fmt: skip
    return figure


def comparison_page(found: Comparison, figure: Path) -> Page:
    """The page: what was compared, the figure, and for each pair its numbers, its cells and its aggregates."""
    matrices = Section(
        "Matrices", header=("Matrix", "Metric", "Seeds", "Languages not shared", "File", "SHA-256"),
        texts=(0, 1, 3, 4, 5),
        rows=tuple((one.name, one.metric or DASH, str(len(one.scores.seeds)) if one.scores else DASH,
                    ", ".join(only) or "none", one.provenance.file if one.provenance else DASH,
                    one.provenance.sha256[:16] if one.provenance else DASH)
                   for one, only in zip(found.sides, found.only, strict=True)),
    )  # fmt: skip
    scatter = Section("Cells", "Each point is a cell of two languages; the line is equality.", figure)
    sections = [matrices, _agreement(found), scatter]
    for pair in found.pairs:
        sections += _pair_sections(pair)
    notes = tuple(f"{pair.one} and {pair.other}: {note}" for pair in found.pairs for note in pair.notes)
    title = f"Compared: {', '.join(one.name for one in found.sides)}"
    lead = (f"{len(found.languages)} languages are in every matrix: {', '.join(found.languages)}.",)
    foot = "Errors of two matrices are taken as independent; where trials share seeds and data, the tests are cautious."
    return Page(title, lead, tuple(dict.fromkeys(notes)), tuple(sections), foot)


def _agreement(found: Comparison) -> Section:
    """One line a pair."""
    text = (
        "Residuals are what is left of the cells when the effects of target and donor are taken out. The ceiling is "
        "the correlation that the seeds' noise would leave of a perfect agreement; p permutes one side's languages."
    )
    header = ("Pair", "Shared cells", "r of cells", "r of residuals", "p", "Ceiling", "r / ceiling", "Cells differ")
    rows = []
    for pair in found.pairs:
        differ = f"{len(differing_cells(pair))} of {pair.tested}" if pair.tested else DASH
        rows.append((f"{pair.one} and {pair.other}", str(pair.shared_cells), number(pair.cell_correlation, 2),
                     number(pair.residual_correlation, 2), number(pair.p), number(pair.ceiling, 2),
                     number(pair.beyond_noise, 2), differ))  # fmt: skip
    return Section("Agreement", text, header=header, rows=tuple(rows))


def _pair_sections(pair: Pair) -> list[Section]:
    """Aggregates and cells of a pair."""
    title = f"{pair.one} and {pair.other}"
    sections = []
    head = ("Statistic", pair.one, pair.other, "Difference", "95 %")
    if pair.corrected:
        text = "Over the shared cells; corrected for the seeds' noise by leaving out one seed at a time."
        rows = tuple(_row(row) for row in pair.corrected)
        sections.append(Section(f"{title}: noise-corrected statistics", text, header=head, rows=rows))
    if pair.plain:
        text = "As in each matrix's own report. They hold the noise of their seeds, so a difference may be noise."
        rows = tuple(_row(row)[:4] for row in pair.plain)
        sections.append(Section(f"{title}: aggregates", text, header=head[:4], rows=rows))
    return [*sections, *_cells_section(pair)]


def _cells_section(pair: Pair) -> list[Section]:
    """The cells that differ, if there are any."""
    differing = differing_cells(pair)
    if not differing:
        return []
    more = f" The first {CELLS_SHOWN} of {len(differing)}." if len(differing) > CELLS_SHOWN else ""
    rows = []
    for cell in differing[:CELLS_SHOWN]:
        numbers = (cell.one, cell.other, cell.difference, cell.se)
        rows.append((cell.target, cell.donor, *(number(value, 2) for value in numbers), f"{cell.p_adjusted:.2g}"))
    header = ("Target", "Donor", pair.one, pair.other, "Difference", "SE", "Adjusted p")
    text = f"Student's t of the difference, Benjamini-Hochberg at 5 %.{more}"
    title = f"{pair.one} and {pair.other}: cells that differ"
    return [Section(title, text, header=header, rows=tuple(rows), texts=(0, 1))]


def _row(row: Row) -> tuple[str, ...]:
    """A statistic as people read it."""
    scale, unit = (100.0, " %") if row.percent else (1.0, "")
    digits = 2 if row.percent else 3

    def text(value: float | int | None) -> str:
        return str(value) if isinstance(value, int) else DASH if value is None else number(scale * value, digits) + unit

    interval = f"[{text(row.lower)}, {text(row.upper)}]" if row.lower is not None else DASH
    whole = isinstance(row.one, int) and isinstance(row.other, int)
    return row.title, text(row.one), text(row.other), text(row.one - row.other if whole else row.difference), interval  # type: ignore[operator]


def _draw_pair(axes: "Axes", pair: Pair, one: Side, other: Side, same: Any) -> None:
    """The scatter of one pair; cells beyond the outer percentiles lie on the edge."""
    both = np.isfinite(one.values) & np.isfinite(other.values)
    places = np.stack([one.values[both], other.values[both]], axis=1)
    bounds = [np.percentile(column, SHOWN_PERCENTILES) for column in places.T] if len(places) else [(0.0, 1.0)] * 2
    spans = [max(float(top - bottom), 1e-9) for bottom, top in bounds]
    square = bool(pair.cells) and max(spans) <= ONE_SCALE_UP_TO * min(spans)
    if square:  # one scale, so that equality is a diagonal
        bounds = [(min(low for low, _ in bounds), max(high for _, high in bounds))] * 2
    low, high = (np.array([bound[k] for bound in bounds]) for k in (0, 1))
    room = 0.05 * np.maximum(high - low, 1e-9)
    shown = np.clip(places, low - 0.6 * room, high + 0.6 * room)
    differs = _grid(pair, one)[both]
    raster, size = len(places) > RASTER_FROM, float(np.clip(4000 / max(len(places), 1), 0.8, 9))
    for chosen, colour, shape, times in ((~same[both] & ~differs, OTHER, "o", 1), (differs, DIFFERENT, "^", 1.6),
                                         (same[both] & ~differs, SAME, "o", 1.6)):  # fmt: skip
        x, y = shown[chosen].T
        axes.scatter(x, y, s=times * size, color=colour, marker=shape, linewidth=0, rasterized=raster)
    axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
    if pair.cells:
        axes.axline((0, 0), slope=1, color=SOFT, linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
    if square:
        axes.set_aspect("equal")
        axes.apply_aspect()  # names are placed in pixels
    for draw in (axes.axhline, axes.axvline):
        draw(0, color=LINE, linewidth=0.5, zorder=0)
    first = differing_cells(pair)[: NAMED_CELLS if len(places) <= NAMED_UP_TO else 0]
    named = np.array([[cell.one, cell.other] for cell in first]).reshape(-1, 2)
    texts = [f"{cell.target} \N{LEFTWARDS ARROW} {cell.donor}" for cell in first]
    draw_labels(axes, np.clip(named, low - 0.6 * room, high + 0.6 * room), texts, np.full(len(first), 7.0), SMALL)
    axes.set_xlabel(pair.one, fontsize=FONT, labelpad=2)
    axes.set_ylabel(pair.other, fontsize=FONT, labelpad=2)
    r = pair.residual_correlation
    found = "residuals: r unknown" if r is None else f"residuals: r = {r:.2f}"
    ceiling = "" if pair.ceiling is None else f", ceiling {pair.ceiling:.2f}"
    axes.set_title(found.replace("-", "\N{MINUS SIGN}") + ceiling, fontsize=SMALL, color=INK, loc="left", pad=3)
    plain_axes(axes)


def _grid(pair: Pair, one: Side) -> Any:
    """(L, L) which cells differ."""
    place = {code: i for i, code in enumerate(one.languages)}
    out = np.zeros((len(place), len(place)), dtype=bool)
    for cell in pair.cells:
        out[place[cell.target], place[cell.donor]] = cell.differs
    return out


def _same_family(one: Side) -> Any:
    """(L, L) cells inside a known family."""
    from analysis.families import groups

    group = np.array(groups(one.families))
    return (group[:, None] == group[None, :]) & ~np.eye(len(group), dtype=bool)


def _matrix(one: Side, only: tuple[str, ...]) -> dict[str, Any]:
    """A matrix in `compare.json`."""
    return {
        "name": one.name,
        "kind": "raw" if one.cltm is None else "normalised",
        "metric": one.metric or None,
        "seeds": list(one.scores.seeds) if one.scores else None,
        "languages_not_shared": list(only),
        "file": one.provenance.file if one.provenance else None,
        "sha256": one.provenance.sha256 if one.provenance else None,
    }
