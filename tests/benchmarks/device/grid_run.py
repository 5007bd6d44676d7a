"""--end-to-end: a real grid through Ray. It completes, goes on after a kill, and gives the same scores several at once.

Needs Ray, and espeak-ng's packages where no corpus is given.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tests.engine.runs import ROOT, command, write_grid

LANGUAGES = ("ca", "es", "eu")
TRIALS = 9  # three languages: bases, selves, pairs; one seed
KEY = ["mixture", "seed", "language", "metric", "condition"]


def measure(folder: Path, backbone: str, corpus: str, on_gpu: bool, seconds: float) -> Iterator[str]:
    """Runs the grid one trial at a time, then several at once with a kill in between. A line each.

    Args:
        folder: for everything that is made.
        backbone: a folder.
        corpus: in Common Voice layout; "": the synthetic one is made, small.
        on_gpu: four at once on a GPU; else as many as there are cores.
        seconds: a run may take.
    """
    release = corpus or synthetic(folder)
    ends = time.monotonic() + seconds
    grids = {name: _grid(folder, name, backbone, release, share) for name, share in _shares(on_gpu).items()}
    start = time.monotonic()
    status = _start(folder, grids["one"], alone=not on_gpu).wait(ends - time.monotonic())
    yield f"one at a time: status {status}, {_done(folder, 'one')} of {TRIALS} trials, {time.monotonic() - start:.0f} s"
    if status:
        said = (folder / "one.log").read_text(errors="replace").strip().splitlines()
        yield f"nothing else is run; the engine said: {said[-1] if said else 'nothing'}"
        return
    before = _killed(folder, grids["several"], ends)
    start = time.monotonic()
    status = _start(folder, grids["several"]).wait(ends - time.monotonic())
    kept = sum(path.stat().st_mtime_ns == when for path, when in before.items() if path.exists())
    yield (f"several at once, driver killed with {len(before)} trials done, run again: status {status}, "
           f"{_done(folder, 'several')} of {TRIALS} trials, {kept} of the {len(before)} as they were, "
           f"{time.monotonic() - start:.0f} s")  # fmt: skip
    yield compared(folder / "one" / "scores.parquet", folder / "several" / "scores.parquet")


def synthetic(folder: Path) -> str:
    """A small synthetic corpus: speakers and clips as the grid below asks for, and a few more."""
    from tasks.data.synthetic import Part, Size, ensure

    size = Size(train=Part(speakers=6, clips=4), dev=Part(speakers=1, clips=1), test=Part(speakers=4, clips=4))
    return str(ensure(LANGUAGES, folder, size=size))


def compared(one: Path, several: Path) -> str:
    """Whether two tables of scores are the same."""
    tables = [{tuple(row[key] for key in KEY): row["value"] for row in pq.read_table(path).to_pylist()}
              for path in (one, several)]  # fmt: skip
    if tables[0].keys() != tables[1].keys():
        return f"several at once: OTHER scores are there, {len(tables[1])} for {len(tables[0])}"
    largest = max(abs(tables[0][key] - tables[1][key]) for key in tables[0])
    same = "the scores of one at a time" if largest == 0 else f"OTHER scores, by up to {largest:.2g}"
    return f"several at once: {same} ({len(tables[0])})"


def _shares(on_gpu: bool) -> dict[str, float]:
    """Share of the GPU that a trial has."""
    return {"one": 1.0, "several": 0.25} if on_gpu else {"one": 0.0, "several": 0.0}


def _grid(folder: Path, name: str, backbone: str, corpus: str, share: float) -> Path:
    """A gender grid as the paper's, of few clips."""
    return write_grid(
        folder / f"{name}.toml", task="gender", corpus=str(Path(corpus).resolve()), languages=list(LANGUAGES), seeds=1,
        samples=8, clips_per_speaker=4, blocks="fixed", model={"backbone": backbone},
        train={"learning_rate": 1e-5, "batch_size": 1, "precision": "fp16" if share else "fp32"},
        resources={"gpus_per_trial": share},
    )  # fmt: skip


def _start(folder: Path, grid: Path, *, alone: bool = False) -> subprocess.Popen[bytes]:
    """The engine on a grid; alone: on one core, so that a CPU runs one trial at a time."""
    environ = {**os.environ, "CLTM_CACHE": str(folder / "cache"), "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    words = command("run", grid, "--results", folder / grid.stem)
    if alone:
        core = min(os.sched_getaffinity(0))
        words = [sys.executable, "-c", _ON_A_CORE, str(core), *words]
    with (folder / f"{grid.stem}.log").open("ab") as log:
        return subprocess.Popen(words, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)


_ON_A_CORE = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


def _killed(folder: Path, grid: Path, ends: float) -> dict[Path, int]:
    """Kills a run's driver once a trial is done. Returns the trials that are, and when they were written."""
    process = _start(folder, grid)
    place = folder / grid.stem / "trials"
    while process.poll() is None and time.monotonic() < ends and not _names(place):
        time.sleep(0.05)
    process.kill()
    process.wait()
    return {path: path.stat().st_mtime_ns for path in _names(place)}


def _done(folder: Path, name: str) -> int:
    return len(_names(folder / name / "trials"))


def _names(place: Path) -> list[Path]:
    return sorted(place.glob("[!.]*"))
