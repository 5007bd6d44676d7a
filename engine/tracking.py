"""Mirrors trials to Weights & Biases. The results folder is the truth: a failing logger never fails a training.

A trial's run, written by rank 0 alone: group = task/backbone, job type = its role, tags = languages and their families,
config = the resolved configuration with target, donor, mixture and seed, history = loss, gradient norm, learning rate
and samples a second by step, summary = scores, counts, seconds, hashes. In grids of more than a run a trial, the trial
leaves its curve beside the results, and `engine.wandb_rows` writes the runs when the grid is complete.

A training never talks to a server: its run is written to disk, and `engine.sync` sends what is finished, from the
driver. A process has one thread for it, so that a training does not wait for the logger: a trial starts as soon as the
one before the last is written. `drain` waits for what is left.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any

from engine.job import Job
from engine.offline import close_run, open_run, tags
from engine.store import Result, Store
from grids.files import write_atomically
from grids.mixture import Trial

logger = logging.getLogger(__name__)
HANGS_SECONDS = 60.0  # after which a logger on a local disk is taken for broken


class Tracker:
    """One trial's W&B run, or its curve; does nothing where tracking is off."""

    def __init__(self, job: Job, trial: Trial) -> None:
        self._run: Any = None
        self._on, self._every = job.wandb != "off", job.grid.tracking.log_every
        self._batch = 0 if job.train.batch_seconds else job.train.batch_size  # 0: it differs from step to step
        self._mark = 0, time.monotonic()
        self._later(lambda: self._start(job, trial))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds a step's values to the history."""
        from engine.fitting import WINDOW

        if step > 1 and step % self._every and not any(name.startswith("dev_") for name in values):
            return
        kept, (before, then), now = dict(values), self._mark, time.monotonic()
        if self._batch and step - before >= WINDOW:  # of fewer steps, the device may still have all to do
            kept["samples_per_second"] = (step - before) * self._batch / (now - then)
            self._mark = step, now
        self._later(lambda: self._run.log({name: float(value) for name, value in kept.items()}, step=step))

    def finish(self, result: Result | None) -> None:
        """Writes the summary and ends the run; without a result it counts as failed."""
        done = self._later(lambda: _finish(self._run, result))
        if done is not None:
            _ending().append(done)
            drain(but=1)

    def _start(self, job: Job, trial: Trial) -> None:
        self._run = _start(job, trial) if job.grid.granularity == "run" else Curve(job.store, trial)

    def _later(self, call: Callable[[], Any]) -> "Future[None] | None":
        """Has the logger called by its thread, in order."""
        return _thread().submit(self._try, call) if self._on and not _hanging() else None

    def _try(self, call: Callable[[], Any]) -> None:
        """Calls the logger; the first error switches it off for this trial and is logged once."""
        if not self._on or _hanging():
            return
        try:
            call()
        except Exception as error:  # whatever a logger raises, the training goes on
            logger.warning("W&B is off for this trial: %s: %s", type(error).__name__, error)
            self._on = False


class Curve:
    """The history of a trial that has no run of its own: a file beside the results."""

    def __init__(self, store: Store, trial: Trial) -> None:
        self._path, self._steps = store.kept_path("curves", trial, ".json"), list[dict[str, float]]()
        self.summary = dict[str, Any]()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds a step."""
        self._steps.append({"step": step, **values})

    def finish(self, exit_code: int) -> None:
        """Writes the file, if the trial came to its end and had steps."""
        if exit_code == 0 and self._steps:
            write_atomically(self._path, json.dumps(self._steps))


def drain(but: int = 0) -> None:
    """Waits until the runs of all finished trials are written, or of all but the last few; a while, not for ever."""
    ending = _ending()
    while len(ending) > but:
        if wait([ending.pop(0)], HANGS_SECONDS).not_done:
            logger.warning("W&B is off for this process: nothing was written for %.0f s", HANGS_SECONDS)
            _hanging().append(True)
            ending.clear()


@cache
def _thread() -> ThreadPoolExecutor:
    """The thread that writes."""
    return ThreadPoolExecutor(1, thread_name_prefix="wandb")


@cache
def _ending() -> list["Future[None]"]:
    """What the thread has yet to write of finished trials."""
    return []


@cache
def _hanging() -> list[bool]:
    """Not empty once the logger has been found to hang; nobody calls it any more."""
    return []


def _start(job: Job, trial: Trial) -> Any:
    """Opens the run of a trial."""
    grid, languages = job.grid, trial.mixture.languages
    roles = {code: trial.mixture.role(code, grid.samples) for code in languages}
    target = languages[0] if languages else ""  # a pair has two: `cells` names both
    role, donor = roles.get(target, ("untouched", ""))
    config = {
        **job.identity.config, "config_sha": job.identity.config_sha, "grid": grid.name, "role": role,
        "target": target, "donor": donor, "cells": [f"{code} from {roles[code][1] or 'base'}" for code in languages],
        "mixture": trial.mixture.text(grid.samples), "seed": trial.seed,
    }  # fmt: skip
    return open_run(
        job.results, project=grid.project, group=grid.group, job_type=role, name=trial.slug, config=config,
        id=f"{trial.slug[-8:]}-{job.identity.config_sha[:8]}-{time.time_ns() // 1_000_000:x}", tags=tags(languages),
    )  # fmt: skip


def _finish(run: Any, result: Result | None) -> None:
    """Writes the summary of a finished trial and closes the run."""
    if result is not None:
        for score in result.scores:
            name = "/".join(part for part in (score.metric, score.language, score.condition) if part)
            run.summary[name] = score.value
            run.summary["/".join(part for part in ("n_test", score.language, score.condition) if part)] = score.n_test
        last = result.passes[-1]
        run.summary.update({f"seconds/{phase}": seconds for phase, seconds in last.seconds.items()})
        run.summary.update(
            {
                "n_train": result.n_train, "steps": result.steps, "seconds": sum(last.seconds.values()),
                "data_sha": result.data_sha, "code_version": last.code_version, "device": last.device,
                "trained_share": last.trained_share,
            }
        )  # fmt: skip
    run.summary["failed"] = int(result is None)
    close_run(run, 0 if result is not None else 1)
