"""Runs what a grid lacks: Ray Tune over the pending trials, Ray Train inside each.

With one worker a trial, Ray Train's local mode runs the training in the Tune actor's own process, which is kept for the
next trial: imports, backbone weights and memory-mapped audio are there once a process. With more, each trial starts a
group of DDP workers.

A Tuner returns normally with failed trials, so nothing here believes it: done means that the grid has no holes.

A worker that dies takes its trial along, which is tried again. A node, or Ray itself, that dies takes all that run: Ray
starts anew for what is left. A driver that dies takes its Ray along.
"""

import logging
import os
import pickle
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.schedulers import FIFOScheduler

from engine.claims import LOOK_SECONDS, STOP_SIGNALS, Run, stop_watch
from engine.job import Job
from engine.mps import serving
from engine.plan import Pending
from engine.progress import Display
from engine.store import Result
from grids.errors import UserError
from grids.files import is_full
from grids.machine import OBJECT_STORE_BYTES

logger = logging.getLogger(__name__)
WAITING = {
    "CPU": 0.0,
    "memory": 1.0,
}  # a trial that waits for its workers, which need every core; no bundle may be empty
Outcome = Literal["stored", "failed", "held", "stopped", "full"]  # held: another run trains it; full: the disk
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}


@dataclass(frozen=True)
class Chunk:
    """Trials handed to one Tuner, by their slugs, which is what Tune's configurations hold."""

    job: Job
    run: Run
    items: Mapping[str, Pending]
    scratch: Path

    @property
    def all_started(self) -> Path:
        """A file that is there once no trial of the chunk waits for a process."""
        return self.scratch / f"all-started-{len(self.items)}-{min(self.items)}"


def run_pending(job: Job, pending: tuple[Pending, ...], run: Run, display: Display) -> None:
    """Runs the trials; each finished one is in the results folder when it counts as finished.

    Returns when no trial is left that has neither finished nor failed, that no other run trains, or the run was asked
    to stop.

    Raises:
        UserError: the machine or cluster has not what one trial needs, or a disk is full.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    in_vain = 0  # starts of Ray that got no trial further
    while in_vain <= job.grid.resources.max_retries:
        held = run.held()
        free = tuple(item for item in pending if item.trial.slug not in held)
        if not free or run.is_stopping():
            return
        ended = _run_free(job, free, run, display)
        in_vain = 0 if ended else in_vain + 1
        pending = tuple(item for item in pending if item.trial.slug not in ended)


def _run_free(job: Job, pending: tuple[Pending, ...], run: Run, display: Display) -> set[str]:
    """Runs trials with one Ray, until it dies. Returns those that finished or failed."""
    watch, size = _Watch(job, run, display), job.grid.resources.trials_per_tuner
    mps = job.grid.resources.sharing == "mps" and not os.environ.get("RAY_ADDRESS")  # else each node's Ray has its own
    try:
        with serving(mps), _ray(), _scratch(job.results) as scratch:
            concurrent = _concurrent_trials(job, ray.cluster_resources())
            for start in range(0, len(pending), size):
                left = (item for item in pending[start : start + size] if not watch.saw_finished(item))
                items = {item.trial.slug: item for item in left}
                if items and not run.is_stopping():
                    _tune(Chunk(job, run, items, scratch), watch, concurrent)
    except UserError:
        raise
    except Exception as error:  # of Ray's own: what is finished is kept
        logger.error("Ray has ended: %s: %s", type(error).__name__, error)
    if watch.is_full:
        raise UserError(f"no space left in {str(job.results)!r} or {str(job.cache)!r}; what is finished is kept")
    return watch.ended


def _tune(chunk: Chunk, watch: "_Watch", concurrent: int) -> None:
    """One Tuner over a chunk of trials."""
    resources = chunk.job.grid.resources
    alone = resources.workers_per_trial == 1
    amounts = {"CPU": float(resources.cpus_per_trial), "GPU": resources.gpus} if alone else WAITING

    tune.Tuner(
        tune.with_resources(tune.with_parameters(_run_in_actor, chunk=chunk), amounts),
        param_space={"trial": tune.grid_search(list(chunk.items))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            scheduler=_InOrder(),  # type: ignore[no-untyped-call]
            max_concurrent_trials=concurrent,
            trial_name_creator=_slug,
            trial_dirname_creator=_slug,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(chunk.scratch),
            verbose=0,
            stop=_Stop(watch),
            callbacks=[watch.of(chunk)],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
        ),
    ).fit()


class _InOrder(FIFOScheduler):
    """Chooses nothing, so that Tune starts what is pending in its own order.

    What the base class chooses gets the next free process, and its own, which is still starting, is ended. While trials
    are shorter than a start, the place of a process that starts late or again would stay empty.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None."""


def _slug(trial: Any) -> str:
    """The trial's name for people and folders. No closure: a Tuner pickles this function once a trial."""
    slug: str = trial.config["trial"]
    return slug


def _run_in_actor(config: dict[str, Any], chunk: Chunk) -> dict[str, Outcome]:
    """One trial as Ray Tune calls it: claim, train, store, report."""
    slug, run, store = config["trial"], chunk.run, chunk.job.store
    pending = chunk.items[slug]
    if not run.claim(slug):
        return {"outcome": "held"}
    try:
        if run.is_stopping():
            return {"outcome": "stopped"}
        if not store.has(pending.trial, pending.languages):
            result = _train(chunk, pending)
            if result is None:
                return {"outcome": "stopped"}  # it waits as a checkpoint
            store.write(result)
        return {"outcome": "stored"}
    except Exception as error:
        with suppress(OSError):  # a full disk must not hide the cause
            store.write_failure(pending.trial, traceback.format_exc())
        if is_full(error):
            return {"outcome": "full"}
        if isinstance(error, (UserError, FloatingPointError)):
            return {"outcome": "failed"}  # it would fail again
        raise
    finally:
        run.release(slug)


def _train(chunk: Chunk, pending: Pending) -> Result | None:
    """Trains one trial on its workers. None: the run was asked to stop, and the trial waits as a checkpoint."""
    resources = chunk.job.grid.resources
    alone = resources.workers_per_trial == 1
    each = {"CPU": float(resources.cpus_per_trial), "GPU": resources.gpus}
    scaling = ScalingConfig(
        num_workers=0 if alone else resources.workers_per_trial,
        use_gpu=resources.gpus > 0,
        resources_per_worker=None if alone else each,
    )
    trainer: Any = TorchTrainer(
        cast(Any, _train_loop),  # Ray's types know of no return value, which the worker of rank 0 gives back
        train_loop_config={"chunk": chunk, "pending": pending},
        scaling_config=scaling,
        run_config=RunConfig(name=pending.trial.slug, storage_path=str(chunk.scratch / "train")),
    )
    result: Result | None = trainer.fit().return_value
    return result


def _train_loop(config: dict[str, Any]) -> Result | None:
    """One worker of a trial, as Ray Train calls it."""
    from engine.fitting import World
    from engine.tracking import Tracker, drain
    from engine.train import run_trial

    chunk, pending = config["chunk"], config["pending"]
    if World.current().rank > 0:
        return run_trial(chunk.job, pending)
    tracker, result = Tracker(chunk.job, pending.trial), None
    try:
        result = run_trial(chunk.job, pending, tracker.log, stop_watch(chunk.run))
    finally:
        tracker.finish(result)
        if World.current().size > 1 or chunk.all_started.exists():  # this process may end with the trial
            drain()
    return result


class _Watch(tune.Callback):
    """Sees how trials end: tells the display, keeps why workers died, gives back what dead workers had claimed."""

    def __init__(self, job: Job, run: Run, display: Display) -> None:
        self._store, self._run, self._display = job.store, run, display
        self._handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._items: Mapping[str, Pending] = {}
        self._waiting, self._all_started = set[str](), Path()
        self._looked, self._over = float("-inf"), False
        self.ended, self.is_full = set[str](), False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: a Tuner pickles its callbacks to restore them, which we never ask for."""
        return {}

    def of(self, chunk: Chunk) -> "_Watch":
        """Looks at another chunk from now on."""
        self._items, self._waiting, self._all_started = chunk.items, set(chunk.items), chunk.all_started
        return self

    def saw_finished(self, item: Pending) -> bool:
        """Whether another run has stored the trial meanwhile; if so, it is shown."""
        result = self._store.read(item.trial)
        if result is None or not result.languages >= set(item.languages):
            return False
        self.ended.add(item.trial.slug)
        self._display.finished(result)
        return True

    def is_over(self) -> bool:
        """Whether no trial needs to go on: the disk is full, or a run that was asked to stop has none left."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            _require_ray()
            self._over = self._run.is_stopping() and not self._run.claimed()
        return self.is_full or self._over

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Takes back the signals that Ray and Tune have taken."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has got its process."""
        self._waiting.discard(_slug(trial))
        if not self._waiting:
            self._all_started.touch()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended in order."""
        item = self._items[_slug(trial)]
        outcome: Outcome = trial.last_result.get("outcome", "stopped")
        self.is_full |= outcome == "full"
        if outcome == "failed" or (outcome == "stored" and not self.saw_finished(item)):
            self._failed(item)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt has failed, and another one will follow."""
        error = _error_of(trial)
        item = self._items[_slug(trial)]
        if isinstance(error, RayActorError) and not self._store.has(item.trial, item.languages):
            with suppress(OSError):
                self._store.write_failure(item.trial, _death(error))
            self._run.release(item.trial.slug)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The last attempt has failed."""
        self.on_trial_recover(iteration, trials, trial)
        self._failed(self._items[_slug(trial)])

    def _failed(self, item: Pending) -> None:
        self.ended.add(item.trial.slug)
        self._display.failed(self._store.cause(item.trial) or "unknown: its cause could not be written")


class _Stop(tune.Stopper):
    """Ends a Tuner that has nothing to wait for."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Whether no trial needs to go on."""
        return self._watch.is_over()


def _require_ray() -> None:
    """Raises if this machine's Ray has lost a process; seconds later that would end this one, without a word."""
    node: Any = ray._private.worker._global_node
    dead = [str(kind) for kind, _ in node.dead_processes()] if node else []
    if set(dead) & {"raylet", "gcs_server"}:
        raise RuntimeError(f"{', '.join(dead)} died")


def _error_of(trial: Any) -> object:
    """The last error of a Tune trial. Its own `get_pickled_error` reads a copy of the file, which comes later."""
    path = trial.pickled_error_file
    return pickle.loads(Path(path).read_bytes()) if path else None


def _death(error: RayActorError) -> str:
    """Why a worker died, as far as Ray knows; the last line is the cause."""
    memory = "low on memory" in str(error) or "memory pressure" in str(error)
    why = "Ray ended it, since the node was low on memory" if memory else "killed, out of memory, or crashed"
    return f"{error}\nthe worker process died: {why}"


def _concurrent_trials(job: Job, cluster: dict[str, float]) -> int:
    """How many trials fit at once.

    Raises:
        UserError: not even one fits.
    """
    resources = job.grid.resources
    workers = resources.workers_per_trial
    need = {"CPU": workers * resources.cpus_per_trial, "GPU": workers * resources.gpus}
    for name, amount in need.items():
        if amount > cluster.get(name, 0):
            each = f"{name.lower()}s_per_trial = {amount / workers:g}, workers_per_trial = {workers} in [resources]"
            raise UserError(f"one trial needs {amount:g} {name}s ({each}), but Ray has {cluster.get(name, 0):g}")
    if cluster.get("GPU") and not need["GPU"] and job.task.needs.audio:
        logger.warning("no trial uses the %g GPUs that are here: gpus_per_trial in [resources] is 0", cluster["GPU"])
    return int(min(cluster[name] / amount for name, amount in need.items() if amount))


@contextmanager
def _ray() -> Iterator[None]:
    """Ray on the cluster at RAY_ADDRESS, or on this machine alone. Never joins a Ray that it was not told of."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a trial's failure is kept in its file and reported by us
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    else:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
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
