"""The report's part on several metrics of the same scores: their aggregates side by side, and how far cells agree."""

from collections.abc import Sequence

from analysis.diagnostics import Value
from analysis.metrics import Measured, agreements
from analysis.page import DASH, Section, number, signed
from analysis.summary import in_its_unit, printed


def metrics_sections(metrics: Sequence[Measured]) -> tuple[Section, ...]:
    """Aggregates and agreement; nothing where there is but one metric."""
    return (_aggregates(metrics), _agreement(metrics)) if len(metrics) > 1 else ()


def _aggregates(metrics: Sequence[Measured]) -> Section:
    """A line an aggregate, two columns a metric."""
    there = [one for one in metrics if one.values]
    text = "The interval, over seeds, is of the value without noise, where there is one." + "".join(
        f" {one.name} is not shown: {one.problem}." for one in metrics if one.problem
    )
    rows = tuple(
        (line[0].aggregate.title, *(cell for value in line for cell in (signed(printed(value)), _interval(value))))
        for line in zip(*(one.values for one in there), strict=True)
    )
    header = ("Statistic", *(name for one in there for name in (one.name, "95 %")))
    return Section("Aggregates", text, header=header, rows=rows)


def _interval(value: Value) -> str:
    """The interval over seeds."""
    low, high = value.beside.lower, value.beside.upper
    if low is None or high is None:
        return DASH
    return signed(f"[{in_its_unit(value, low)}, {in_its_unit(value, high)}]")


def _agreement(metrics: Sequence[Measured]) -> Section:
    """A line a pair of metrics."""
    return Section(
        "Agreement of the cells",
        "Pearson's correlation of r over the cells used in both. The metrics are of the same trainings, so it also "
        "holds what noise they share.",
        header=("Metric", "and", "Cells", "Correlation"), texts=(0, 1),
        rows=tuple((one.one, one.other, str(one.cells), number(one.correlation)) for one in agreements(metrics)),
    )  # fmt: skip
