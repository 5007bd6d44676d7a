"""`make bench`: what the engine costs, how fast clips are decoded, how fast the analysis is. Asserts no speed.

    python -m tests.benchmarks            # every part
    python -m tests.benchmarks analysis   # one part of `PARTS`
    python -m tests.benchmarks.scale 20000   # empty trials through the whole engine, and the driver's memory
    python -m tests.benchmarks.device     # a GPU: steps, scoring, trainings an hour, equal numbers; docs/performance.md

Machines are noisy: quote the spread, and compare two versions on one machine in one sitting only.
"""

import statistics
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

PARTS = ("engine", "phases", "side_by_side", "planning", "decoding", "streaming", "analysis", "tracking")


def main() -> int:
    """Measures the parts asked for and prints a table each."""
    chosen = sys.argv[1:] or PARTS
    if not {*chosen} <= {*PARTS}:
        print(f"error: got {' '.join(chosen)!r}; allowed: {', '.join(PARTS)}", file=sys.stderr)  # noqa: T201
        return 2
    for part in chosen:
        table = Table("what", "median", "lowest", "highest", "bar", title=part)
        with tempfile.TemporaryDirectory() as folder:
            for measured in import_module(f"tests.benchmarks.{part}").measure(Path(folder)):
                figures = (statistics.median(measured.values), min(measured.values), max(measured.values))
                table.add_row(measured.what, *(f"{value:.2f}" for value in figures), measured.bar)
        Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
