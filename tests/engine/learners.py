"""The gender task on the tiny encoder and made-up waves, ready to be fitted."""

from pathlib import Path
from typing import Any

import torch

from engine.checkpoints import Checkpoints
from engine.fitting import World
from engine.learner import Learner
from engine.room import Room
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.base import Setup, Task
from tasks.data.clips import Clip
from tasks.gender import Gender, GenderOptions
from tests.tasks.waves import MadeWaves, make_clips

CLIPS = make_clips("no", "train", speakers=4, clips_each=3)
TESTS = {"no": make_clips("no", "test"), "zh-CN": make_clips("zh-CN", "test", speakers=3)}


def gender_learner(train: Train, log: Any = lambda step, values: None, backbone: str = "tiny") -> Learner:
    """The gender task on the tiny encoder."""
    return learner_of(Gender(GenderOptions(), Model(backbone=backbone)), CLIPS, train, log)


def learner_of(task: Task, clips: tuple[Clip, ...], train: Train, log: Any = lambda step, values: None) -> Learner:
    """A task with a new network for these clips."""
    network = task.network(Setup(Mixture.of({"no": len(clips)}), clips, 1))
    return Learner(task, network, MadeWaves(), train, torch.device("cpu"), World.current(), Room(4.0), log)


class StopsAt(Checkpoints):
    """Pauses the training after some steps, whatever the clock says."""

    def __init__(self, path: Path, steps: int, made_with: str = "here") -> None:
        super().__init__(path, {"made": made_with}, 0.0, lambda: True)
        self.steps = steps

    def due(self) -> Any:
        self.steps -= 1
        return "pause" if self.steps == 0 else ""
