"""What the pending trials of a plan will take: hours of audio, and hours of time where trials have been measured."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from engine.job import Job
from engine.plan import Pending
from grids.grid import Train
from grids.mixture import Mixture
from tasks.data.clips import Clip

RANGE = (0.05, 0.95)  # of the mixtures' own rates


class Audio:
    """Seconds of audio that trials hear; 0 for a task without audio.

    A block's duration is taken from the first seed; other seeds draw other clips of about the same length.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._task = job, job.task
        self._blocks = dict[tuple[str, int], _Block]()
        self._mixtures, self._tests = dict[Mixture, float](), dict[str, float]()

    def trained(self, mixture: Mixture) -> float:
        """Seconds that a mixture's training hears, every pass counted."""
        if mixture not in self._mixtures:
            train = self._job.train
            stages = [[self._block(part.language, part.samples) for part in stage] for stage in mixture.stages]
            seconds = sum(block.seconds for stage in stages for block in stage)
            epochs = float(train.epochs)
            if train.budget == "steps" and seconds:
                epochs = train.steps / sum(_steps(train, stage) for stage in stages)
            self._mixtures[mixture] = seconds * epochs
        return self._mixtures[mixture]

    def scored(self, languages: Sequence[str]) -> float:
        """Seconds of these languages' test sets."""
        from engine.train import trial_data

        for code in languages:
            if code not in self._tests:
                clips = trial_data(self._job, self._task, Mixture(), self._seed, (code,)).tests[code]
                self._tests[code] = sum(clip.seconds for clip in clips)
        return sum(self._tests[code] for code in languages)

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

    def _block(self, code: str, count: int) -> "_Block":
        """The clips of a block."""
        from engine.train import trial_data

        if (code, count) not in self._blocks:
            clips = trial_data(self._job, self._task, Mixture.of({code: count}), self._seed, ()).training
            self._blocks[code, count] = _Block(clips, sum(clip.seconds for clip in clips))
        return self._blocks[code, count]


@dataclass(frozen=True)
class _Block:
    """Clips, and their seconds in all."""

    clips: tuple[Clip, ...]
    seconds: float


def _steps(train: Train, stage: Sequence[_Block]) -> float:
    """Optimiser steps of an epoch over a stage's blocks; with `batch_size` they may be no whole number."""
    from engine.inputs import length_batches

    if not train.batch_seconds:
        return sum(len(block.clips) for block in stage) / train.batch_size
    return len(list(length_batches([(clip,) for block in stage for clip in block.clips], train.batch_seconds)))


@dataclass(frozen=True)
class Measured:
    """One pass of a finished trial.

    Attributes:
        trial: its slug.
        languages: those it was scored on.
        phases: phase -> seconds.
        device: what it ran on.
        started: ISO 8601, UTC.
    """

    trial: str
    languages: tuple[str, ...]
    phases: Mapping[str, float]
    device: str
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
    """

    phases: Mapping[str, float]
    low: float | None
    high: float | None
    trials: int
    device: str

    @cached_property
    def hours(self) -> float:
        """In all."""
        return sum(self.phases.values())


def passes(table: pa.Table) -> tuple[Measured, ...]:
    """Every pass of the trials in a table of scores, oldest first."""
    keys = ["trial", "started", "device", "phases"]
    rows = table.group_by(keys).aggregate([("language", "distinct")]).sort_by("started").to_pylist()
    return tuple(
        Measured(
            row["trial"], tuple(row["language_distinct"]), json.loads(row["phases"]), row["device"], row["started"]
        )
        for row in rows
    )


@dataclass(frozen=True)
class _Work:
    """Units of work of one pass, of which its phases take their seconds."""

    trained: float
    scored: float

    def of(self, phase: str) -> float:
        """The units that a phase scales with."""
        return {"train": self.trained, "evaluate": self.scored}.get(phase, 1.0)


def audio_hours(audio: Audio, pending: Sequence[Pending]) -> tuple[float, float]:
    """Hours of audio that the pending trials train on and are scored on."""
    trained = sum(audio.trained(item.trial.mixture) for item in pending if item.how != "checkpoint")
    scored = sum(audio.scored(item.languages) for item in pending)
    return trained / 3600, scored / 3600


def estimate(job: Job, audio: Audio, pending: Sequence[Pending]) -> Estimate | None:
    """Hours for what is pending, from the grid's finished trials; None where none has finished.

    Training scales with the audio trained on, evaluation with the audio scored, every other phase with the trials;
    without audio all do. Only passes on the device of the newest one count.
    """
    known = {trial.slug: trial.mixture for trial in job.grid.trials()}
    ran = [one for one in passes(job.store.compact(job.grid.samples, write=False)) if one.trial in known]
    ran = [one for one in ran if one.device == ran[-1].device]
    if not ran:
        return None
    work = [_work(audio, known[one.trial], one.languages, bool(one.phases.get("train"))) for one in ran]
    alike = Counter((item.trial.mixture, item.languages, item.how != "checkpoint") for item in pending)
    left = [(_work(audio, *item), count) for item, count in alike.items()]
    rate, phases = dict[str, float](), dict[str, float]()
    for name in sorted({name for one in ran for name in one.phases}):
        seconds, done = sum(one.phases.get(name, 0.0) for one in ran), sum(units.of(name) for units in work)
        wanted = sum(units.of(name) * count for units, count in left)
        if wanted and not done:
            return None  # trials were scored from checkpoints alone: nobody knows how long a training takes
        rate[name] = seconds / done if done else 0.0
        phases[name] = rate[name] * wanted / 3600
    low, high = _spread([known[one.trial] for one in ran], ran, work, rate)
    total = sum(phases.values())
    return Estimate(
        phases, total * low if low is not None else None, total * high if high is not None else None,
        len({one.trial for one in ran}), ran[-1].device,
    )  # fmt: skip


def _spread(
    mixtures: Sequence[Mixture], ran: Sequence[Measured], work: Sequence[_Work], rate: Mapping[str, float]
) -> tuple[float | None, float | None]:
    """How much less and more time than expected the fast and the slow mixtures took; None with fewer than two."""
    actual, expected = defaultdict[Mixture, float](float), defaultdict[Mixture, float](float)
    for mixture, one, units in zip(mixtures, ran, work, strict=True):
        actual[mixture] += sum(one.phases.values())
        expected[mixture] += sum(each * units.of(name) for name, each in rate.items())
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
    needs = ((resources.cpus_per_trial, cores), (resources.gpus_per_trial, gpus))
    return int(min(there / (need * resources.workers_per_trial) for need, there in needs if need))


def _work(audio: Audio, mixture: Mixture, languages: Sequence[str], trains: bool) -> _Work:
    """The units of a pass. Where there is no audio each trial is one unit."""
    trained, scored = audio.trained(mixture), audio.scored(languages)
    return _Work(trained if trains else 0.0, scored) if scored else _Work(1.0, 1.0)
