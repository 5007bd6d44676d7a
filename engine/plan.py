"""What a grid still lacks, and what it will take."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from engine.job import Job
from grids.mixture import Trial


@dataclass(frozen=True)
class Pending:
    """A trial that lacks scores.

    Attributes:
        trial: which one.
        languages: those it has no score of.
        how: "train" it; it has other scores already, and is scored from its kept "checkpoint" or trained "again".
    """

    trial: Trial
    languages: tuple[str, ...]
    how: Literal["train", "checkpoint", "again"] = "train"


@dataclass(frozen=True)
class Plan:
    """What a grid holds and lacks.

    Attributes:
        mixtures: number of different mixtures.
        trials: number of trials.
        pending: the trials that lack scores, in the order to run them in.
    """

    mixtures: int
    trials: int
    pending: tuple[Pending, ...]

    @property
    def finished(self) -> int:
        """Number of trials that lack nothing."""
        return self.trials - len(self.pending)

    @property
    def by_kind(self) -> Counter[str]:
        """Number of pending trials by `Pending.how`."""
        return Counter(item.how for item in self.pending)


def make_plan(job: Job) -> Plan:
    """Compares the grid with the results folder: pending is planned minus finished."""
    grid, store = job.grid, job.store
    scored, trials, pending = store.scored(), grid.trials(), []
    wanted = {trial.mixture: grid.evaluated(trial.mixture) for trial in trials}
    for trial in trials:
        missing = tuple(code for code in wanted[trial.mixture] if code not in scored.get(trial.slug, ()))
        if missing:
            if trial.slug not in scored:
                pending.append(Pending(trial, missing))
            else:
                kept = store.kept_path("checkpoints", trial, ".safetensors").exists()
                pending.append(Pending(trial, missing, "checkpoint" if kept else "again"))
    return Plan(len(wanted), len(trials), tuple(pending))
