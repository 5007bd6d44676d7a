"""What the pending trials of a plan will take: hours of audio, and hours of time where trials have been measured."""

from functools import cache

import pyarrow.compute as pc

from engine.job import Job
from engine.plan import Plan
from grids.mixture import Mixture


def audio_hours(job: Job, planned: Plan) -> tuple[float, float]:
    """Hours of audio that the pending trials train on, every pass counted, and that they are scored on.

    A block's duration is taken from the first seed; other seeds draw other clips of about the same length.
    """
    from engine.train import trial_data

    task, seed = job.task, job.grid.seeds[0]

    @cache
    def block(code: str, count: int) -> tuple[int, float]:
        """Number of clips and seconds of a block."""
        clips = trial_data(job, task, Mixture.of({code: count}), seed, ()).training
        return len(clips), sum(clip.seconds for clip in clips)

    @cache
    def test(code: str) -> float:
        """Seconds of a test set."""
        return sum(clip.seconds for clip in trial_data(job, task, Mixture(), seed, (code,)).tests[code])

    @cache
    def training(mixture: Mixture) -> float:
        """Seconds that a mixture's training hears."""
        blocks = [block(part.language, part.samples) for stage in mixture.stages for part in stage]
        clips, seconds = sum(count for count, _ in blocks), sum(length for _, length in blocks)
        if job.train.budget == "steps" and clips:
            return seconds / clips * job.train.batch_size * job.train.steps
        return seconds * job.train.epochs

    trained = sum(training(item.trial.mixture) for item in planned.pending if item.how != "checkpoint")
    scored = sum(test(code) for item in planned.pending for code in item.languages)
    return trained / 3600, scored / 3600


def time_line(job: Job, planned: Plan) -> str:
    """Hours for what is pending, from the trials that have finished in the results folder."""
    table = job.store.compact(job.grid.samples, write=False)
    if len(table) == 0:
        return "not measured: no trial has finished here"
    by_trial = table.group_by("trial").aggregate([("seconds", "max")])
    mean = pc.mean(by_trial["seconds_max"]).as_py()
    count, devices = len(by_trial), ", ".join(sorted(set(table["device"].to_pylist())))
    hours = mean * len(planned.pending) / 3600
    return f"{hours:.2f} hours of a trial's share of {devices}, from {count} finished trials of {mean:.1f} s"
