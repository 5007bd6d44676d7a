"""Computes a report's numbers again, from the scores that it was made of, and compares: the command.

    python -m analysis.verify results/demo/analysis

Reports of `analysis.cltm`, `interval`, `geometry` and `compare`. Compared is every number of every table: JSON, CSV
and Parquet. The report's options and sources come from `recipe.json` beside it; `--source` names the sources where they
have moved. Exit status: 0 if everything agrees, 1 if something differs, 2 after a user's mistake. Not covered: figures
and page.
"""

import argparse
import csv
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from grids.errors import UserError, one_line_errors

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # other machines sum in another order
SHOWN = 40
COMMANDS = {f"python -m {name}": name for name in ("analysis.cltm", "analysis.interval", "analysis.geometry",
                                                   "analysis.compare")}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.verify", description="Recomputes a report from its scores and says what differs."
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report's folder, or its page")
    parser.add_argument("--source", type=Path, nargs="+", metavar="SOURCE", help="where its sources are now")
    options = parser.parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    """Compares and prints."""
    if not options.report.exists():
        raise UserError(f"{str(options.report)!r} does not exist; give the folder of a report")
    folder: Path = options.report if options.report.is_dir() else options.report.parent
    found = verify(folder, options.source)
    for line in found[:SHOWN]:
        print(line)  # noqa: T201
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN} more")  # noqa: T201
    print(f"{len(found)} differences" if found else f"{folder}: recomputed, everything agrees")  # noqa: T201
    return 1 if found else 0


def verify(folder: Path, source: Sequence[Path] | None = None) -> list[str]:
    """What differs between a report's tables and the same tables computed again.

    Args:
        folder: holds the report.
        source: its sources, if they are not where they were.

    Raises:
        UserError: there is no report, or its sources can't be read.
    """
    from analysis.recipe import read_recipe

    recipe = read_recipe(folder)
    if recipe.command not in COMMANDS:
        raise UserError(f"recipe.json names the command {recipe.command!r}; allowed: {', '.join(COMMANDS)}")
    command = import_module(COMMANDS[recipe.command])
    options = recipe.options(command.parser())
    options.source = list(source) if source else options.source
    with tempfile.TemporaryDirectory() as name:
        again = sorted(command.write_tables(command.compute(options), Path(name)))
        return [line for table in again for line in _compare(folder / table.name, table)]


def _compare(there: Path, again: Path) -> Iterator[str]:
    """The differences of one table."""
    if not there.exists():
        yield f"{there.name}: is not there"
        return
    try:
        one, other = _read(there), _read(again)
    except Exception as error:  # a reader of damaged files may raise anything; the damage is what is to be told
        yield f"{there.name}: cannot be read ({type(error).__name__}: {error})"
        return
    yield from (f"{there.name}: {line}" for line in differences(one, other))


def _read(path: Path) -> Any:
    """A table as nested dicts and lists."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
        return {f"({row['target']}, {row['donor']})": row for row in rows}
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    return {f"line {n}": dict(zip(header, map(_cell, line), strict=True)) for n, line in enumerate(lines, start=2)}


def _cell(text: str) -> float | str:
    """A cell of a CSV."""
    try:
        return float(text)
    except ValueError:
        return text


def differences(there: Any, again: Any, where: str = "") -> Iterator[str]:
    """Every place at which two nested values differ; numbers may by `RELATIVE` and `ABSOLUTE`."""
    if isinstance(there, dict) and isinstance(again, dict):
        for key in dict.fromkeys([*there, *again]):
            inside = f"{where}.{key}" if where else str(key)
            if key not in there or key not in again:
                yield f"{inside} is only {'recomputed' if key in again else 'in the report'}"
            else:
                yield from differences(there[key], again[key], inside)
    elif isinstance(there, list) and isinstance(again, list) and len(there) == len(again):
        for place, (one, other) in enumerate(zip(there, again, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif not _same(there, again):
        yield f"{where} is {there!r} in the report, {again!r} recomputed"


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values agree."""
    if isinstance(one, float) or isinstance(other, float):
        if one is None or other is None or isinstance(one, str) or isinstance(other, str):
            return False
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(one == other)


if __name__ == "__main__":
    sys.exit(main())
