"""What a results folder holds and how its runs went, from the folder alone."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from engine.store import Failure, Store, scored_in
from grids.grid import Grid

NUMERICS = ("threads", "workers", "precision", "tf32", "shortcuts", "length_ladder", "torch")  # that change last bits
LATELY_NS = 3600 * 10**9
PASS = ["trial", "started", "phases", "device", "code_version", "numerics"]  # what marks one pass of a trial
Row = tuple[str, str]


@dataclass(frozen=True)
class Status:
    """What is there.

    Attributes:
        missing: number of trials of the grid that lack scores.
        rows: what there is to say, by name.
        warnings: what makes its results less than one experiment.
        failures: a line a cause, the most frequent first.
    """

    missing: int
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]


def status_of(store: Store, grid: Grid) -> Status:
    """Reads the folder."""
    table = store.compact(grid.samples, write=False)
    scored, trials, failures = scored_in(table), grid.trials(), store.failures()
    wanted = {mixture: frozenset(grid.evaluated(mixture)) for mixture in {trial.mixture for trial in trials}}
    missing = sum(not scored.get(trial.slug, frozenset()) >= wanted[trial.mixture] for trial in trials)
    rows = [
        ("grid", f"{grid.name}: {grid.task}, {len(grid.languages)} languages, seeds {grid.seeds}"),
        ("finished", f"{len(trials) - missing} of {len(trials)} trials"),
        ("failed", f"{len(failures)}"),
    ]
    passes = table.group_by(PASS).aggregate([])
    if len(passes):
        rows += [
            ("phases", _phases(passes)),
            ("lately", _rate(table)),
            ("devices", _counted(_values(passes, "device"))),
        ]
    return Status(missing, tuple(rows), tuple(_warnings(passes)), tuple(by_cause(failures)))


def by_cause(failures: Sequence[Failure]) -> list[str]:
    """A line for each cause of failures, with an example. Causes that differ in numbers and names count as one."""
    groups = defaultdict[str, list[Failure]](list)
    for failure in failures:
        groups[re.sub(r"'[^']*'|\d+", "#", failure.cause)].append(failure)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [f"{len(group)} failed: {group[0].cause} (e.g. {group[0].path})" for group in ordered]


def _phases(passes: pa.Table) -> str:
    """The share of each phase in the seconds of all trials, the slowest first."""
    seconds = Counter[str]()
    for text in _values(passes, "phases"):
        seconds.update(json.loads(text))
    total = sum(seconds.values())
    shares = [f"{name} {each / total:.0%}" for name, each in seconds.most_common() if total and each / total >= 0.005]
    return f"{', '.join(shares) or 'no time'} of {total / 3600:.3g} hours, summed over trials"


def _rate(table: pa.Table) -> str:
    """Trials stored an hour, over the last hour in which any was."""
    stored = sorted(dict(zip(table["trial"].to_pylist(), table["stored_ns"].to_pylist(), strict=True)).values())
    recent = [stamp for stamp in stored if stamp > stored[-1] - LATELY_NS]
    newest = datetime.fromtimestamp(stored[-1] / 1e9, UTC).isoformat(sep=" ", timespec="seconds")
    span = (recent[-1] - recent[0]) / 1e9
    rate = f"{3600 * (len(recent) - 1) / span:,.0f} trials an hour, by the last {len(recent)}" if span else "1 trial"
    return f"{rate}; the newest at {newest}"


def _warnings(passes: pa.Table) -> Iterable[str]:
    """Code versions, devices and numerics, where there are several."""
    parsed = [json.loads(text) for text in _values(passes, "numerics")]
    found = {"code_version": _values(passes, "code_version"), "device": _values(passes, "device")}
    found |= {name: [str(one.get(name, "unknown")) for one in parsed] for name in NUMERICS}
    for name, values in found.items():
        if len(set(values)) > 1:
            yield f"results differ in {name}: {_counted(values)}; equal trials may differ in their last bits, or more"


def _values(passes: pa.Table, column: str) -> list[str]:
    """A column's value for each pass."""
    return list(passes[column].to_pylist())


def _counted(values: Sequence[str]) -> str:
    """Each value with how often it is there."""
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common())
