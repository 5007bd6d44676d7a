"""One training, from its trial to its result: draw the blocks, build the network, fit it, score it.

Plain PyTorch, which runs with and without Ray. On a CPU the numbers depend on the job, the trial and the number of
threads alone, not on what the process did before. On a GPU some kernels are not deterministic; `Result.numerics` says
what a result was computed with.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from engine.checkpoints import Checkpoints, PausedError
from engine.fitting import Log, World
from engine.inputs import CheckedWaves, FrozenOutputs, Inputs, Waves
from engine.job import Job
from engine.keep import keep_checkpoint, keep_outputs, load_checkpoint
from engine.learner import Fitted, Learner
from engine.mps import in_use
from engine.plan import Pending
from engine.precision import tf32
from engine.shortcuts import Shortcuts, room, shortcuts
from engine.store import Pass, Result
from grids.errors import UserError
from grids.mixture import Mixture, Trial
from grids.resources import Resources
from tasks.adapters import trained_share
from tasks.backbones import loaded_on
from tasks.base import Setup, Task
from tasks.data.blocks import draw_block, held_out, switched
from tasks.data.clips import Clip
from tasks.data.store import open_language
from tasks.examples import keyed


@dataclass(frozen=True)
class TrialData:
    """The clips of one trial.

    Attributes:
        stages: training clips, a stage each.
        tests: language -> its test set.
        dev: language of the mixture -> its dev set, if the training is validated.
    """

    stages: tuple[tuple[Clip, ...], ...]
    tests: Mapping[str, tuple[Clip, ...]]
    dev: Mapping[str, tuple[Clip, ...]] = field(default_factory=dict)

    @property
    def training(self) -> tuple[Clip, ...]:
        """Every training clip once."""
        return tuple(dict.fromkeys(clip for stage in self.stages for clip in stage))

    @property
    def scored(self) -> tuple[Clip, ...]:
        """Every dev and test clip."""
        return tuple(clip for own in (*self.dev.values(), *self.tests.values()) for clip in own)


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds = dict[str, float]()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures the time inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def run_trial(
    job: Job,
    pending: Pending,
    log: Log = lambda step, values: None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Trains one mixture with one seed and scores it.

    Args:
        job: what the grid says.
        pending: the trial, the languages it still lacks, and whether a kept checkpoint stands for the training.
        log: called with each optimiser step and its loss, gradient norm and learning rate.
        asked_to_stop: whether a training should leave its state and end, if that takes it long.

    Returns:
        The result, together with the scores that the trial had before; None on every rank but 0, and where the
        training was asked to stop.

    Raises:
        UserError: a language cannot fill its block or has no test clips.
        FloatingPointError: the loss is not finite; names the step and the clips.
    """
    clock, world, started = Clock(), World.current(), datetime.now(UTC)
    trial, task, trained = pending.trial, job.task, pending.how == "checkpoint"
    device = _device(job)
    with clock.phase("data"):
        data = trial_data(job, task, trial.mixture, trial.seed, pending.languages)
    with clock.phase("load"), tf32("fp32"):  # the outputs of a frozen part are kept for other trials
        learner = _learner(job, pending, data, device, log)
    numerics = _numerics(job, world, learner.shortcuts)
    with clock.phase("train"), tf32(job.train.precision):
        try:
            states = _checkpoints(job, trial, numerics, asked_to_stop)
            fitted = Fitted(0) if trained else learner.fit(data.stages, trial.seed, states, data.dev)
        except PausedError:
            return None
    peak = _peak_bytes(device)
    with clock.phase("evaluate"), tf32(job.train.scored_in):
        tests = learner.evaluate(data.tests, data.training)
        if tests is None:
            return None
        scored = task.score(learner.network, tests)
    with clock.phase("keep"):
        keep_outputs(job, trial, tests, scored)
        if "checkpoints" in job.grid.keep and not trained:
            keep_checkpoint(task, learner.network, _checkpoint(job, trial))
    ran = Pass(
        languages=tuple(sorted({score.language for score in scored.scores})),
        seconds=clock.seconds,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        numerics={**numerics, **_found(fitted, learner), **_sharing(job.grid.resources)},
        code_version=job.code_version,
        started=started.isoformat(timespec="seconds"),
        peak_bytes=peak if learner.room.is_measured else _peak_bytes(device),
        trained_share=round(trained_share(learner.network), 6),
    )
    identity = job.identity
    n_train = max((len(stage) for stage in data.stages), default=0)
    result = Result(trial, scored.scores, (ran,), n_train, fitted.steps, identity.config_sha, "", identity.config)
    return _with_earlier(result, job)


def _device(job: Job) -> torch.device:
    """Where the trial computes; this process is made ready for it."""
    resources = job.grid.resources
    device = torch.device("cuda", torch.cuda.current_device()) if resources.gpus else torch.device("cpu")
    torch.set_num_threads(resources.cpus_per_trial)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    os.environ["CLTM_CACHE"] = str(job.cache)  # a worker on another node has its own environment
    return device


def _peak_bytes(device: torch.device) -> int:
    """The most memory of a GPU that was held at once since the trial began; 0 on a CPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def _learner(job: Job, pending: Pending, data: TrialData, device: torch.device, log: Log) -> Learner:
    """The trial's network, as it starts or as it was kept, with what it is fed."""
    trial, task, world = pending.trial, job.task, World.current()
    _seed_everything(trial.seed, world)
    with loaded_on(device):
        network: Any = task.network(Setup(trial.mixture, data.training, trial.seed, data.scored))
    if pending.how == "checkpoint":
        load_checkpoint(network, _checkpoint(job, trial))
    network = network.to(device) if isinstance(network, nn.Module) else network
    inputs = _inputs(job, task, network, device)
    if isinstance(inputs, FrozenOutputs):
        _prepare(inputs, data, world)
    _seed_everything(trial.seed, world)  # again: what was drawn so far may depend on the mixture
    resources = job.grid.resources
    fast = shortcuts(resources, task, device)
    return Learner(task, network, inputs, job.train, device, world, room(resources, task, device), log, fast)


def _checkpoint(job: Job, trial: Trial) -> Path:
    """Where a trial's weights are kept."""
    return job.store.kept_path("checkpoints", trial, ".safetensors")


def trial_data(job: Job, task: Task, mixture: Mixture, seed: int, languages: Sequence[str]) -> TrialData:
    """Draws a trial's blocks and takes its test and dev sets.

    Raises:
        UserError: a language cannot fill its block, has no test clips, or is not what the job was made with.
    """
    grid = job.grid
    if job.corpus is None:
        return TrialData((), {code: () for code in languages})
    opened = {code: open_language(job.corpus, code) for code in sorted({*mixture.languages, *languages})}
    for code, language in opened.items():
        if language.sha != job.identity.data[code]:
            raise UserError(f"the prepared clips of {code!r} changed while the grid ran; run the same command again")
    clips = {code: language.clips for code, language in opened.items()}
    draw = seed if grid.blocks == "per_seed" else None
    stages = tuple(
        tuple(
            clip
            for part in stage
            for clip in draw_block(clips[part.language], task.needs, part.samples, grid.clips_per_speaker, draw)
        )
        for stage in mixture.stages
    )
    tests = {code: held_out(clips[code], task.needs, "test", grid.max_test_clips) for code in languages}
    if task.needs.switched:
        own = {code: test for code, test in tests.items() if code in mixture.languages}
        tests |= {
            code: (*test, *(clip for other in own if other != code for clip in switched(test, own[other])))
            for code, test in own.items()
        }
    validated = mixture.languages if job.train.select_by else ()
    dev = {code: held_out(clips[code], task.needs, "dev", job.train.select_clips) for code in validated}
    return TrialData(stages, tests, dev)


def _checkpoints(job: Job, trial: Trial, numerics: Mapping[str, Any], asked_to_stop: Callable[[], bool]) -> Checkpoints:
    """Where the training leaves its state, and what that state is bound to."""
    made_with = {
        "trial": trial.as_dict(), "config_sha": job.identity.config_sha, "code_version": job.code_version,
        "data_sha": job.identity.data_sha(trial.mixture.languages), "numerics": numerics,
    }  # fmt: skip
    path = job.store.state_path(trial)
    return Checkpoints(path, made_with, job.grid.resources.checkpoint_seconds, asked_to_stop)


def _with_earlier(result: Result, job: Job) -> Result:
    """The result with the scores that the trial had before, which stay as they were, and the hash of all its data."""
    old = job.store.read(result.trial)
    if old is not None:
        new = tuple(score for score in result.scores if score.language not in old.languages)
        result = replace(old, scores=old.scores + new, passes=old.passes + result.passes)
    return replace(result, data_sha=job.identity.data_sha((*result.trial.mixture.languages, *result.languages)))


def _inputs(job: Job, task: Task, network: Any, device: torch.device) -> Inputs | None:
    """What the network is fed: nothing, waves, or the cached outputs of its frozen part."""
    if job.corpus is None:
        return None
    if (frozen := task.frozen(network)) is None:
        return Waves(job.corpus)
    seconds = room(job.grid.resources, task, device).seconds
    disk = job.grid.resources.frozen_gigabytes * 1e9
    return FrozenOutputs(frozen, CheckedWaves(job.corpus), job.cache / "frozen", device, seconds, disk)


def _prepare(inputs: FrozenOutputs, data: TrialData, world: World) -> None:
    """Computes what is missing before anything is trained, dealt out to the workers."""
    clips = [*data.training, *data.scored]
    inputs.prepare(clips[world.rank :: world.size])
    if world.size > 1:
        distributed.barrier()


def _seed_everything(seed: int, world: World) -> None:
    """Seeds the global generators, which dropout and masking in backbones use. Orders and heads have their own."""
    number = keyed("trial", seed, world.rank)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number % 2**63)


def _found(fitted: Fitted, learner: Learner) -> dict[str, float]:
    """What was found out: the batches that fit into memory, the step that validation kept."""
    found = {"micro_batch": fitted.micro, "selected_step": fitted.selected, "evaluation_seconds": learner.room.seconds}
    return {name: value for name, value in found.items() if value}


def _sharing(resources: Resources) -> dict[str, Any]:
    """How a GPU was shared: it changes no number, so that a training goes on under another share."""
    how = {"gpus_per_trial": resources.gpus, "sharing": "mps" if in_use() else "processes"}
    return how if resources.gpus else {}


def _numerics(job: Job, world: World, fast: Shortcuts) -> dict[str, Any]:
    """What the last bits of a result depend on."""
    train, on_gpu = job.train, job.grid.resources.gpus > 0
    return {
        "threads": job.grid.resources.cpus_per_trial,
        "workers": world.size,
        "precision": train.precision,
        **({"evaluation_precision": train.scored_in} if train.scored_in != train.precision else {}),
        **({"tf32": "tf32" in (train.precision, train.scored_in)} if on_gpu else {}),
        "torch": str(torch.__version__),
        "deterministic": not on_gpu,
        **fast.numerics,
    }
