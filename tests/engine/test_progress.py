"""What a run shows while it runs."""

import io
from typing import Any

from rich.console import Console

from engine.progress import Display
from tests.engine.jobs import toy_grid


def row(**changes: Any) -> dict[str, Any]:
    """A row of `scores.parquet`, as far as the display reads it."""
    plain = {"primary": True, "condition": "", "role": "base", "language": "ca", "donor": "", "value": 0.4}
    return {**plain, **changes}


def test_the_matrix_is_of_the_primary_metric_without_conditions() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    other = ({"condition": "noise"}, {"primary": False}, {"role": "zero"})
    with Display(toy_grid(), 15, console) as progress:
        progress.add([row(), *(row(value=0.8, **changes) for changes in other), row(role="cross", donor="no")])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0/15 trials" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert [row for row in rows if row[:1] == ["ca"]][-1] == ["ca", "40.0", "·", "40.0"]
