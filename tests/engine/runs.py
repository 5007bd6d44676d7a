"""Runs `python -m engine` in a process of its own, as a user does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

ROOT = Path(__file__).parents[2]
PROVENANCE = [
    "seconds",
    "started",
    "stored_ns",
    "code_version",
    "device",
    "phases",
]  # what may differ between equal runs


def write_grid(path: Path, **values: Any) -> Path:
    """Writes a grid file."""
    path.write_text(tomli_w.dumps({"tracking": {"wandb": "off"}, **values}))
    return path


def gender_grid(path: Path, corpus: Path, /, **changes: Any) -> Path:
    """A grid of the gender task on a release of `plain_release`: 15 trials of well under a second."""
    values: dict[str, Any] = {
        "task": "gender", "corpus": str(corpus), "languages": ["no", "zh-CN"], "seeds": 3, "samples": 4,
        "model": {"backbone": "tiny"}, "train": {"learning_rate": 1e-3, "epochs": 2, "batch_size": 3},
    }  # fmt: skip
    return write_grid(path, **{**values, **changes})


def command(*arguments: object) -> list[str]:
    """The command line of `python -m engine` with these arguments."""
    return [sys.executable, "-m", "engine", *map(str, arguments)]


def engine(*arguments: object, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `python -m engine` to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, cwd=ROOT, env=environ(cache)
    )


def environ(cache: Path | None) -> dict[str, str]:
    """The environment with a cache folder of its own."""
    return {**os.environ, **({"CLTM_CACHE": str(cache)} if cache else {})}


def scores(results: Path) -> pa.Table:
    """What `scores.parquet` says, without times and provenance."""
    return pq.read_table(results / "scores.parquet").drop_columns(PROVENANCE)
