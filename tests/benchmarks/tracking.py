"""What W&B costs a trial: a run is opened, gets a curve of 20 points and a summary, and is closed."""

import time
from collections.abc import Iterator
from pathlib import Path

from engine.plan import make_plan
from engine.tracking import Tracker, drain
from engine.train import run_trial
from tests.benchmarks.measured import Measured
from tests.engine.jobs import toy_job

RUNS = 1000
REPEATS = 1  # a thousand runs are many


def measure(folder: Path) -> Iterator[Measured]:
    """A thousand offline runs, the first and its start included; then trials of a grid of one run a row."""
    for what, granularity, bar in (("W&B run", "run", "150"), ("trial in a run of its row", "row", "")):
        name = f"ms a {what}, {RUNS} of them, written offline"
        yield Measured(name, [ms_a_run(folder / f"{granularity}{n}", granularity) for n in range(REPEATS)], bar)


def ms_a_run(results: Path, granularity: str) -> float:
    """Milliseconds a run beyond the training, which is empty."""
    job = toy_job(results, tracking={"wandb": "offline", "granularity": granularity, "log_every": 1})
    item = make_plan(job).pending[0]
    result = run_trial(job, item)
    start = time.perf_counter()
    for _ in range(RUNS):
        tracker = Tracker(job, item.trial)
        for step in range(1, 21):
            tracker.log(step, {"loss": 1.0 / step, "gradient_norm": 1.0, "learning_rate": 1e-3})
        tracker.finish(result)
    drain()
    return (time.perf_counter() - start) / RUNS * 1000
