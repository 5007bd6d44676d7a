"""`make bench`: what the engine itself costs, and how fast clips are decoded. Prints tables; asserts nothing.

Machines are noisy: quote the spread, and compare two versions on one machine in one sitting only.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
from rich.console import Console
from rich.table import Table

from tasks.data.audio import decode
from tests.engine.runs import engine, write_grid

TRIALS = {"task": "toy", "corpus": "none", "languages": ["a", "b", "c", "d", "e", "f"], "seeds": 8, "samples": 8}
REPEATS = 3


def overhead(folder: Path, tracking: str) -> list[float]:
    """Milliseconds a trial beyond the first, over 216 trials whose training is empty, one figure a repeat."""
    found = []
    for repeat in range(REPEATS):
        name = f"{tracking}-{repeat}"
        grid = write_grid(folder / f"{name}.toml", **TRIALS, tracking={"wandb": tracking})
        done = engine("run", grid, "--results", folder / name)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        stored = np.unique(pq.read_table(folder / name / "scores.parquet")["stored_ns"].to_numpy())
        found.append((stored[-1] - stored[0]) / 1e6 / (len(stored) - 1))
    return found


def decoding(folder: Path, seconds: float, rate_hz: int) -> list[float]:
    """Clips decoded a second, one thread."""
    path = folder / f"{rate_hz}.mp3"
    soundfile.write(path, 0.1 * np.sin(np.arange(int(seconds * rate_hz)) / 9), rate_hz, format="MP3")
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(100):
            decode(path, max_seconds=30.0)
        found.append(100 / (time.perf_counter() - start))
    return found


def main() -> None:
    """Measures and prints."""
    table = Table("what", "median", "lowest", "highest")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {
            "ms an empty trial beyond the first, tracking off": overhead(folder, "off"),
            "ms an empty trial beyond the first, W&B offline": overhead(folder, "offline"),
            "clips a second decoded, 1.5 s at 16 kHz": decoding(folder, 1.5, 16_000),
            "clips a second decoded, 5 s at 48 kHz": decoding(folder, 5.0, 48_000),
        }
    for what, values in rows.items():
        figures = (statistics.median(values), min(values), max(values))
        table.add_row(what, *(f"{value:.1f}" for value in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
