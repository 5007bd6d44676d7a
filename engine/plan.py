"""What a grid, or the part of it that was asked for, still lacks."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from engine.job import Job
from grids.errors import UserError, unknown
from grids.grid import Grid
from grids.mixture import MATRIX_ROLES, Trial


@dataclass(frozen=True)
class Selection:
    """A part of a grid. What is empty leaves nothing out.

    Attributes:
        languages: only trials all of whose languages are among these.
        seeds: only these seeds.
        kinds: only "base", "self" or "cross" trials.
    """

    languages: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()

    @classmethod
    def parse(cls, grid: Grid, languages: str = "", seeds: str = "", kinds: str = "") -> "Selection":
        """Reads what the command line says.

        Args:
            grid: what a part is taken of.
            languages: codes with commas between them.
            seeds: e.g. "0-3,7".
            kinds: of "base", "self" and "cross", with commas between them.

        Raises:
            UserError: a language, seed or kind that the grid has not, or no trial is left.
        """
        codes, only = _listed(languages), _listed(kinds)
        for what, names, allowed in (("language", codes, grid.all_languages()), ("kind of trial", only, MATRIX_ROLES)):
            for name in names:
                if name not in allowed:
                    raise unknown(what, name, allowed)
        part = cls(codes, _seeds(seeds, grid), only)
        if not any(part.holds(trial, grid.samples) for trial in grid.trials()):
            raise UserError("no trial of the grid is of these languages, seeds and kinds at once")
        return part

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Selection()

    def holds(self, trial: Trial, samples: int) -> bool:
        """Whether a trial of a grid with blocks of `samples` belongs to the part."""
        languages, kind = self.languages, self.kinds
        return (
            (not languages or all(code in languages for code in trial.mixture.languages))
            and (not self.seeds or trial.seed in self.seeds)
            and (not kind or trial.mixture.kind(samples) in kind)
        )


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


def make_plan(job: Job, part: Selection | None = None) -> Plan:
    """Compares the grid, or a part of it, with the results folder: pending is planned minus finished."""
    grid, store, part = job.grid, job.store, part or Selection()
    trials = [trial for trial in grid.trials() if part.is_whole or part.holds(trial, grid.samples)]
    scored, pending = store.scored(), []
    wanted = {mixture: grid.evaluated(mixture) for mixture in dict.fromkeys(trial.mixture for trial in trials)}
    for trial in trials:
        missing = tuple(code for code in wanted[trial.mixture] if code not in scored.get(trial.slug, ()))
        if missing:
            if trial.slug not in scored:
                pending.append(Pending(trial, missing))
            else:
                kept = store.kept_path("checkpoints", trial, ".safetensors").exists()
                pending.append(Pending(trial, missing, "checkpoint" if kept else "again"))
    return Plan(len(wanted), len(trials), tuple(pending))


def _listed(text: str) -> tuple[str, ...]:
    """The parts of "ca,es"."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _seeds(text: str, grid: Grid) -> tuple[int, ...]:
    """The seeds that "0-3,7" stands for.

    Raises:
        UserError: it cannot be read, or names a seed that the grid has not.
    """
    known, chosen = grid.seeds.all, list[int]()
    for item in text.split(",") if text else ():
        span = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", item)
        if span is None:
            raise UserError(f"--seeds has {item!r}; allowed: numbers and ranges such as 0-3,7")
        first, last = int(span[1]), int(span[2] or span[1])
        if last < first:
            raise UserError(f"--seeds has {item!r}, which ends before it begins")
        for end in (first, last):
            if end not in known:
                close = min(known, key=lambda seed: abs(seed - end))
                raise UserError(f"unknown seed {end} (the nearest is {close}); the grid has seeds {grid.seeds}")
        chosen += [seed for seed in known if first <= seed <= last]
    return tuple(dict.fromkeys(chosen))
