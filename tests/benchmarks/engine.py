"""What the engine itself costs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks.measured import Measured
from tests.engine.runs import engine, write_grid

TRIALS = {"task": "toy", "corpus": "synthetic", "languages": ["a", "b", "c", "d", "e", "f"], "seeds": 8, "samples": 8}
REPEATS = 3


def measure(folder: Path) -> Iterator[Measured]:
    """Without tracking and with it."""
    for what, tracking in (("tracking off", "off"), ("W&B offline", "offline")):
        yield Measured(f"ms an empty trial beyond the first, {what}", overhead(folder, tracking))


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
