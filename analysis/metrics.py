"""Several metrics of the same scores: the matrix and the aggregates of each, and how far their cells agree."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from analysis.diagnostics import Value
from analysis.families import families_of
from analysis.folders import read_plan, read_rows, under
from analysis.item_noise import ItemNoise, item_noise
from analysis.matrix import CLTM, from_scores
from analysis.merge import merged_plan
from analysis.scores import Scores
from analysis.scores_csv import METRICS, is_scores_header
from analysis.sources import read_source
from analysis.structure import correlation
from analysis.summary import Profile, summary
from grids.errors import UserError


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric.

    Attributes:
        name: of the metric.
        cltm: its matrix; None where it has none.
        values: the aggregates.
        problem: why it has no matrix, or "".
        noise: the test set's part of the error of P(i), where predictions were kept.
    """

    name: str
    cltm: CLTM | None
    values: tuple[Value, ...] = ()
    problem: str = ""
    noise: ItemNoise | None = None


@dataclass(frozen=True)
class Agreement:
    """Correlation of two metrics' r over the cells that aggregates use in both; None if it can't be known."""

    one: str
    other: str
    cells: int
    correlation: float | None


def every_metric(
    paths: Sequence[Path],
    families: Path | None = None,
    profile: Profile = "recommended",
    done: Measured | None = None,
    test_noise: bool = False,
    condition: str = "",
) -> tuple[Measured, ...]:
    """Each metric that the scores have, primary ones first, then by name; none for a bare matrix.

    Args:
        paths: results folders of one experiment, or one CSV.
        families: a CSV (code, family) that replaces the language table.
        profile: of the aggregates.
        done: a metric that need not be computed again.
        test_noise: resample the test sets whose predictions were kept.
        condition: of the scores.

    Raises:
        UserError: the source can't be used.
    """
    return tuple(
        done
        if done is not None and name == done.name
        else _measured(paths, name, families, profile, test_noise, condition)
        for name in metrics_of(paths, condition)
    )


def metrics_of(paths: Sequence[Path], condition: str = "") -> tuple[str, ...]:
    """The names of the metrics, primary ones first, then by name; none for a bare matrix.

    Raises:
        UserError: the folders have no scores.
    """
    if paths[0].is_dir():
        frame = read_rows(paths, merged_plan([read_plan(path) for path in paths]), conditions=bool(condition))
        frame = under(frame, condition) if condition else frame
        primary = set(frame["metric"][frame["primary"].astype(bool)])
        return tuple(sorted(map(str, frame["metric"].unique()), key=lambda name: (name not in primary, name)))
    with paths[0].open(encoding="utf-8-sig", newline="") as file:
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
    return tuple(name for name in METRICS if name in header) if is_scores_header(header) else ()


def stands_for(cltm: CLTM, metrics: Sequence[Measured]) -> str:
    """What the metric of a matrix is another name of: "cer", or "wer for ca, es and cer for zh"; "" if of none."""
    named: dict[str, list[str]] = {}
    others = [one for one in metrics if one.name != cltm.metric]
    for code in cltm.languages:
        same = [one.name for one in others if one.cltm and _same_scores(cltm, one.cltm, code)]
        if same:
            named.setdefault(same[0], []).append(code)
    if [*cltm.languages] in named.values():
        return next(iter(named))
    return " and ".join(f"{name} for {', '.join(codes)}" for name, codes in named.items())


def _same_scores(one: CLTM, other: CLTM, code: str) -> bool:
    """Whether two metrics have the same P(i) and P(i+i) of a language, all known."""
    if one.scores is None or other.scores is None or code not in other.languages:
        return False
    here, there = one.languages.index(code), other.languages.index(code)
    return all(
        np.array_equal(mine[here], theirs[there])
        for mine, theirs in ((one.scores.base, other.scores.base), (one.scores.self_, other.scores.self_))
    )


def agreements(metrics: Sequence[Measured]) -> tuple[Agreement, ...]:
    """Every pair of metrics that have a matrix."""
    there = [(one.name, one.cltm) for one in metrics if one.cltm is not None]
    return tuple(_agreement(one, other) for one, other in combinations(there, 2))


def _agreement(one: tuple[str, CLTM], other: tuple[str, CLTM]) -> Agreement:
    """One pair, over the languages that both have."""
    shared = [code for code in one[1].languages if code in other[1].languages]
    values = []
    for _, cltm in (one, other):
        at = [cltm.languages.index(code) for code in shared]
        values.append(np.where(cltm.used, cltm.r, np.nan)[np.ix_(at, at)])
    cells = int(np.isfinite(values[0] + values[1]).sum())
    return Agreement(one[0], other[0], cells, correlation(*values))


def _measured(
    paths: Sequence[Path], name: str, families: Path | None, profile: Profile, test_noise: bool, condition: str
) -> Measured:
    """The matrix and the aggregates of a metric, or why it has none: another metric's fault ends no report."""
    try:
        source = read_source(paths, name, condition)
        content = source.content
        if not isinstance(content, Scores):
            return Measured(name, None, problem="it has no self-gain, so no r")
        cltm = from_scores(content, families_of(content.languages, families))
        noise = item_noise(source, roles=("base",)) if test_noise else None
    except UserError as error:
        return Measured(name, None, problem=str(error))
    return Measured(name, cltm, summary(cltm, profile), noise=noise)
