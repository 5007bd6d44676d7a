"""The report's part on several metrics of the same scores: their aggregates side by side, and how far cells agree."""

from collections.abc import Sequence

import numpy as np

from analysis.diagnostics import Value
from analysis.item_noise import ItemNoise
from analysis.matrix import CLTM
from analysis.metrics import Measured, agreements
from analysis.page import DASH, Section, number, signed
from analysis.summary import in_its_unit, printed
from analysis.uncertainty import BASE


def metrics_sections(metrics: Sequence[Measured]) -> tuple[Section, ...]:
    """Aggregates and agreement, where there are several metrics; scores with what the test sets leave open."""
    several = (_aggregates(metrics), _agreement(metrics)) if len(metrics) > 1 else ()
    return (*several, *_test_sets(metrics))


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


def _test_sets(metrics: Sequence[Measured]) -> tuple[Section, ...]:
    """Each metric's scores of single-language models with the interval over test speakers; none without predictions."""
    known = [(one.name, one.cltm, one.noise) for one in metrics if one.cltm and one.noise]
    if not known:
        return ()
    _, cltm, noise = known[0]
    rows = tuple(
        (code, str(noise.speakers[i]), str(noise.items[i]),
         *(cell for _, matrix, found in known for cell in _score(matrix, found, code)))
        for i, code in enumerate(cltm.languages)
    )  # fmt: skip
    text = ("Models of one block of the language, mean over seeds; the interval is of the choice of test speakers. "
            "Items are clips or pairs.")  # fmt: skip
    header = ("Language", "Speakers", "Items", *(name for one, _, _ in known for name in (one, "95 %")))
    return (Section("Scores and their test sets", text, header=header, rows=rows),)


def _score(cltm: CLTM, noise: ItemNoise, code: str) -> tuple[str, str]:
    """P(i) and its interval, an error rate as it was measured."""
    if code not in cltm.languages:
        return DASH, DASH
    i = cltm.languages.index(code)
    values = [cltm.moments.mean[i, i, BASE], noise.base_lower[i], noise.base_upper[i]]
    if cltm.scores and cltm.scores.inverted:
        values = [1 - values[0], 1 - values[2], 1 - values[1]]
    bounds = f"[{number(values[1])}, {number(values[2])}]" if np.isfinite(values[1:]).all() else DASH
    return number(float(values[0])), bounds
