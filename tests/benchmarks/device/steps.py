"""Milliseconds a training step, with parts of what makes it fast left out; whether recorded steps change a number."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

from engine.learner import Learner
from engine.precision import tf32
from engine.shortcuts import Shortcuts
from grids.grid import Precision, Train
from tasks.data.clips import Clip
from tests.benchmarks.device.scale import Scale
from tests.benchmarks.device.work import (
    RATE,
    first_stages,
    fresh_memory,
    made_clips,
    make_learner,
    peak_gb,
    shortcuts_without,
    synchronise,
    this_device,
    this_task,
)  # fmt: skip
from tests.engine.tape import NeverRecorder

SEED = 1
SAME_STEPS = 50
MIDDLE = (4.0, 5.0)  # seconds of clips where the same mean and fewer lengths do
FEWEST = 4  # steps of a block, however slow they are


class EnoughError(Exception):
    """All blocks are through."""


@dataclass
class Marks:
    """Notes the time at the ends of blocks of steps, once the device has done them; then ends the training.

    Attributes:
        first: steps before the first block, at least 2.
        blocks: that are wanted.
        steps: of a block; fewer where they would take longer than the limit.
        limit_seconds: of all blocks.
        ends: the times: before the last two first steps, after them, after each block.
    """

    first: int
    blocks: int
    steps: int
    limit_seconds: float
    ends: list[float] = field(default_factory=list)

    def __call__(self, step: int, values: Mapping[str, Any]) -> None:
        """Called after each step."""
        done = step - self.first
        if done in (-2, 0) or (done > 0 and done % self.steps == 0):
            synchronise()
            self.ends.append(time.perf_counter())
        if done == 0:
            each = max((self.ends[1] - self.ends[0]) / 2, 1e-6)
            self.steps = max(FEWEST, min(self.steps, int(self.limit_seconds / self.blocks / each)))
        if done == self.steps * self.blocks:
            raise EnoughError

    @property
    def ms(self) -> list[float]:
        """Milliseconds a step, one a block."""
        return [1e3 * (end - start) / self.steps for start, end in pairwise(self.ends[1:])]


def measure_steps(scale: Scale, without: Sequence[str], batch: int, precision: Precision) -> dict[str, Any]:
    """The steps of a variant.

    Args:
        scale: how many.
        without: parts of `PARTS` that are left out.
        batch: clips a step.
        precision: of the training.

    Returns:
        `ms` a step, one a block; `again_ms` the same where lengths are new in each step and then come once more;
        `first_seconds` of the steps in which shapes are met and recorded; what recording took; memory.
    """
    device, task = this_device(), this_task(scale)
    fast = shortcuts_without(scale, without, device)
    fresh_memory()
    clips = made_clips(scale, f"{without} {batch} {precision}", batch * scale.steps * scale.blocks)
    first = first_stages(task, clips, batch, fast, SEED, 2 if fast.graphs else 1)
    train = Train(learning_rate=RATE, batch_size=batch, precision=precision)
    start = time.perf_counter()
    one = make_learner(scale, fast, train, SEED)
    synchronise()
    begin = time.perf_counter()
    marks = _marked(one, [*first, clips], Marks(len(first), scale.blocks, scale.steps, scale.limit_seconds))
    again = []
    if not fast.ladder and not fast.graphs:
        ordered = [clip for example in task.examples(one.network, clips, SEED, 0) for clip in example.clips]
        met = [ordered[n * batch : (n + 1) * batch] for n in range(marks.steps * marks.blocks)]
        again = _marked(one, [*met[:3], *met], Marks(3, marks.blocks, marks.steps, scale.limit_seconds)).ms
    costs = fast.graphs.costs if fast.graphs else []
    return {
        "ms": marks.ms,
        "again_ms": again,
        "steps": marks.steps * marks.blocks,
        "setup_seconds": begin - start,
        "first_seconds": marks.ends[1] - begin,
        "recordings": len(costs),
        "recording_seconds": sum(cost.seconds for cost in costs),
        "recording_gb": sum(cost.size for cost in costs) / 1e9,
        "gb": peak_gb(),
    }


def _marked(one: Learner, stages: Sequence[Sequence[Clip]], marks: Marks) -> Marks:
    """Trains until all blocks are through."""
    with tf32(one.train.precision), suppress(EnoughError):
        replace(one, log=marks).fit(stages, SEED)
    assert len(marks.ms) == marks.blocks, "the clips ran out before the blocks did"
    return marks


def same_numbers(scale: Scale, precision: Precision) -> dict[str, Any]:
    """Trains three times: recorded, one by one on the same kernels, and so once more.

    Returns:
        `steps`, how many of them were `recorded`; the first step (0: none) whose loss differs from one by one, and the
        largest difference of a weight: of the recorded steps, and of the repetition, which says what that means.
    """
    logging.getLogger("engine.graphs").setLevel(logging.ERROR)  # of what is meant: that nothing can be recorded
    device = this_device()
    recorded = shortcuts_without(scale, (), device)
    plain = [shortcuts_without(scale, (), device, NeverRecorder()) for _ in range(2)]
    runs = [_trained(scale, fast, precision) for fast in (recorded, *plain)]
    (_, one, other), found = runs, dict[str, Any]()
    for name, run in (("recorded", runs[0]), ("repeated", other)):
        pairs = zip(run["losses"], one["losses"], strict=True)
        found[f"{name}_differs_at"] = next((step for step, (a, b) in enumerate(pairs, 1) if a != b), 0)
        gaps = [(run["weights"][key] - one["weights"][key]).abs().max() for key in one["weights"]]
        found[f"{name}_largest"] = float(torch.stack(gaps).max())
    assert recorded.graphs
    return {"steps": len(one["losses"]), "shapes_recorded": len(recorded.graphs.costs), **found}


def _trained(scale: Scale, fast: Shortcuts, precision: Precision) -> dict[str, Any]:
    """Losses, as they are to the bit, and weights of a training with dropout on lengths of the ladder."""
    seconds = MIDDLE if scale.seconds[0] < MIDDLE[0] < scale.seconds[1] else scale.seconds
    clips, losses = made_clips(scale, "same", SAME_STEPS, seconds=seconds), list[torch.Tensor]()
    train = Train(learning_rate=10 * RATE, batch_size=1, precision=precision)
    one = make_learner(scale, fast, train, SEED, lambda step, values: losses.append(values["loss"]))
    with tf32(precision):
        one.fit([clips], SEED)
    weights = {name: weight.detach().float().cpu().clone() for name, weight in one.network.named_parameters()}
    return {"losses": [float(loss) for loss in losses], "weights": weights}
