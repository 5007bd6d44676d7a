"""Writes what learning curves say: `interval.json`, the figure and one page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.curves import PAPER_IQR, USABLE_G
from analysis.diagnostics import known
from analysis.drawing import write_figure
from analysis.interval import Intervals
from analysis.page import DASH, Page, Section, computed_from, number, write_page
from grids.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS: tuple[tuple[float, float], ...] = ((12, 1.75), (60, 1.2), (np.inf, 0.9))  # up to so many languages: inches
BLUE, ORANGE, GREY = "#22639b", "#b85a14", "#6f6f6f"
LINES: dict[str, Any] = {"power": "-", "logistic": "--"}


def write_interval(found: Intervals, out: Path) -> tuple[Path, ...]:
    """Writes everything into `out`, which exists, and returns the paths."""
    tables = write_tables(found, out)
    figures = write_figure("interval", lambda width: curves_figure(found, width), out)
    return (*tables, *figures, write_page(_page(found, out), out / "interval.html"))


def write_tables(found: Intervals, out: Path) -> tuple[Path, ...]:
    """Writes `interval.json`."""
    write_atomically(out / "interval.json", interval_text(found))
    return (out / "interval.json",)


def headline(found: Intervals) -> str:
    """Grid, task, metric and size in one line."""
    curves = found.curves
    parts = [found.plan.name, found.plan.task, curves.metric, f"{len(curves.languages)} languages",
             f"{len(curves.sizes)} sizes", f"{len(curves.seeds)} seeds"]  # fmt: skip
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def recommendation(found: Intervals) -> tuple[str, ...]:
    """The N, whom it fails, and the published rule's N, a sentence each."""
    choice, paper = found.choice, found.paper
    count = len(found.curves.languages)
    if choice.size is None:
        first = "No N is usable for any language: the gain of a doubling can't be told from 0 well enough."
    elif not choice.failed:
        first = f"N = {choice.size} serves all {count} languages; it is the smallest that does."
    else:
        first = f"No N serves all; N = {choice.size} serves {len(choice.served)} of {count}, the most."
        first += f" It fails {', '.join(choice.failed)}."
    lines = [first]
    if found.failed and choice.size is not None:
        lines.append(f"No size is usable for {', '.join(found.failed)}.")
    lines.append(
        f"The published rule (paper) takes N = {paper.size}." if paper.size else "The published rule gives no N."
    )
    return tuple(lines)


def usable_text(sizes: tuple[int, ...]) -> str:
    """A language's usable sizes."""
    return ", ".join(map(str, sizes)) or "none"


def interval_text(found: Intervals) -> str:
    """`interval.json`: fractions, null where something can't be known."""
    curves, d, provenance = found.curves, found.doublings, found.provenance
    document = {
        "kind": "interval",
        "grid": found.plan.name,
        "task": found.plan.task or None,
        "metric": curves.metric,
        "inverted": curves.inverted,
        "sizes": list(curves.sizes),
        "seeds": list(curves.seeds),
        "rule": {"g_at_most": USABLE_G, "gain": "P(2N) - P(N) > 0"},
        "recommended": {
            "n": found.choice.size, "served": list(found.choice.served), "failed": list(found.choice.failed),
        },
        "never_usable": list(found.failed),
        "paper": {
            "n": found.paper.size,
            "median": dict(zip(map(str, found.paper.sizes), found.paper.medians, strict=True)),
            "left_out": list(found.paper.outliers),
            "index": {code: {str(n): known(value) for n, value in zip(d.sizes, row, strict=True)}
                      for code, row in zip(curves.languages, d.paper, strict=True)},
        },
        "languages": [_language(found, i) for i in range(len(curves.languages))],
        "holes": [{"language": code, "size": size, "seed": seed} for code, size, seed in found.holes],
        "exclude": {one.language: one.reason for one in found.plan.exclude},
        "notes": list(found.notes),
        "source": {"file": provenance.file, "sha256": provenance.sha256, "config_sha": list(provenance.config_sha)},
    }  # fmt: skip
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _language(found: Intervals, i: int) -> dict[str, Any]:
    """One language's entry."""
    p, d, curves = found.points, found.doublings, found.curves
    fits = {fit.kind: fit for fit in found.fits[i]}
    return {
        "language": curves.languages[i],
        "points": [
            {"n": size, "mean": known(p.mean[i, k]), "sd": known(p.sd[i, k]), "seeds": int(p.count[i, k]),
             "lower": known(p.lower[i, k]), "upper": known(p.upper[i, k])}
            for k, size in enumerate(curves.sizes)
        ],
        "doublings": [
            {"n": size, "gain": known(d.gain[i, j]), "se": known(d.se[i, j]), "g": known(d.g[i, j]),
             "usable": bool(d.usable[i, j])}
            for j, size in enumerate(d.sizes)
        ],
        "usable": list(found.usable(i)),
        "fits": {
            kind: None if (fit := fits.get(kind)) is None else
            {"a": fit.parameters[0], "b": fit.parameters[1], "c": fit.parameters[2], "errors": list(fit.errors),
             "r2": fit.r2, "rmse": fit.rmse, "at_bound": fit.at_bound}
            for kind in LINES
        },
    }  # fmt: skip


def curves_figure(found: Intervals, width: float) -> "Figure":
    """A panel a language: means with intervals, fitted curves, and shaded what is usable; width in inches."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    count = len(found.curves.languages)
    panel = next(size for languages, size in PANELS if count <= languages)
    columns = min(round(width / panel), count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, 0.95 * panel * rows + 0.75), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for place, axes in enumerate(panels.flat):
        axes.set_visible(place < count)
        if place < count:
            _draw_language(axes, found, place)
            axes.tick_params(axis="x", rotation=90 if panel < 1 or len(found.curves.sizes) > 5 else 0)
            axes.tick_params(labelbottom=place + columns >= count)  # the lowest of its column has the numbers
    figure.supxlabel("N, samples of a block", fontsize=8)
    figure.supylabel(found.curves.metric + (" (1 − e)" if found.curves.inverted else ""), fontsize=8)
    handles = [
        Line2D([], [], color=BLUE, marker="o", markersize=3, linestyle="none", label="mean, 95 % over seeds"),
        *(Line2D([], [], color=GREY, linestyle=style, linewidth=1, label=name) for name, style in LINES.items()),
        Patch(facecolor=ORANGE, alpha=0.18, label="N to 2N usable"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4 if columns > 2 else 2, fontsize=7, frameon=False)
    return figure


def _draw_language(axes: "Axes", found: Intervals, i: int) -> None:
    """One panel."""
    p, sizes = found.points, np.array(found.curves.sizes, dtype=np.float64)
    for size in found.usable(i):
        axes.axvspan(size, 2 * size, color=ORANGE, alpha=0.18, linewidth=0)
    error = np.nan_to_num(np.stack([p.mean[i] - p.lower[i], p.upper[i] - p.mean[i]]))
    there = np.isfinite(p.mean[i])
    style: Any = {"fmt": "o", "color": BLUE, "markersize": 3, "linewidth": 0.9, "capsize": 1.5}
    axes.errorbar(sizes[there], p.mean[i][there], yerr=error[:, there], **style)
    dense = np.geomspace(sizes[0], sizes[-1], 80)
    for fit in found.fits[i]:
        axes.plot(dense, fit(dense), LINES[fit.kind], color=GREY, linewidth=0.9, zorder=0)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{int(size)}" for size in sizes])
    axes.minorticks_off()
    axes.tick_params(labelsize=6, length=2)
    axes.locator_params(axis="y", nbins=4)
    axes.set_title(found.curves.languages[i], fontsize=8, pad=3)


def _page(found: Intervals, out: Path) -> Page:
    """The page."""
    d, curves = found.doublings, found.curves
    rows = [
        (code, str(size), number(d.gain[i, j], 4), number(d.se[i, j], 4), number(d.g[i, j], 2),
         "yes" if d.usable[i, j] else "no", number(d.paper[i, j], 2))
        for i, code in enumerate(curves.languages) for j, size in enumerate(d.sizes)
    ]  # fmt: skip
    overview = [(code, usable_text(found.usable(i)), *_fit_cells(found, i)) for i, code in enumerate(curves.languages)]
    lead = (
        "A matrix divides by the self-gain P(2N) − P(N). N is usable for a language when that gain is above 0 and "
        f"g = q² s² / d² is at most {USABLE_G}: the gain is then at least twice what it needs to be told from 0.",
        *recommendation(found),
    )
    sections = (
        Section("Learning curves", figure=out / "interval_2col.svg"),
        Section("Languages", "R² of the two curves of three parameters; a dash where none could be fitted, and * where "
                "a parameter lies at the edge of what was allowed.",
                header=("Language", "Usable N", "Power law R²", "Logistic R²"), rows=tuple(overview), texts=(0, 1)),
        Section("Doublings", "paper: the published index, good from 1 on. Its N is the largest smoothed median over "
                f"languages, medians beyond {PAPER_IQR} interquartile ranges left out.",
                header=("Language", "N", "Gain", "SE", "g", "Usable", "paper"), rows=tuple(rows)),
        *_holes_section(found),
    )  # fmt: skip
    return Page(headline(found), lead, found.notes, sections, computed_from(found.provenance))


def _holes_section(found: Intervals) -> tuple[Section, ...]:
    """The missing scores, if there are any."""
    rows = tuple((code, str(size), str(seed)) for code, size, seed in found.holes)
    return (Section("Missing scores", header=("Language", "N", "Seed"), rows=rows),) if rows else ()


def _fit_cells(found: Intervals, i: int) -> tuple[str, str]:
    """R² of the power law and of the logistic."""
    fits = {fit.kind: fit for fit in found.fits[i]}
    cells = [DASH if (fit := fits.get(kind)) is None else number(fit.r2) + "*" * fit.at_bound for kind in LINES]
    return cells[0], cells[1]
