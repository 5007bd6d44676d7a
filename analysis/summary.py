"""The summary of a matrix in one of two profiles.

"paper" is the published definitions and the counts of cells, alone; "recommended" adds what it takes to read them:
noise floors, values without noise, intervals, chance, and what the tests say of the cells. Both use the same cells.

A new statistic is one function of a `CLTM`, in any module, that returns None where it can't be known, and one line in
`FURTHER`: page, summary, LaTeX and W&B have it then. `AGGREGATES` of `analysis.diagnostics` is the paper's alone.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from analysis.baselines import language_interval, row_correlation
from analysis.beside import BESIDE, Beside, Evidence, evidence
from analysis.diagnostics import AGGREGATES, Aggregate, Value, summarise
from analysis.inference import Call, CellTests
from analysis.matrix import CLTM

Profile = Literal["paper", "recommended"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True)
class Count:
    """How many cells a test puts into a class.

    Attributes:
        key: its name in `summary.json`.
        question: the field of `CellTests`.
        call: the class.
        title: what people call it.
        meaning: one sentence.
    """

    key: str
    question: Literal["gain", "own"]
    call: Call
    title: str
    meaning: str


def summary(
    cltm: CLTM, profile: Profile = "recommended", found: Evidence | None = None, language_draws: int = 0
) -> tuple[Value, ...]:
    """Every aggregate of a profile.

    Args:
        cltm: the matrix.
        profile: "paper" or "recommended".
        found: the matrix's evidence, if that is there already.
        language_draws: samples of languages for the intervals over languages; 0 for none.
    """
    if profile == "paper":
        return summarise(cltm)
    found = evidence(cltm) if found is None else found
    values = [_with_beside(aggregate, found, language_draws) for aggregate in (*AGGREGATES, *FURTHER)]
    return (*values, *(_counted(count, found.tests) for count in COUNTS))


def _with_beside(aggregate: Aggregate, found: Evidence, language_draws: int) -> Value:
    """One aggregate, and what stands beside it."""
    of = BESIDE.get(aggregate.key)
    there = of(found) if of else Beside()
    if language_draws and aggregate.key in OVER_LANGUAGES:
        bounds = language_interval(found.cltm, aggregate.of, language_draws)
        there = replace(there, language_lower=bounds[0], language_upper=bounds[1]) if bounds else there
    return Value(aggregate, aggregate.of(found.cltm), there)


def _counted(count: Count, tests: CellTests | None) -> Value:
    """A number of cells; None for a bare matrix."""
    value = None if tests is None else (tests.gain if count.question == "gain" else tests.own).count(count.call)

    def of(cltm: CLTM) -> int | None:
        return value

    return Value(Aggregate(count.key, of, count.title, count.meaning), value)


def printed(value: Value) -> str:
    """An aggregate as people read it: a share in percent, a count whole, unknown as a dash."""
    if value.value is None:
        return "\N{EN DASH}"
    if isinstance(value.value, int):
        return str(value.value)
    if value.aggregate.percent:
        return f"{100 * value.value:.2f} %"
    return f"{value.value:.3f}" if abs(value.value) < 1000 else f"{value.value:.4g}"


def beside_text(value: Value) -> str:
    """What stands beside a value, in words; empty if nothing does."""
    there = value.beside
    number = partial(in_its_unit, value)

    parts = []
    if there.corrected is not None:
        parts.append(f"without noise {number(there.corrected)}")
    if there.lower is not None and there.upper is not None:
        parts.append(f"95 % [{number(there.lower)}, {number(there.upper)}]")
    for what, one in (("agnostic", there.floor), ("chance", there.chance), ("ceiling", there.ceiling)):
        parts += [] if one is None else [f"{what} {number(one)}"]
    if there.chance_p is not None:
        parts.append(f"p = {there.chance_p:.3g}")
    if there.language_lower is not None and there.language_upper is not None:
        parts.append(f"over languages [{number(there.language_lower)}, {number(there.language_upper)}]")
    return ", ".join(parts)


def in_its_unit(value: Value, number: float) -> str:
    """A number beside a value as people read it."""
    return f"{100 * number:.1f} %" if value.aggregate.percent else f"{number:.3f}"


FURTHER = (
    Aggregate("row_correlation", row_correlation, "Average row correlation",
              "How far targets agree on which donors are better than others, whatever all donors have in common."),
)  # fmt: skip
COUNTS = (
    Count("positive_cells", "gain", Call.POSITIVE, "Cells that help",
          "Cells, used or not, whose gain is above 0 (moderated t, false discovery rate 5 %)."),
    Count("negative_cells", "gain", Call.NEGATIVE, "Cells that hurt",
          "Cells, used or not, whose gain is below 0 by the same test."),
    Count("undecided_cells", "gain", Call.UNDECIDED, "Undecided cells",
          "Cells, used or not, whose gain can't be told from 0."),
    Count("better_than_own_cells", "own", Call.POSITIVE, "Better than own data",
          "Cells in which the donor helps more than as much of the target's own data, by the same test."),
    Count("worse_than_own_cells", "own", Call.NEGATIVE, "Worse than own data",
          "Cells in which the donor helps less than as much of the target's own data, by the same test."),
)  # fmt: skip
OVER_LANGUAGES = ("rfd", "relative_asymmetry", "rms", "average_row_cosine")  # what simulations show to be covered
