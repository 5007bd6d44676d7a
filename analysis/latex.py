"""Tables for a paper: `tables/aggregates.tex` and `tables/matrix.tex`, bare tabulars that need the package booktabs.

Text is escaped; what is not known is a dash. Not covered: captions, page widths.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.analyse import Analysis
from analysis.diagnostics import Value
from analysis.inference import Call
from grids.files import write_atomically

TABLES_FOLDER = "tables"
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", ">": r"$>$", "<": r"$<$",
}  # fmt: skip


def write_latex(analysis: Analysis, out: Path) -> tuple[Path, ...]:
    """Writes the tables into `out/tables` and returns their paths."""
    texts = {"aggregates.tex": aggregates_latex(analysis.values), "matrix.tex": matrix_latex(analysis)}
    for name, text in texts.items():
        write_atomically(out / TABLES_FOLDER / name, text)
    return tuple(out / TABLES_FOLDER / name for name in texts)


def aggregates_latex(values: Sequence[Value]) -> str:
    """A line an aggregate; columns of which nothing is known are left out."""
    header = ("Statistic", "Value", "Without noise", r"95\,\%", "Agnostic", "Chance", "Ceiling")
    lines = [_aggregate(value) for value in values]
    kept = [k for k in range(len(header)) if k < 2 or any(line[k] != "--" for line in lines)]
    body = [[line[k] for k in kept] for line in lines]
    return _tabular("l" + "r" * (len(kept) - 1), [header[k] for k in kept], body)


def matrix_latex(analysis: Analysis) -> str:
    """The cells used, as the view shows them; bold where the gain is significantly above or below 0."""
    cltm, order = analysis.cltm, analysis.view.positions
    sure = np.zeros((cltm.n, cltm.n), dtype=bool)
    if analysis.tests is not None:
        sure = np.isin(analysis.tests.gain.call, (Call.POSITIVE.value, Call.NEGATIVE.value))
    codes = [escaped(cltm.languages[i]) for i in order]
    body = [
        [codes[row], *(_cell(float(cltm.values[i, j]), bool(sure[i, j])) for j in order)] for row, i in enumerate(order)
    ]
    note = f"% {analysis.view.note}\n" if analysis.view.note else ""
    return note + _tabular("l" + "r" * len(order), [r"target \textbackslash{} donor", *codes], body)


def escaped(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def _aggregate(value: Value) -> list[str]:
    """An aggregate's line."""
    there, percent = value.beside, value.aggregate.percent
    bounds = "--"
    if there.lower is not None and there.upper is not None:
        bounds = f"[{_number(there.lower, percent)}, {_number(there.upper, percent)}]"
    return [
        escaped(value.aggregate.title), _number(value.value, percent), _number(there.corrected, percent), bounds,
        _number(there.floor, percent), _number(there.chance, percent), _number(there.ceiling, percent),
    ]  # fmt: skip


def _number(value: float | int | None, percent: bool) -> str:
    """A number, a share in percent, a dash where nothing is known."""
    if value is None:
        return "--"
    if isinstance(value, int):
        return f"${value}$"
    return rf"${100 * value:.2f}\,\%$" if percent else f"${value:.3f}$"


def _cell(value: float, sure: bool) -> str:
    """A cell of the matrix."""
    if not np.isfinite(value):
        return "--"
    return rf"$\mathbf{{{value:.2f}}}$" if sure else f"${value:.2f}$"


def _tabular(columns: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A booktabs tabular."""
    lines = [" & ".join(cells) + r" \\" for cells in (header, *body)]
    rules = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*rules, r"\end{tabular}"]) + "\n"
