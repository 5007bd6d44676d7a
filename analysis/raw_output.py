"""Writes what a matrix without self-gain says: `matrix.csv`, `summary.json`, the heatmap and a page."""

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.drawing import write_figure
from analysis.matrix_csv import matrix_text
from analysis.page import Page, Section, computed_from, number, write_page
from analysis.palette import NEGATIVE_STOPS, POSITIVE_STOPS, ink
from analysis.raw import KIND, RawSummary, summarise_raw
from analysis.scores import RawMatrix, Source
from grids.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS_FROM = 0.28  # inches, side of a cell
LETTERS_AN_INCH = 14  # of the title, over the whole width: it ends where the matrix does


def raw_headline(source: Source) -> str:
    """Grid, task, metric, kind and size in one line."""
    raw = _content(source)
    what = "raw gains" if raw.gains else "raw scores"
    seeds = f"{len(raw.seeds)} seed{'s' * (len(raw.seeds) != 1)}"
    said = (source.plan.name, source.plan.task, raw.metric, source.provenance.condition, what)
    parts = [*said, f"{len(raw.languages)} languages", seeds]
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def raw_lines(source: Source) -> tuple[tuple[str, str], ...]:
    """The summary's numbers as people read them."""
    summary = summarise_raw(_content(source))
    names = ("mean", "median", "smallest", "largest", "median_se", "asymmetry")
    lines = [(name.replace("_", " "), _with_interval(summary, name)) for name in names]
    if summary.positive is not None:
        lines.append(("positive", f"{100 * summary.positive:.1f} %"))
    for name in ("positive_beyond_error", "negative_beyond_error", "known_cells", "missing_cells"):
        value = getattr(summary, name)
        if value is not None:
            lines.append((name.replace("_", " "), str(value)))
    return tuple(lines)


def _with_interval(summary: RawSummary, name: str) -> str:
    """A number, and its interval over seeds where there is one."""
    interval = getattr(summary, f"{name}_interval", None)
    if interval is None:
        return number(getattr(summary, name), 4)
    what = "without noise 95 %" if name == "asymmetry" else "95 %"
    return f"{number(getattr(summary, name), 4)}, {what} [{number(interval[0], 4)}, {number(interval[1], 4)}]"


def write_raw_tables(source: Source, out: Path) -> tuple[Path, ...]:
    """Writes `summary.json` and `matrix.csv`."""
    raw, provenance = _content(source), source.provenance
    summary = {
        "kind": KIND,
        "values": "P(i+j) - P(i)" if raw.gains else "score of the target with the other language",
        "metric": raw.metric,
        "condition": provenance.condition or None,
        "inverted": raw.inverted,
        "grid": source.plan.name,
        "task": source.plan.task or None,
        "seeds": list(raw.seeds),
        **asdict(summarise_raw(raw)),
        "exclude": {one.language: one.reason for one in source.plan.exclude},
        "source": {"file": provenance.file, "sha256": provenance.sha256, "config_sha": list(provenance.config_sha)},
    }
    write_atomically(out / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(out / "matrix.csv", matrix_text(raw.languages, raw.values))
    return out / "summary.json", out / "matrix.csv"


def write_raw(source: Source, out: Path) -> tuple[Path, ...]:
    """Writes tables, heatmap and page into `out`, which exists."""
    tables = write_raw_tables(source, out)
    figures = write_figure("heatmap", lambda width: raw_heatmap(_content(source), raw_headline(source), width), out)
    return (*tables, *figures, _page(source, out))


def _page(source: Source, out: Path) -> Path:
    """The page."""
    raw, summary = _content(source), summarise_raw(_content(source))
    meaning = (
        "A cell is P(i+j) − P(i), the target's gain from a block of the donor's data, in units of the metric."
        if raw.gains
        else "A cell is the score of the row's language with the column's: trained together, by a model of the "
        "column's alone (zero-shot), or as its condition."
    )
    lead = (meaning, "There is no self-gain in the source, so nothing was normalised: these numbers are no r, and "
            "targets with different metrics or headroom can't be compared.")  # fmt: skip
    rows = tuple((line.language, _with_se(line.as_target, line.as_target_se), _with_se(line.as_donor, line.as_donor_se))
                 for line in summary.lines)  # fmt: skip
    sections = (
        Section("Matrix", figure=out / "heatmap_2col.svg"),
        Section("Summary", header=("Statistic", "Value"), rows=raw_lines(source)),
        Section("Languages", "Means over known cells, ± standard error over seeds.",
                header=("Language", "As target", "As donor"), rows=rows),
    )  # fmt: skip
    page = Page(raw_headline(source), lead, (), sections, computed_from(source.provenance))
    return write_page(page, out / "report.html")


def _with_se(value: float | None, se: float | None) -> str:
    """A mean and its standard error, where there is one."""
    return number(value, 4) if se is None else f"{number(value, 4)} ± {number(se, 4)}"


def raw_heatmap(raw: RawMatrix, title: str, width: float) -> "Figure":
    """The matrix, so many inches wide; gains on a diverging scale centred on 0, scores on a rising one."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex
    from matplotlib.figure import Figure

    n = len(raw.languages)
    cell, known = (width - 1.5) / n, raw.values[np.isfinite(raw.values)]
    figure = Figure(figsize=(width, width - 0.6), layout="constrained")
    axes = figure.add_subplot()
    both = [*reversed(NEGATIVE_STOPS), *POSITIVE_STOPS[1:]]
    colours = LinearSegmentedColormap.from_list("raw", both if raw.gains else POSITIVE_STOPS)
    high = float(np.abs(known).max()) if raw.gains else float(known.max())
    low = -high if raw.gains else float(known.min())
    drawn = axes.imshow(np.ma.masked_invalid(raw.values), cmap=colours, vmin=low, vmax=high or 1e-9)
    font = min(8.0, max(2.0, 72 * cell * 0.72))
    axes.set_xticks(range(n), raw.languages, rotation=90, fontsize=font)
    axes.set_yticks(range(n), raw.languages, fontsize=font)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_ylabel("target", fontsize=7)
    axes.set_title(fill(title, int(LETTERS_AN_INCH * width)), fontsize=7, fontweight="bold", loc="right")
    for (i, j), value in np.ndenumerate(raw.values):
        if np.isfinite(value) and cell >= NUMBERS_FROM:
            shade: Any = colours((float(value) - low) / max(high - low, 1e-9))
            colour = ink(to_hex(shade))
            size = min(72 * cell * 0.2, 9.0)
            axes.text(j, i, number(value, 3), ha="center", va="center", fontsize=size, color=colour)
    label: Any = f"{raw.metric}: gain from the donor" if raw.gains else raw.metric
    bar = figure.colorbar(drawn, ax=axes, shrink=0.6)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return figure


def _content(source: Source) -> RawMatrix:
    """The raw matrix of a source that holds one."""
    assert isinstance(source.content, RawMatrix)
    return source.content
