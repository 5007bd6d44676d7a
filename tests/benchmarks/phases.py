"""Where the time of a demo-sized grid goes, trial after trial: what is not training and evaluation arithmetic."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.store import Result
from grids.grid import load
from tests.benchmarks.measured import Measured
from tests.engine.runs import ROOT, command, write_grid

ARITHMETIC = ("train", "evaluate")


def measure(folder: Path) -> Iterator[Measured]:
    """The share of the wall time by phase; what no phase covers is the engine's and Ray's."""
    for tracking, bar in (("off", "5"), ("offline", "")):
        results = run(folder, tracking)
        shares = by_phase(results)
        for phase, values in shares.items():
            yield Measured(f"% of the wall time: {phase}, W&B {tracking}", values)
        rest = sum(np.array(values) for phase, values in shares.items() if phase not in ARITHMETIC)
        yield Measured(f"% of the wall time beyond the arithmetic, W&B {tracking}", list(rest), bar)


def run(folder: Path, tracking: str) -> Path:
    """Three seeds of the demo on one core, one trial at a time, so that the time between two is nobody else's."""
    demo = load(ROOT / "grids" / "demo.toml")
    grid = write_grid(
        folder / f"{tracking}.toml", task=demo.task, corpus=demo.corpus, languages=list(demo.languages), seeds=3,
        samples=demo.samples, clips_per_speaker=demo.clips_per_speaker, model={"backbone": demo.model.backbone,
        "freeze_feature_encoder": True}, train=dict(demo.train), tracking={"wandb": tracking},
    )  # fmt: skip
    core = str(min(os.sched_getaffinity(0)))
    call = ["taskset", "-c", core, *command("run", grid, "--results", folder / tracking)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return folder / tracking


def by_phase(results: Path) -> dict[str, list[float]]:
    """Percent of the wall time by phase, three values: over the first, second and last third of the trials."""
    found = [(path.stat().st_mtime_ns / 1e9, read(path)) for path in (results / "trials").glob("*.json")]
    found.sort(key=lambda pair: pair[0])
    ends = np.array([end for end, _ in found])
    phases = list(found[0][1].passes[0].seconds)
    shares: dict[str, list[float]] = {phase: [] for phase in [*phases, "between trials"]}
    for third in np.array_split(np.arange(1, len(found)), 3):  # the first trial starts the process
        wall = ends[third[-1]] - ends[third[0] - 1]
        spent = {phase: sum(found[k][1].passes[0].seconds[phase] for k in third) for phase in phases}
        for phase, seconds in spent.items():
            shares[phase].append(100 * seconds / wall)
        shares["between trials"].append(100 * (wall - sum(spent.values())) / wall)
    return shares


def read(path: Path) -> Result:
    """A result file."""
    return Result.from_json(path.read_bytes())
