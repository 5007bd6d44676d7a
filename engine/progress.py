"""What a run prints while it runs: a line with the rate and the time left, and the matrix of scores filling in.

On a terminal both stay in place; elsewhere a plain line is printed now and then.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.store import Result
from grids.grid import Grid
from grids.mixture import MATRIX_ROLES

MOST_LANGUAGES = 16  # a larger matrix fits no terminal
PLAIN_SECONDS = 10.0


class Display:
    """Counts finished and failed trials and shows them."""

    COLUMNS = ("primary", "condition", "role", "language", "donor", "value")  # of the rows that it takes in

    def __init__(self, grid: Grid, pending: int, console: Console) -> None:
        self._grid, self._pending, self._console = grid, pending, console
        self._finished, self._causes = 0, Counter[str]()
        self._cells: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._start, self._last_print = time.monotonic(), 0.0
        self._live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        self._show(force=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._show(force=True)
        if self._live is not None:
            self._live.stop()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes in rows of `scores.parquet`."""
        for row in rows:
            if row["primary"] and not row["condition"] and row["role"] in MATRIX_ROLES:
                self._cells[row["language"], row["donor"]].append(row["value"])

    def finished(self, result: Result) -> None:
        """Counts a finished trial."""
        self._finished += 1
        self.add(result.rows(self._grid.samples))
        self._show()

    def failed(self, cause: str) -> None:
        """Counts a trial that will not be tried again in this run."""
        self._causes[cause] += 1
        self._show()

    def line(self) -> str:
        """The line: finished, rate, time left, failures by cause."""
        passed, left = time.monotonic() - self._start, self._pending - self._finished - self._causes.total()
        parts = [f"{self._finished}/{self._pending} trials"]
        if self._finished:
            parts.append(f"{3600 * self._finished / passed:,.0f} an hour")
            if left:
                parts.append(f"{_duration(passed / self._finished * left)} left")
        parts += [f"{count} failed: {cause}" for cause, count in self._causes.most_common(3)]
        return " · ".join(parts)

    def _show(self, force: bool = False) -> None:
        """Brings the screen up to date."""
        if self._live is not None:
            self._live.update(Group(self._matrix(), Text(self.line())) if self._fits else Text(self.line()))
        elif force or time.monotonic() - self._last_print > PLAIN_SECONDS:
            self._console.print(self.line(), highlight=False)
            self._last_print = time.monotonic()

    @property
    def _fits(self) -> bool:
        return len(self._grid.languages) <= MOST_LANGUAGES and self._grid.mode == "matrix"

    def _matrix(self) -> Table:
        """Mean score so far, in percent: a row a target, the base and then a column a donor."""
        table = Table(title="mean score so far, % (row: target, column: donor)", title_style="dim", box=None)
        table.add_column("")
        for name in ("base", *self._grid.languages):
            table.add_column(name, justify="right")
        for target in self._grid.languages:
            values = [self._cells.get((target, donor)) for donor in ("", *self._grid.languages)]
            table.add_row(target, *(f"{100 * fmean(cell):.1f}" if cell else "·" for cell in values))
        return table


def _duration(seconds: float) -> str:
    """12 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
