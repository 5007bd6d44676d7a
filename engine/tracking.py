"""Mirrors trials to Weights & Biases. The results folder is the truth: a failing logger never fails a training.

One run a trial, written by rank 0 alone: group = task/backbone, job type = base, self, cross or other, config = the
resolved configuration with the trial, history = loss, gradient norm and learning rate by step, summary = scores and
seconds. Offline unless WANDB_API_KEY is set or the grid says otherwise.

A process has one thread for all of it, so that a training waits neither for the logger nor for its network: a trial
starts as soon as the one before the last is written. `drain` waits for what is left.
"""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

from engine.job import Job
from engine.store import Result
from grids.mixture import Trial

logger = logging.getLogger(__name__)
LOG_EVERY = 10  # optimiser steps


class Tracker:
    """One trial's W&B run; does nothing where tracking is off."""

    def __init__(self, job: Job, trial: Trial) -> None:
        self._run: Any = None
        self._on = job.wandb != "off"
        self._later(lambda: self._start(job, trial))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds a step's values to the history."""
        if step == 1 or step % LOG_EVERY == 0:
            self._later(lambda: self._run.log({name: float(value) for name, value in values.items()}, step=step))

    def finish(self, result: Result | None) -> None:
        """Writes the summary and ends the run; without a result it counts as failed."""
        done = self._later(lambda: _finish(self._run, result))
        if done is not None:
            _ending().append(done)
            drain(but=1)

    def _start(self, job: Job, trial: Trial) -> None:
        self._run = _start(job, trial)

    def _later(self, call: Callable[[], Any]) -> "Future[None] | None":
        """Has the logger called by its thread, in order."""
        return _thread().submit(self._try, call) if self._on else None

    def _try(self, call: Callable[[], Any]) -> None:
        """Calls the logger; the first error switches it off for this trial and is logged once."""
        if not self._on:
            return
        try:
            call()
        except Exception as error:  # whatever a logger raises, the training goes on
            logger.warning("W&B is off for this trial: %s: %s", type(error).__name__, error)
            self._on = False


def drain(but: int = 0) -> None:
    """Waits until the runs of all finished trials are written, or of all but the last few."""
    ending = _ending()
    while len(ending) > but:
        wait([ending.pop(0)])


@cache
def _thread() -> ThreadPoolExecutor:
    """The thread that talks to W&B; a process that ends by itself waits for it."""
    return ThreadPoolExecutor(1, thread_name_prefix="wandb")


@cache
def _ending() -> list["Future[None]"]:
    """What the thread has yet to write of finished trials."""
    return []


def _start(job: Job, trial: Trial) -> Any:
    """Opens the run."""
    import wandb

    grid = job.grid
    languages = trial.mixture.languages
    mixture = trial.mixture.text(grid.samples)
    role = trial.mixture.role(languages[0], grid.samples)[0] if languages else "untouched"
    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True,
        init_timeout=30,
    )  # fmt: skip
    return wandb.init(
        project=grid.tracking.project or "cltm-" + grid.task.replace("/", "-"),
        group=f"{grid.task}/{Path(grid.model.backbone).name}",
        job_type=role,
        name=trial.slug,
        id=f"{trial.slug[-8:]}-{job.identity.config_sha[:8]}-{time.time_ns() // 1_000_000:x}",
        tags=list(languages),
        config={**job.identity.config, "grid": grid.name, "mixture": mixture, "seed": trial.seed},
        dir=str(job.results),
        mode="online" if job.wandb == "online" else "offline",
        reinit="finish_previous",
        settings=settings,
    )


def _finish(run: Any, result: Result | None) -> None:
    """Writes the summary of a finished trial and closes the run."""
    if result is not None:
        for score in result.scores:
            name = "/".join(part for part in (score.metric, score.language, score.condition) if part)
            run.summary[name] = score.value
        run.summary.update({f"seconds/{phase}": seconds for phase, seconds in result.passes[-1].seconds.items()})
        run.summary.update({"n_train": result.n_train, "steps": result.steps, "data_sha": result.data_sha})
    run.finish(exit_code=0 if result is not None else 1)
