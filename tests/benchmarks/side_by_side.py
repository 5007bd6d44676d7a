"""The same grid three ways: a process a trial, plain Ray Tune, this engine. One data set, one model, equal scores.

(a) is what people write: a script a trial that imports, loads the model, decodes its MP3 files, trains and scores, two
at once. (b) is the same inside Ray Tune, a process a trial. (c) is `python -m engine run`, its decoding included.
Data are drawn and selected by the project's code everywhere, so (a) and (b) are spared what their scripts would add.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from engine.job import make_job
from engine.plan import make_plan
from grids.grid import load
from tasks.data.audio import decode
from tasks.data.cache import cache_folder
from tasks.data.clips import Clip
from tasks.data.common_voice import language_folder
from tests.benchmarks.measured import Measured
from tests.engine.runs import ROOT, command, write_grid

LANGUAGES = ("ca", "es", "eu", "it", "tr")  # 20 mixtures; 3 seeds make 60 trials
AT_ONCE = 2
Found = dict[str, dict[str, float]]  # trial -> language and metric -> score


@dataclass(frozen=True)
class Side:
    """One way to run the grid: its name, seconds, and what it scored."""

    name: str
    seconds: float
    scores: Found


class DecodedClips:
    """Waves straight from the corpus's MP3 files, decoded once a process."""

    def __init__(self, release: Path) -> None:
        self._release, self._waves = release, dict[Clip, np.ndarray]()

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """(T,) float32 in [-1, 1], one a clip."""
        for clip in set(clips) - set(self._waves):
            path = language_folder(self._release, clip.language) / "clips" / clip.name
            self._waves[clip] = decode(path).astype(np.float32) / 32768
        return [self._waves[clip] for clip in clips]


def plain_trial(grid_path: str, number: int) -> dict[str, float]:
    """One trial as a script of its own would run it."""
    import torch

    from engine.fitting import World
    from engine.learner import Learner
    from engine.room import Room
    from engine.train import trial_data
    from tasks.base import Setup

    grid = load(grid_path)
    job = make_job(grid, Path(grid_path).parent / "unused")
    pending = make_plan(job).pending[number]
    trial, task, device = pending.trial, job.task, torch.device("cpu")
    torch.set_num_threads(1)
    data = trial_data(job, task, trial.mixture, trial.seed, pending.languages)
    network = task.network(Setup(trial.mixture, data.training, trial.seed))
    waves = DecodedClips(Path(grid.corpus))
    learner = Learner(task, network, waves, job.train, device, World(), Room(60.0), lambda step, values: None)
    learner.fit(data.stages, trial.seed)
    tests = learner.evaluate(data.tests)
    assert tests is not None
    return {f"{score.language} {score.metric}": score.value for score in task.score(network, tests).scores}


def processes(grid_path: Path) -> Found:
    """(a): a process a trial."""

    def one(number: int) -> dict[str, float]:
        call = [sys.executable, "-m", "tests.benchmarks.side_by_side", str(grid_path), str(number)]
        done = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    slugs = _slugs(grid_path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(slugs, pool.map(one, range(len(slugs))), strict=True))


def plain_tune(grid_path: Path) -> Found:
    """(b): Ray Tune, a process a trial."""
    call = [sys.executable, "-m", "tests.benchmarks.side_by_side", str(grid_path)]
    done = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def _tune(grid_path: str) -> Found:
    """What the process of (b) does."""
    import ray
    from ray import tune

    slugs = _slugs(Path(grid_path))

    def trainable(config: dict[str, Any]) -> dict[str, Any]:
        return {"found": plain_trial(grid_path, config["number"])}

    ray.init(address="local", num_cpus=AT_ONCE, include_dashboard=False, log_to_driver=False)
    numbers = tune.grid_search(list(range(len(slugs))))
    results = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}), param_space={"number": numbers},
        run_config=tune.RunConfig(verbose=0),
    ).fit()  # fmt: skip
    found = {slugs[one.config["number"]]: one.metrics["found"] for one in results}
    ray.shutdown()
    return found


def this_engine(grid_path: Path) -> Found:
    """(c): the engine, with a cache that holds nothing but the model."""
    results, cache = grid_path.parent / "results", grid_path.parent / "cache"
    shutil.copytree(cache_folder() / "models", cache / "models")
    environ = {**os.environ, "CLTM_CACHE": str(cache)}
    subprocess.run(command("run", grid_path, "--results", results), cwd=ROOT, env=environ, check=True,
                   capture_output=True)  # fmt: skip
    table = pq.read_table(results / "scores.parquet").to_pylist()
    found: Found = {}
    for row in table:
        found.setdefault(row["trial"], {})[f"{row['language']} {row['metric']}"] = row["value"]
    return found


def measure(folder: Path) -> Iterator[Measured]:
    """60 trials of a fraction of a second each; and that all three score the same."""
    sides = compare(folder / "small", samples=8)
    for side in sides:
        yield Measured(f"seconds of 60 trials: {side.name}", [side.seconds])
    engine = sides[-1]
    for side, bar in zip(sides, ("5", "3"), strict=False):
        if side.scores != engine.scores:
            sys.exit(f"{side.name} scores otherwise than {engine.name}")
        yield Measured(f"times as fast as {side.name}, equal scores, W&B off", [side.seconds / engine.seconds], bar)


def compare(folder: Path, samples: int, seeds: int = 3) -> tuple[Side, ...]:
    """Runs the grid the three ways, one after the other, in a folder of its own.

    Args:
        folder: for the grid, the results and the engine's cache.
        samples: N, which sets how long a training takes.
        seeds: 20 trials each.
    """
    from tasks.data.prepare import open_corpus

    folder.mkdir()
    release = open_corpus("synthetic", LANGUAGES)
    grid_path = write_grid(
        folder / "grid.toml", task="gender", corpus=str(release), languages=list(LANGUAGES), seeds=seeds,
        samples=samples, clips_per_speaker=2, model={"backbone": "tiny", "freeze_feature_encoder": True},
        train={"learning_rate": 2e-3, "epochs": 2, "batch_size": 8},
    )  # fmt: skip
    _slugs(grid_path)  # prepares the data that (a) and (b) take their clip lists from
    sides = (("a process a trial", processes), ("plain Ray Tune", plain_tune), ("this engine", this_engine))
    return tuple(_timed(name, run, grid_path) for name, run in sides)


def _timed(name: str, run: Callable[[Path], Found], grid_path: Path) -> Side:
    """Runs one side."""
    start = time.perf_counter()
    found = run(grid_path)
    return Side(name, time.perf_counter() - start, found)


def _slugs(grid_path: Path) -> list[str]:
    """The grid's trials by name, in order."""
    job = make_job(load(grid_path), grid_path.parent / "unused")
    return [item.trial.slug for item in make_plan(job).pending]


if __name__ == "__main__":
    where, *which = sys.argv[1:]
    print(json.dumps(plain_trial(where, int(which[0])) if which else _tune(where)))  # noqa: T201
