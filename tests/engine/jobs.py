"""Small jobs for tests of the engine: a grid in memory, made ready to run."""

from pathlib import Path
from typing import Any

from engine.job import Job, make_job
from grids.grid import Grid, parse

TOY: dict[str, Any] = {
    "task": "toy", "corpus": "synthetic", "languages": ["ca", "no"], "seeds": 3, "samples": 8,
    "tracking": {"wandb": "off"},
}  # fmt: skip


def toy_grid(**changes: Any) -> Grid:
    """A grid of the toy task; two languages and three seeds give 15 trials."""
    return parse({**TOY, **changes}, "toy")


def toy_job(results: Path, **changes: Any) -> Job:
    """A job of the toy task."""
    return make_job(toy_grid(**changes), results)
