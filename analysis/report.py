"""The report: one HTML file that needs nothing else, neither a network nor another file.

The matrix is a table whose cells tell value, interval, seeds and status when pointed at. All text is escaped, and a
content policy inside the file forbids every request.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.analyse import Analysis
from analysis.diagnostics import LanguageRow
from analysis.drawing import Mark, family_marks
from analysis.figures import Drawn
from analysis.inference import Call
from analysis.layout import shown
from analysis.matrix import CLTM, Status
from analysis.metrics import stands_for
from analysis.output import HASHES_LISTED
from analysis.page import number, signed, template
from analysis.palette import colour_limit, hex_colour, ink
from analysis.report_methods import methods
from analysis.report_metrics import metrics_sections
from analysis.report_structure import structure_sections
from analysis.summary import beside_text, printed
from analysis.uncertainty import CROSS
from analysis.view import all_orders
from grids.files import write_atomically
from grids.languages import language

REPORT_FILE = "report.html"
TEMPLATE = "report.html"
NOTHING_DRAWN = Drawn((), ())
MARKS = {Call.POSITIVE: "helps", Call.NEGATIVE: "hurts"}  # CSS classes of significant cells
ORDER_WORDS = {"family": "family", "name": "code", "grid": "as in the source", "targets": "alike as targets",
               "donors": "alike as donors", "both": "alike as both"}  # fmt: skip
HOLES_SHOWN = 500  # in the report; holes.csv has all


@dataclass(frozen=True)
class ReportCell:
    """One cell as the table shows it: its text, its colours, its CSS class and what it says when pointed at."""

    text: str
    background: str
    ink: str
    kind: str
    tip: str


@dataclass(frozen=True)
class ReportRow:
    """One target's row, with its family and how that is marked."""

    code: str
    family: str
    mark: Mark
    cells: tuple[ReportCell, ...]


def write_report(analysis: Analysis, out: Path, drawn: Drawn = NOTHING_DRAWN) -> Path:
    """Writes the report into a folder and returns its path; `drawn` are the figures of structure."""
    text = render(analysis, drawn)
    write_atomically(out / REPORT_FILE, text)
    return out / REPORT_FILE


def render(analysis: Analysis, drawn: Drawn = NOTHING_DRAWN) -> str:
    """The report's HTML."""
    rows, found = report_rows(analysis), analysis.findings
    return template(TEMPLATE).render(
        a=analysis, title=headline(analysis), rows=rows,
        names={code: language(code).name for code in analysis.cltm.languages},
        limit=colour_limit(analysis.cltm.values[analysis.cltm.used]), gradient=gradient(),
        kinds=kinds(analysis), orders=orders(analysis),
        values=[(value.aggregate, signed(printed(value)), signed(beside_text(value))) for value in analysis.values],
        beside=any(value.beside.known() for value in analysis.values), methods=methods(analysis),
        marked=any(cell.kind.endswith(tuple(MARKS.values())) for row in rows for cell in row.cells),
        structure=structure_sections(found, drawn) if found else (),
        metrics=metrics_sections(analysis.metrics),
        stands_for=stands_for(analysis.cltm, analysis.metrics),
        structure_notes=(*found.notes, *drawn.notes) if found else (),
        families=sorted({row.family for row in rows if row.family}),
        key={row.mark.name: row.mark.colour for row in rows if any(analysis.cltm.families)},
        head=round(max(0.55 * max(len(row.code) for row in rows) + 1.3, 3.6), 2),
        untouched=any(row.untouched is not None for row in analysis.rows),
        gains=[(row, gain_interval_text(row, analysis.cltm)) for row in shown_rows(analysis)],
        holes_shown=HOLES_SHOWN, hashes_listed=HASHES_LISTED,
    )  # fmt: skip


def headline(analysis: Analysis) -> str:
    """Grid, task, metric, number of languages and seeds, in one line."""
    cltm, plan = analysis.cltm, analysis.plan
    parts = [plan.name, plan.task, cltm.metric, analysis.provenance.condition, f"{cltm.n} languages"]
    if cltm.scores is not None:
        count = len(cltm.scores.seeds)
        parts.append(f"{count} seed{'s' * (count != 1)}")
    if plan.samples is not None:
        parts.append(f"N = {plan.samples}")
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def report_rows(analysis: Analysis) -> tuple[ReportRow, ...]:
    """The table's rows, as the view shows them."""
    cltm, order, limit = analysis.cltm, analysis.view.positions, colour_limit(analysis.cltm.values[analysis.cltm.used])
    return tuple(
        ReportRow(cltm.languages[i], cltm.families[i], mark,
                  tuple(report_cell(analysis, i, j, limit) for j in order))
        for i, mark in zip(order, family_marks([cltm.families[i] for i in order]), strict=True)
    )  # fmt: skip


def shown_rows(analysis: Analysis) -> tuple[LanguageRow, ...]:
    """The languages of the view, in its order."""
    return tuple(analysis.rows[i] for i in analysis.view.positions)


def orders(analysis: Analysis) -> tuple[tuple[str, tuple[int, ...], bool], ...]:
    """Name of each order, the table's rows in it, and whether it is the one that the table is written in."""
    cltm, view, found = analysis.cltm, analysis.view, analysis.findings
    likeness = {one.by: one for one in found.trees} if found else {}
    if view.tree:
        likeness.setdefault(view.tree.by, view.tree)
    place = {i: k for k, i in enumerate(view.positions)}
    everything = all_orders(cltm.languages, cltm.families, likeness)
    now = view.tree.by if view.tree else view.order
    return tuple(
        (ORDER_WORDS[name], tuple(place[i] for i in order if i in place), name == now)
        for name, order in everything.items()
    )


def report_cell(analysis: Analysis, i: int, j: int, limit: float) -> ReportCell:
    """One cell of the table."""
    cltm = analysis.cltm
    status, value = Status(str(cltm.status[i, j])), float(cltm.values[i, j])
    tip = cell_tip(analysis, i, j, status)
    call = Call(str(analysis.tests.gain.call[i, j])) if analysis.tests else Call.UNTESTED
    mark = MARKS.get(call, "")
    if not np.isfinite(value):
        kind = f"{status.value} {mark}".rstrip()
        return ReportCell("\N{MULTIPLICATION SIGN}" if status == Status.MISSING else "", "", "", kind, tip)
    colour = hex_colour(value, limit)
    digits = 2 if abs(value) < 9.995 else 1
    return ReportCell(number(value, digits), colour, ink(colour), "diagonal" if i == j else mark, tip)


def cell_tip(analysis: Analysis, i: int, j: int, status: Status) -> str:
    """What a cell says when pointed at."""
    cltm = analysis.cltm
    target, donor = cltm.languages[i], cltm.languages[j]
    if i == j:
        gain = f"self-gain {number(float(cltm.self_gain[i]), 4)}, " if cltm.scores else ""
        return f"{target}: own data, r = 1 by definition; {gain}{_words(status)}"
    parts = [f"target {target}, donor {donor}: r = {number(float(cltm.r[i, j]))}"]
    if np.isfinite(cltm.lower[i, j]):
        parts.append(f"95 % [{number(float(cltm.lower[i, j]))}, {number(float(cltm.upper[i, j]))}]")
    if np.isfinite(cltm.se[i, j]):
        parts.append(f"SE {number(float(cltm.se[i, j]))}")
    noise = analysis.noise
    if noise is not None and np.isfinite(noise.r_lower[i, j]):
        lower, upper = float(noise.r_lower[i, j]), float(noise.r_upper[i, j])
        parts.append(f"by test speakers 95 % [{number(lower)}, {number(upper)}]")
    if cltm.scores:
        parts.append(f"gain {number(float(cltm.moments.x[i, j]), 4)}")
        count = int(cltm.moments.count[i, j, CROSS])
        parts.append(f"{count} seed{'s' * (count != 1)}")
    if analysis.tests is not None and np.isfinite(analysis.tests.gain.q[i, j]):
        parts.append(f"{analysis.tests.gain.call[i, j]} (q = {analysis.tests.gain.q[i, j]:.2g})")
    return ", ".join([*parts, _words(status)])


def gain_interval_text(row: LanguageRow, cltm: CLTM) -> str:
    """The 95 % interval of a target's self-gain."""
    from analysis.matrix import gain_interval

    i = cltm.languages.index(row.language)
    lower, upper = (bound[i, i] for bound in gain_interval(cltm.moments))
    return f"[{number(lower, 4)}, {number(upper, 4)}]" if np.isfinite(lower) else "\N{EN DASH}"


def kinds(analysis: Analysis) -> tuple[tuple[str, str, int], ...]:
    """CSS class, name and number of each kind of cell shown that has no colour, for the legend."""
    drawn = shown(analysis)
    found = ((status, drawn.count(status)) for status in (Status.UNDEFINED, Status.NEGATIVE, Status.MISSING))
    return tuple((status.value, _words(status), count) for status, count in found if count)


def gradient() -> str:
    """The colour scale as a CSS gradient from -limit to +limit."""
    stops = [hex_colour(value, 1.0) for value in np.linspace(-1, 1, 21)]
    return f"linear-gradient(to right, {', '.join(stops)})"


def _words(status: Status) -> str:
    """The status as people read it."""
    return status.value.replace("_", " ")
