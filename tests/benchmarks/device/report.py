"""What is printed, as it comes: rows of tables, lines, and the same as JSON lines in a file."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

Columns = Mapping[str, str]  # key of a row -> title
TABLES: dict[str, Columns] = {
    "steps": {
        "variant": "what is on", "batch": "batch", "precision": "", "ms": "ms a step", "ms_clip": "ms a clip",
        "again_ms": "ms, lengths known", "steps": "steps", "first_seconds": "first s", "recordings": "graphs",
        "recording_seconds": "recording s", "recording_gb": "graphs GB", "gb": "peak GB",
    },
    "scoring": {
        "variant": "what is on", "precision": "", "clips_a_second": "clips a s", "tflops": "forward TFLOP/s",
        "share": "of the peak", "gb": "peak GB",
    },
    "hours": {
        "variant": "sharing", "at_once": "at once", "precision": "", "setup_seconds": "set-up s", "ms": "ms a step",
        "test_ms": "ms a test clip", "base": "SV an hour, 1 block", "double": "2 blocks", "SV": "SV h",
        "gender": "gender h",
    },
    "streams": {"variant": "one process", "at_once": "at once", "ms": "ms a step"},
    "same": {
        "precision": "", "steps": "steps", "shapes_recorded": "graphs", "recorded_differs_at": "differs at step",
        "recorded_largest": "largest", "repeated_differs_at": "repeated: at step", "repeated_largest": "largest",
    },
}  # fmt: skip
SPREAD = {"ms", "ms_clip", "again_ms", "clips_a_second", "tflops", "share"}  # columns with a median and extremes
SPREAD_WIDTH, NAME_WIDTH = 18, 26


class Report:
    """Writes at once whatever it is told.

    Args:
        out: file for JSON lines, or None.
    """

    def __init__(self, out: Path | None) -> None:
        self._out, self._table, self.start = out, "", time.monotonic()
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("", encoding="utf-8")

    def row(self, table: str, values: Mapping[str, Any]) -> None:
        """A row of one of `TABLES`; a list is shown as its median and its extremes."""
        columns = TABLES[table]
        if table != self._table:
            titles = {key: title or key for key, title in columns.items()}
            self.line(f"\n{table}\n{_joined(titles, columns)}", keep=False)
            self._table = table
        self._write({"table": table, **values})
        self.line(_joined({key: shown(values.get(key)) for key in columns}, columns), keep=False)

    def line(self, text: str, *, keep: bool = True) -> None:
        """A sentence, beside the tables."""
        if keep:
            self._table = ""
            self._write({"line": text})
        print(text, flush=True)  # noqa: T201

    def _write(self, values: Mapping[str, Any]) -> None:
        if self._out:
            at = round(time.monotonic() - self.start, 1)
            with self._out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**values, "at": at}) + "\n")


def shown(value: Any) -> str:
    """A cell."""
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        low, high = min(value), max(value)
        return f"{shown(median(value))} ({shown(low)}-{shown(high)})"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _joined(cells: Mapping[str, str], columns: Columns) -> str:
    """A line of cells, as wide as titles and spreads ask for."""
    (_, first), *rest = cells.items()
    widths = {key: max(len(title or key), SPREAD_WIDTH if key in SPREAD else 6) for key, title in columns.items()}
    return f"{first:<{NAME_WIDTH}}" + " ".join(f"{cell:>{widths[key]}}" for key, cell in rest)
