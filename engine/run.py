"""Runs what a grid lacks: Ray Tune over the pending trials, Ray Train inside each.

With one worker a trial, Ray Train's local mode runs the training in the Tune actor's own process, which is kept for the
next trial: imports, backbone weights and memory-mapped audio are there once a process. With more, each trial starts a
group of DDP workers.

A Tuner returns normally with failed trials, so nothing here believes it: done means that the grid has no holes.
"""

import logging
import os
import shutil
import socket
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from engine.job import Job
from engine.plan import Pending
from engine.progress import Progress
from engine.store import Result
from grids.errors import UserError
from grids.files import is_full

logger = logging.getLogger(__name__)
LEAST_FREE_BYTES = 64 * 1024  # less on the results' disk ends a run
OBJECT_STORE_BYTES = 256 * 1024**2  # paths travel, arrays do not
WAITING = {
    "CPU": 0.0,
    "memory": 1.0,
}  # a trial that waits for its workers, which need every core; no bundle may be empty
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}


def run_pending(job: Job, pending: tuple[Pending, ...], progress: Progress) -> None:
    """Runs the trials; each finished one is in the results folder when it counts as finished.

    Raises:
        UserError: the machine or cluster has not what one trial needs.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is finished is kept.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    with _ray(), _scratch(job.results) as scratch:
        concurrent = _concurrent_trials(job, ray.cluster_resources())
        size = job.grid.resources.trials_per_tuner
        for start in range(0, len(pending), size):
            try:
                _tune(job, pending[start : start + size], progress, scratch, concurrent)
            except Exception as error:  # of Ray's own: what is finished is kept, the rest is a hole that is reported
                logger.error("the run stopped: %s: %s", type(error).__name__, error)
                return
            if _FullDisk(job.results).stop_all():
                raise UserError(f"no space left in {str(job.results)!r}; what is finished is kept")


def _tune(job: Job, pending: tuple[Pending, ...], progress: Progress, scratch: Path, concurrent: int) -> None:
    """One Tuner over a chunk of trials."""
    resources = job.grid.resources
    alone = resources.workers_per_trial == 1
    amounts = {"CPU": float(resources.cpus_per_trial), "GPU": resources.gpus_per_trial} if alone else WAITING
    # Tune's configurations hold plain values: a trial is its number in the chunk.
    trainable = tune.with_parameters(_run_in_actor, job=job, chunk=pending, scratch=str(scratch))

    def name_of(trial: Any) -> str:
        """The trial's slug, so that dashboards and logs can be read."""
        item: Pending = pending[trial.config["number"]]
        return item.trial.slug

    tune.Tuner(
        tune.with_resources(trainable, amounts),
        param_space={"number": tune.grid_search(list(range(len(pending))))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=concurrent,
            trial_name_creator=name_of,
            trial_dirname_creator=name_of,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            stop=_FullDisk(job.results),
            callbacks=[_Watch(job, pending, progress)],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
        ),
    ).fit()


def _run_in_actor(config: dict[str, Any], job: Job, chunk: tuple[Pending, ...], scratch: str) -> dict[str, int]:
    """One trial as Ray Tune calls it: train, store, report."""
    pending = chunk[config["number"]]
    resources = job.grid.resources
    alone = resources.workers_per_trial == 1
    each = {"CPU": float(resources.cpus_per_trial), "GPU": resources.gpus_per_trial}
    scaling = ScalingConfig(
        num_workers=0 if alone else resources.workers_per_trial,
        use_gpu=resources.gpus_per_trial > 0,
        resources_per_worker=None if alone else each,
    )
    try:
        trainer: Any = TorchTrainer(
            cast(Any, _train_loop),  # Ray's types know of no return value, which the worker of rank 0 gives back
            train_loop_config={"job": job, "pending": pending},
            scaling_config=scaling,
            run_config=RunConfig(name=pending.trial.slug, storage_path=str(Path(scratch, "train"))),
        )
        result: Result = trainer.fit().return_value
        job.store.write(result)
    except Exception as error:
        with suppress(OSError):  # a full disk must not hide the cause
            job.store.write_failure(pending.trial, traceback.format_exc())
        if isinstance(error, (UserError, FloatingPointError)) or is_full(error):
            return {"done": 0}  # it would fail again
        raise
    return {"done": 1}


def _train_loop(config: dict[str, Any]) -> Result | None:
    """One worker of a trial, as Ray Train calls it."""
    from engine.fitting import World
    from engine.tracking import Tracker
    from engine.train import run_trial

    job, pending = config["job"], config["pending"]
    if World.current().rank > 0:
        return run_trial(job, pending)
    tracker, result = Tracker(job, pending.trial), None
    try:
        result = run_trial(job, pending, tracker.log)
    finally:
        tracker.finish(result)
    return result


class _FullDisk(tune.Stopper):
    """Stops a run that could not keep another trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Whether the results' disk is full."""
        return shutil.disk_usage(self._folder).free < LEAST_FREE_BYTES


class _Watch(tune.Callback):
    """Tells the progress display how trials end."""

    def __init__(self, job: Job, chunk: tuple[Pending, ...], progress: Progress) -> None:
        self._store, self._chunk, self._progress = job.store, chunk, progress

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: a Tuner pickles its callbacks to restore them, which we never ask for."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has stored its result."""
        item = self._chunk[trial.config["number"]]
        result = self._store.read(item.trial)
        if result is not None and result.languages >= set(item.languages):
            self._progress.finished(result)
        else:
            self.on_trial_error(iteration, trials, trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed for the last time."""
        cause = self._store.cause(self._chunk[trial.config["number"]].trial)
        self._progress.failed(cause or "the worker process died")


def _concurrent_trials(job: Job, cluster: dict[str, float]) -> int:
    """How many trials fit at once.

    Raises:
        UserError: not even one fits.
    """
    resources = job.grid.resources
    workers = resources.workers_per_trial
    need = {"CPU": workers * resources.cpus_per_trial, "GPU": workers * resources.gpus_per_trial}
    for name, amount in need.items():
        if amount > cluster.get(name, 0):
            raise UserError(
                f"one trial needs {amount:g} {name}s ([resources]: {workers} workers), but Ray has "
                f"{cluster.get(name, 0):g}"
            )
    return int(min(cluster[name] / amount for name, amount in need.items() if amount))


@contextmanager
def _ray() -> Iterator[None]:
    """Ray on the cluster at RAY_ADDRESS, or on this machine alone. Never joins a Ray that it was not told of."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a trial's failure is kept in its file and reported by us
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _scratch(results: Path) -> Iterator[Path]:
    """A folder for Ray's own files, gone afterwards: beside the results, where every node of a cluster sees it."""
    if not os.environ.get("RAY_ADDRESS"):
        with tempfile.TemporaryDirectory(prefix="cltm-") as name:
            yield Path(name)
        return
    host = socket.gethostname()
    for old in results.glob(f".ray-{host}-*"):
        if not Path("/proc", old.name.rpartition("-")[2]).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = results / f".ray-{host}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
