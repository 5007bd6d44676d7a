"""Where a grid runs and is mirrored: tables of a grid file that change no score, so no part of a result's identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from grids.errors import require

Sharing = Literal["processes", "mps"]
Shortcut = Literal["product", "attention", "norm", "convolutions", "casts", "graphs", "memory"]


@dataclass(frozen=True)
class Resources:
    """What one trial occupies, and how its work is dealt out. Nothing here changes what is computed.

    Last bits may depend on the number of threads and workers, and with dropout on so does its noise: each result says
    what it was computed with.

    Attributes:
        workers_per_trial: processes that train one model together; 1 needs no process group.
        cpus_per_trial: cores, and threads, of each worker.
        gpus_per_trial: GPUs of each worker; a fraction lets several trials share one. Not given: 1 where the machine
            that starts the run has GPUs for all workers and the corpus is a real one, else 0.
        sharing: how trials share a GPU: "processes" take turns on it; "mps" runs them side by side through NVIDIA's MPS
            daemon, which the run starts and ends, or through a site's own. Not the default, since a training that dies
            in a kernel may leave its neighbours undefined (NVIDIA's documentation), and the gain was not measured yet.
        max_retries: times that a failed trial is tried again.
        evaluation_seconds: audio in a batch of evaluation, padding included; a matter of memory. 0: 60 on a CPU, on a
            GPU what fits into the trial's share of its memory, at most 600; a batch that does not fit is halved.
        checkpoint_seconds: a training longer than this leaves its state every so often, to go on from; 0: never.
        trials_per_tuner: trials handed to one Ray Tune run; a new one starts when they are through.
        frozen_gigabytes: disk that the kept outputs of one frozen part may take; what has no room is computed again.
        without: parts of what makes a GPU fast (`engine.shortcuts`) that are left out, for a comparison; without effect
            on a CPU.
        length_ladder: largest share of padding that clips get on a GPU so that lengths repeat; 0: none; without effect
            on a CPU.
    """

    workers_per_trial: int = 1
    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    sharing: Sharing = "processes"
    max_retries: int = 1
    evaluation_seconds: float = 0.0
    checkpoint_seconds: float = 300.0
    trials_per_tuner: int = 1000
    frozen_gigabytes: float = 100.0
    without: tuple[Shortcut, ...] = ()
    length_ladder: float = 0.05

    def __post_init__(self) -> None:
        for name in ("workers_per_trial", "cpus_per_trial", "trials_per_tuner"):
            require(getattr(self, name) >= 1, f"{name} in [resources] is {getattr(self, name)}; allowed: >= 1")
        require(self.max_retries >= 0, f"max_retries in [resources] is {self.max_retries}; allowed: >= 0")
        for name in ("evaluation_seconds", "checkpoint_seconds", "frozen_gigabytes"):
            require(getattr(self, name) >= 0, f"{name} in [resources] is {getattr(self, name)}; allowed: >= 0")
        twice = sorted({name for name in self.without if self.without.count(name) > 1})
        require(not twice, f"without in [resources] has {', '.join(twice)} more than once")
        ladder = self.length_ladder
        require(0 <= ladder <= 0.5, f"length_ladder in [resources] is {ladder}; allowed: 0 to 0.5")
        gpus = self.gpus
        require(gpus >= 0 and (gpus <= 1 or gpus == int(gpus)), f"gpus_per_trial is {gpus}; allowed: 0 to 1, or whole")
        shares = 0 < gpus < 1 and self.workers_per_trial == 1
        need = f"0 < gpus_per_trial < 1 and workers_per_trial = 1; got {gpus:g} and {self.workers_per_trial}"
        require(shares or self.sharing == "processes", f"sharing = {self.sharing!r} in [resources] needs {need}")

    @property
    def gpus(self) -> float:
        """GPUs of each worker; 0 also where it is not known yet whether there is one."""
        return self.gpus_per_trial or 0.0

    @property
    def padding_share(self) -> float:
        """The length ladder's share where it has an effect; 0 on a CPU."""
        return self.length_ladder if self.gpus else 0.0


@dataclass(frozen=True)
class Tracking:
    """Where trials are mirrored. The results folder is the truth.

    Attributes:
        wandb: "auto" is what WANDB_MODE says, or else online if WANDB_API_KEY is set, otherwise offline.
        project: the W&B project; empty: cltm-<task>.
        granularity: one W&B run a trial ("run"), a target ("row") or for everything ("grid"). "auto" is "run" up to
            2,000 trials and "row" above: a project with more than some 10,000 runs is slow to look at.
        log_every: optimiser steps between two points of a curve.
    """

    wandb: Literal["auto", "off", "offline", "online"] = "auto"
    project: str = ""
    granularity: Literal["auto", "run", "row", "grid"] = "auto"
    log_every: int = 10

    def __post_init__(self) -> None:
        require(self.log_every >= 1, f"log_every in [tracking] is {self.log_every}; allowed: >= 1")

    def mode(self, environ: Mapping[str, str]) -> Literal["off", "offline", "online"]:
        """Where W&B runs go, with the environment's WANDB_MODE and WANDB_API_KEY."""
        if self.wandb != "auto":
            return self.wandb
        asked = environ.get("WANDB_MODE", "")
        if asked in ("offline", "online", "disabled"):
            return "off" if asked == "disabled" else cast(Literal["offline", "online"], asked)
        return "online" if environ.get("WANDB_API_KEY") else "offline"
