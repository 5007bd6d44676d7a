"""What the pending trials of a plan will take: hours of audio, and hours of time where trials have been measured.

A training takes so much a step and so much a second of audio with its padding. Not covered: what a training takes once
(the first step of each length on a GPU), and scores on dev sets, which count as steps and audio.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.job import Job
from engine.plan import Pending
from grids.grid import Train
from grids.mixture import Mixture
from tasks.data.clips import SAMPLE_RATE_HZ, Clip

RANGE = (0.05, 0.95)  # of the mixtures' own rates
PULL = 1e-3  # of a fit towards a plain ratio: what trials differ in by less than a thousandth tells nothing
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """What goes through the network.

    Attributes:
        steps: optimiser steps; of test sets, batches.
        seconds: audio, every pass counted.
        padded: the same with the padding of its batches.
    """

    steps: float
    seconds: float
    padded: float

    @classmethod
    def total(cls, parts: Sequence["Workload"], times: Sequence[float]) -> "Workload":
        """The sum of parts, each so many times."""
        pairs = list(zip(parts, times, strict=True))
        return cls(*(sum(n * getattr(part, name) for part, n in pairs) for name in ("steps", "seconds", "padded")))


class Audio:
    """What trials hear; nothing for a task without audio.

    A block's clips are taken from the first seed; other seeds draw other clips of about the same length. An example
    counts as one clip, and one worker as hearing it all.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._task = job, job.task
        self._blocks = dict[tuple[str, int], tuple[Clip, ...]]()
        self._mixtures, self._tests = dict[Mixture, Workload](), dict[str, Workload]()

    def trained(self, mixture: Mixture) -> Workload:
        """What a mixture's training hears, every pass counted. With a budget of steps the stages share it."""
        if mixture not in self._mixtures:
            train, share = self._job.train, self._job.grid.resources.padding_share
            stages = [
                [clip for part in stage for clip in self._block(part.language, part.samples)]
                for stage in mixture.stages
            ]
            epochs = [_epoch(clips, train, share) for clips in stages]
            times, count = [float(train.epochs)] * len(stages), sum(map(len, stages))
            if train.budget == "steps" and count:
                times = [train.steps * len(c) / count / one.steps for c, one in zip(stages, epochs, strict=True)]
            self._mixtures[mixture] = Workload.total(epochs, times)
        return self._mixtures[mixture]

    def scored(self, languages: Sequence[str]) -> Workload:
        """What scoring on these languages' test sets hears."""
        from engine.shortcuts import evaluation_seconds
        from engine.train import trial_data

        resources = self._job.grid.resources
        for code in languages:
            if code not in self._tests:
                clips = trial_data(self._job, self._task, Mixture(), self._seed, (code,)).tests[code]
                self._tests[code] = _like_batches(
                    clips, evaluation_seconds(resources), resources.padding_share, resources.padding_share
                )
        return Workload.total([self._tests[code] for code in languages], [1.0] * len(languages))

    @property
    def _seed(self) -> int:
        return self._job.grid.seeds.all[0]

    def clips(self) -> int:
        """Different clips that the grid's trials train on or are scored on; blocks of a seed are nested."""
        from engine.train import trial_data

        grid, largest, shas = self._job.grid, dict[tuple[str, int | None], int](), set[str]()
        for trial in grid.trials():
            seed = trial.seed if grid.blocks == "per_seed" else None
            for code, count in trial.mixture.total_samples.items():
                largest[code, seed] = max(largest.get((code, seed), 0), count)
        for (code, seed), count in largest.items():
            data = trial_data(
                self._job, self._task, Mixture.of({code: count}), self._seed if seed is None else seed, ()
            )
            shas |= {clip.sha for clip in data.training}
        for code in {code for trial in grid.trials() for code in grid.evaluated(trial.mixture)}:
            tests = trial_data(self._job, self._task, Mixture(), self._seed, (code,)).tests
            shas |= {clip.sha for clip in tests[code]}
        return len(shas)

    def _block(self, code: str, count: int) -> tuple[Clip, ...]:
        """The clips of a block."""
        from engine.train import trial_data

        if (code, count) not in self._blocks:
            mixture = Mixture.of({code: count})
            self._blocks[code, count] = trial_data(self._job, self._task, mixture, self._seed, ()).training
        return self._blocks[code, count]


def _epoch(clips: Sequence[Clip], train: Train, share: float) -> Workload:
    """One epoch over a stage. Of `batch_size` clips in a drawn order the padding is the mean over all orders."""
    if train.batch_seconds:
        return _like_batches(clips, train.batch_seconds, share)
    full, rest = divmod(len(clips), train.batch_size)
    rungs = _rungs(clips, share)
    batches = [(count, size) for count, size in ((full, train.batch_size), (1, rest)) if count and size]
    padded = sum(count * size * _expected_longest(rungs, size) for count, size in batches)
    return Workload(sum(count for count, _ in batches), sum(clip.seconds for clip in clips), padded)


def _like_batches(clips: Sequence[Clip], seconds: float, share: float, grouped_by: float = 0.0) -> Workload:
    """All clips once, in batches of like length of at most `seconds`; scoring groups them by their rungs."""
    from engine.inputs import length_batches

    groups, rungs = list(length_batches([(clip,) for clip in clips], seconds, grouped_by)), _rungs(clips, share)
    padded = sum(len(group) * float(rungs[group].max()) for group in groups)
    return Workload(len(groups), sum(clip.seconds for clip in clips), padded)


def _rungs(clips: Sequence[Clip], share: float) -> Floats:
    """Seconds of each clip, padded to the ladder of lengths."""
    from engine.inputs import rung

    return np.array([rung(clip.length, share) for clip in clips], dtype=np.float64) / SAMPLE_RATE_HZ


def _expected_longest(values: Floats, drawn: int) -> float:
    """The mean of the largest of some values, over all ways to draw so many of them.

    The k-th smallest of n is the largest of d drawn with probability C(k - 1, d - 1) / C(n, d).
    """
    ranks = np.arange(len(values), 1, -1)
    falling = np.cumprod(np.concatenate([[1.0], (ranks - drawn) / (ranks - 1)]))
    return float(np.sort(values)[::-1] @ falling) * drawn / len(values)


@dataclass(frozen=True)
class Sharing:
    """How trials shared a GPU.

    Attributes:
        gpus: GPUs of each worker; 0 on a CPU; None of results that do not say.
        how: as "processes" on their own, or by "mps".
    """

    gpus: float | None = 0.0
    how: str = "processes"

    @classmethod
    def of(cls, device: str, numerics: Mapping[str, Any]) -> "Sharing":
        """What a pass says."""
        unsaid = 0.0 if device == "cpu" else None
        return cls(numerics.get("gpus_per_trial", unsaid), numerics.get("sharing", cls.how))


@dataclass(frozen=True)
class Measured:
    """One pass of a finished trial.

    Attributes:
        trial: its slug.
        languages: those it was scored on.
        phases: phase -> seconds.
        device: what it ran on.
        sharing: with how many others.
        started: ISO 8601, UTC.
    """

    trial: str
    languages: tuple[str, ...]
    phases: Mapping[str, float]
    device: str
    sharing: Sharing
    started: str


@dataclass(frozen=True)
class Estimate:
    """Hours of a trial's share of the device, over all pending trials.

    Attributes:
        phases: phase -> hours.
        low, high: hours in all, had every trial run at the rate of the fast (5 %) or slow (95 %) mixtures; None with
            fewer than two mixtures.
        trials: number of finished trials that it rests on.
        device: what they ran on.
        sharing: with how many others at once.
    """

    phases: Mapping[str, float]
    low: float | None
    high: float | None
    trials: int
    device: str
    sharing: Sharing

    @cached_property
    def hours(self) -> float:
        """In all."""
        return sum(self.phases.values())


def passes(table: pa.Table) -> tuple[Measured, ...]:
    """Every pass of the trials in a table of scores, oldest first."""
    keys = ["trial", "started", "device", "phases", "numerics"]
    rows = table.group_by(keys).aggregate([("language", "distinct")]).sort_by("started").to_pylist()
    return tuple(
        Measured(
            row["trial"], tuple(row["language_distinct"]), json.loads(row["phases"]), row["device"],
            Sharing.of(row["device"], json.loads(row["numerics"])), row["started"],
        )
        for row in rows
    )  # fmt: skip


@dataclass(frozen=True)
class _Work:
    """Units of work of one pass, of which its phases take their seconds; without audio each phase is one unit."""

    trained: tuple[float, ...] = (1.0,)
    scored: tuple[float, ...] = (1.0,)

    def of(self, phase: str) -> Floats:
        """The units that a phase scales with; the last kind is what it scales with if one alone is known."""
        return np.array({"train": self.trained, "evaluate": self.scored}.get(phase, (1.0,)))


def audio_hours(audio: Audio, pending: Sequence[Pending]) -> tuple[float, float]:
    """Hours of audio that the pending trials train on and are scored on."""
    trained = sum(audio.trained(item.trial.mixture).seconds for item in pending if item.how != "checkpoint")
    scored = sum(audio.scored(item.languages).seconds for item in pending)
    return trained / 3600, scored / 3600


def estimate(job: Job, audio: Audio, pending: Sequence[Pending]) -> Estimate | None:
    """Hours for what is pending, from the grid's finished trials; None where none has finished.

    Training scales with its steps and the audio trained on, evaluation with its passes and the audio scored, both with
    padding; every other phase with the trials; without audio all do. Only passes on the device of the newest one
    count, and of trials that shared it in the same way.
    """
    known = {trial.slug: trial.mixture for trial in job.grid.trials()}
    ran = [one for one in passes(job.store.compact(job.grid.samples, write=False)) if one.trial in known]
    ran = [one for one in ran if (one.device, one.sharing) == (ran[-1].device, ran[-1].sharing)]
    if not ran:
        return None
    work = [_work(audio, known[one.trial], one.languages, bool(one.phases.get("train"))) for one in ran]
    alike = Counter((item.trial.mixture, item.languages, item.how != "checkpoint") for item in pending)
    left = [(_work(audio, *item), count) for item, count in alike.items()]
    rates, phases = dict[str, Floats](), dict[str, float]()
    for name in sorted({name for one in ran for name in one.phases}):
        done = np.array([units.of(name) for units in work])
        wanted = sum((units.of(name) * count for units, count in left), np.zeros(done.shape[1]))
        if wanted.any() and not done.any():
            return None  # trials were scored from checkpoints alone: nobody knows how long a training takes
        rates[name] = _rates(done, np.array([one.phases.get(name, 0.0) for one in ran]))
        phases[name] = float(rates[name] @ wanted) / 3600
    low, high = _spread([known[one.trial] for one in ran], ran, work, rates)
    total = sum(phases.values())
    return Estimate(
        phases, total * low if low is not None else None, total * high if high is not None else None,
        len({one.trial for one in ran}), ran[-1].device, ran[-1].sharing,
    )  # fmt: skip


def _rates(done: Floats, seconds: Floats) -> Floats:
    """Seconds a unit of each kind, >= 0, by least squares.

    A pass has the variance of its last kind of unit, so that where this alone takes time its rate is the plain ratio
    of all seconds to all units. What passes cannot tell, since their units are in proportion, is that ratio as well.

    Args:
        done: (passes, kinds) units.
        seconds: (passes,) that they took.

    Returns:
        (kinds,)
    """
    from scipy.optimize import nnls

    worked = done[:, -1] > 0
    done, seconds = done[worked], seconds[worked]
    plain = np.zeros(done.shape[1])
    if not len(done):
        return plain
    plain[-1] = seconds.sum() / done[:, -1].sum()
    weights = 1 / np.sqrt(done[:, -1])
    sizes = np.linalg.norm(done * weights[:, None], axis=0)
    sizes[sizes == 0] = 1.0
    table = np.vstack([done * weights[:, None] / sizes, PULL * np.eye(len(plain))])
    found, _ = nnls(table, np.concatenate([seconds * weights, PULL * plain * sizes]))
    return np.asarray(found / sizes)


def _spread(
    mixtures: Sequence[Mixture], ran: Sequence[Measured], work: Sequence[_Work], rates: Mapping[str, Floats]
) -> tuple[float | None, float | None]:
    """How much less and more time than expected the fast and the slow mixtures took; None with fewer than two."""
    actual, expected = defaultdict[Mixture, float](float), defaultdict[Mixture, float](float)
    for mixture, one, units in zip(mixtures, ran, work, strict=True):
        actual[mixture] += sum(one.phases.values())
        expected[mixture] += sum(float(each @ units.of(name)) for name, each in rates.items())
    ratios = [actual[mixture] / expected[mixture] for mixture in actual if expected[mixture]]
    if len(ratios) < 2:
        return None, None
    low, high = np.quantile(ratios, RANGE)
    return float(low), float(high)


def at_once(job: Job) -> int:
    """How many trials this machine runs at once; 0 where not even one fits."""
    import torch

    resources = job.grid.resources
    cores, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    needs = ((resources.cpus_per_trial, cores), (resources.gpus, gpus))
    return int(min(there / (need * resources.workers_per_trial) for need, there in needs if need))


def _work(audio: Audio, mixture: Mixture, languages: Sequence[str], trains: bool) -> _Work:
    """The units of a pass: steps and audio of training, test sets as one and audio of scoring."""
    trained, scored = audio.trained(mixture), audio.scored(languages)
    if not scored.seconds:
        return _Work()
    return _Work((trained.steps, trained.padded) if trains else (0.0, 0.0), (1.0, scored.padded))
