"""Writes what embeddings say: `geometry.json`, `pairs.csv`, square distance CSVs, the figure and one page."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.centroids import RankTest
from analysis.diagnostics import known
from analysis.drawing import write_figure
from analysis.geometry import Found
from analysis.matrix_csv import matrix_text
from analysis.page import DASH, Page, Section, computed_from, number, write_page
from analysis.palette import family_order
from grids.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROW = 4.0  # inches; panels then stand one over the other
NAMES_ALONG = 30  # a side of the map of distances
RASTER_FROM = 2000  # points in a panel
KINDS = ((False, "#a8a8a8", "o"), (True, "#8a3d06", "^"))  # of pairs: inside a family or not; differ in grey too
PAIRS_SHOWN = 2000  # on the page; pairs.csv has all
PAIR = ("target", "donor", "euclidean", "euclidean_se", "cosine", "cosine_se", "r")


def write_geometry(found: Found, out: Path) -> tuple[Path, ...]:
    """Writes everything into `out`, which exists, and returns the paths."""
    tables = write_tables(found, out)
    figures = write_figure("geometry", lambda width: geometry_figure(found, width), out)
    return (*tables, *figures, write_page(_page(found, out), out / "geometry.html"))


def write_tables(found: Found, out: Path) -> tuple[Path, ...]:
    """Writes `geometry.json`, the pairs and the square distances."""
    g = found.geometry
    texts = {
        "geometry.json": geometry_text(found), "pairs.csv": pairs_text(found),
        "distance_euclidean.csv": matrix_text(g.languages, g.euclidean),
        "distance_cosine.csv": matrix_text(g.languages, g.cosine),
    }  # fmt: skip
    for name, text in texts.items():
        write_atomically(out / name, text)
    return tuple(out / name for name in texts)


def correlation_text(test: RankTest) -> str:
    """A correlation in one line."""
    if test.rho is None:
        return f"{test.distance} centroid distance against r: not known ({test.cells} cells)"
    how = f"all {test.orders} orders" if test.exact else f"{test.orders} orders"
    return (f"{test.distance} centroid distance against r: Spearman {number(test.rho)}, p {number(test.p, 4)} "
            f"({test.cells} cells, {how} of the languages)")  # fmt: skip


def geometry_text(found: Found) -> str:
    """`geometry.json`: null where something can't be known."""
    g, provenance = found.geometry, found.provenance
    document = {
        "kind": "geometry",
        "grid": found.plan.name,
        "task": found.plan.task or None,
        "models": g.models,
        "mixtures": g.mixtures,
        "seeds": list(g.seeds),
        "tests": [asdict(test) for test in found.tests],
        "languages": [
            {"language": code, "clips": int(g.clips[i]), "within_euclidean": known(g.within_euclidean[i]),
             "within_cosine": known(g.within_cosine[i])}
            for i, code in enumerate(g.languages)
        ],
        "notes": list(found.notes),
        "source": {"file": provenance.file, "sha256": provenance.sha256, "config_sha": list(provenance.config_sha)},
    }  # fmt: skip
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def pairs_text(found: Found) -> str:
    """`pairs.csv`: every (target, donor) with its distances and r; an empty cell is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PAIR)
    writer.writerows([*row[:2], *("" if value is None else repr(value) for value in row[2:])] for row in _pairs(found))
    return text.getvalue()


def _pairs(found: Found) -> list[tuple[str, str, float | None, float | None, float | None, float | None, float | None]]:
    """The rows of `PAIR`."""
    g = found.geometry
    r = found.cltm.values if found.cltm is not None else np.full_like(g.cosine, np.nan)
    return [
        (one, other, known(g.euclidean[i, j]), known(g.euclidean_se[i, j]), known(g.cosine[i, j]),
         known(g.cosine_se[i, j]), known(r[i, j]))
        for i, one in enumerate(g.languages) for j, other in enumerate(g.languages) if i != j
    ]  # fmt: skip


def geometry_figure(found: Found, width: float) -> "Figure":
    """Cosine distances as a map of cells, and both distances against r where there is a matrix; width in inches."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = 1 + 2 * (found.cltm is not None)
    beside = width > NARROW
    figure = Figure(figsize=(width, 2.6 if beside and panels == 3 else 2.7 * panels), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, panels) if beside else figure.subplots(panels, 1))
    _draw_distances(axes[0], found)
    if found.cltm is not None:
        for place, name in enumerate(("euclidean", "cosine"), start=1):
            _draw_against_r(axes[place], found, name)
        if found.cltm.same_family.any():
            handles = [
                Line2D([], [], marker=shape, color=colour, linestyle="none", markersize=4,
                       label="one family" if inside else "other pairs")
                for inside, colour, shape in KINDS
            ]  # fmt: skip
            figure.legend(handles=handles, loc="outside lower right", ncols=2, fontsize=7, frameon=False)
    return figure


def _draw_distances(axes: "Axes", found: Found) -> None:
    """Cosine distance of centroids, families together."""
    g = found.geometry
    families = found.cltm.families if found.cltm is not None else ("",) * len(g.languages)
    order = family_order(families)
    values = np.ma.masked_invalid(g.cosine[np.ix_(order, order)])
    drawn = axes.imshow(values, cmap="cividis_r")
    step = -(-len(order) // NAMES_ALONG)  # more names than that can't be read
    font, places = min(7.0, max(3.5, 110 / len(order))), range(0, len(order), step)
    codes = [g.languages[order[i]] for i in places]
    axes.set_xticks(places, codes, rotation=90, fontsize=font)
    axes.set_yticks(places, codes, fontsize=font)
    axes.tick_params(length=0)
    axes.set_title("cosine distance of centroids", fontsize=8)
    assert axes.figure is not None
    axes.figure.colorbar(drawn, ax=axes, shrink=0.7).ax.tick_params(labelsize=6)


def _draw_against_r(axes: "Axes", found: Found, name: str) -> None:
    """A point a cell; pairs inside a family stand out."""
    assert found.cltm is not None
    distance, r = getattr(found.geometry, name), found.cltm.values
    there = np.isfinite(distance) & np.isfinite(r) & found.cltm.off_diagonal
    size = float(np.clip(600 / max(int(there.sum()), 1), 2, 16))
    for inside, colour, shape in KINDS:
        cells = there & (found.cltm.same_family == inside)
        axes.scatter(distance[cells], r[cells], s=size * (1 + 2 * inside), color=colour, marker=shape, linewidth=0,
                     alpha=0.8, rasterized=int(there.sum()) > RASTER_FROM)  # fmt: skip
    axes.axhline(0, color="#1a1a1a", linewidth=0.5)
    axes.set_xlabel(f"{name} distance", fontsize=7)
    axes.set_ylabel("$r$", fontsize=7, parse_math=True)
    axes.tick_params(labelsize=6, length=2)
    test = next(test for test in found.tests if test.distance == name)
    axes.set_title(f"Spearman {number(test.rho, 2)}, p {number(test.p, 3)}", fontsize=8)


def _page(found: Found, out: Path) -> Page:
    """The page."""
    g, plan = found.geometry, found.plan
    title = " \N{MIDDLE DOT} ".join(part for part in (plan.name, plan.task, "geometry of embeddings") if part)
    which = (
        "models that embed every language"
        if g.models == "common"
        else "the model trained on the two languages of a pair"
    )
    lead = (
        "A language's centroid is the mean embedding of its test clips. Distances are taken inside one model, since "
        f"two models have two spaces, and averaged over models, then over {len(g.seeds)} seeds. Models: {which} "
        f"({g.mixtures} mixtures).",
        *(correlation_text(test) + "." for test in found.tests),
    )
    languages = tuple(
        (code, str(int(g.clips[i])), number(g.within_euclidean[i], 4), number(g.within_cosine[i], 4))
        for i, code in enumerate(g.languages)
    )
    pairs = _pairs(found)
    rows = tuple((row[0], row[1], *(number(value, 4) for value in row[2:])) for row in pairs[:PAIRS_SHOWN])
    more = f"The first {PAIRS_SHOWN} of {len(pairs)}; pairs.csv has all. " if len(pairs) > PAIRS_SHOWN else ""
    sections = (
        Section("Distances", figure=out / "geometry_2col.svg"),
        Section("Languages", "Within: mean distance of a clip to its language's centroid.",
                header=("Language", "Clips", "Within, Euclidean", "Within, cosine"), rows=languages),
        Section("Pairs", f"{more}SE over seeds; {DASH} where not known or kept out of the matrix.",
                header=("Target", "Donor", "Euclidean", "SE", "Cosine", "SE", "r"), rows=rows, texts=(0, 1)),
    )  # fmt: skip
    return Page(title, lead, found.notes, sections, computed_from(found.provenance))
