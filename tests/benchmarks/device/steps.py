"""Milliseconds a training step, with parts of what makes it fast left out; whether recorded steps change a number."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from engine.precision import tf32
from engine.shortcuts import Shortcuts
from grids.grid import Train
from tests.benchmarks.device.work import (
    RATE,
    Scale,
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
        first: steps before the first block.
        blocks: that are wanted; as many again where `again`.
        steps: of a block; fewer where they would take longer than the limit.
        limit_seconds: of all blocks.
        measured: steps that there are for blocks.
        again: whether what was measured comes once more, by then with known lengths.
    """

    first: int
    blocks: int
    steps: int
    limit_seconds: float
    measured: int
    again: bool
    ends: list[float] = field(default_factory=list)
    first_end: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, step: int, values: Mapping[str, Any]) -> None:
        """Called after each step."""
        if step in (self.first - 2, self.first):
            self._mark()
        if step == self.first:
            each = max((self.ends[1] - self.ends[0]) / 2, 1e-6)
            self.steps = max(FEWEST, min(self.steps, int(self.limit_seconds / self.blocks / each)))
            self.ends, self.first_end = self.ends[1:], self.ends[1]
        self._block(step - self.first, "new")
        if self.again:
            self._block(step - self.first - self.measured, "again")

    def _block(self, done: int, name: str) -> None:
        """Ends a block, if one ends with so many steps."""
        if done == 0 and name == "again":
            self.ends.clear()
            self._mark()
        if not 0 < done <= self.steps * self.blocks or done % self.steps:
            return
        self._mark()
        if done == self.steps * self.blocks:
            self.seconds[name] = [(end - start) / self.steps for start, end in pairwise(self.ends)]
            if name == "again" or not self.again:
                raise EnoughError

    def _mark(self) -> None:
        synchronise()
        self.ends.append(time.perf_counter())


def measure_steps(scale: Scale, without: Sequence[str], batch: int, precision: str) -> dict[str, Any]:
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
    measured = made_clips(scale, f"{without} {batch} {precision}", batch * scale.steps * scale.blocks)
    first = first_stages(task, measured, batch, fast, SEED, 2 if fast.graphs else 1)
    again = not fast.ladder and not fast.graphs
    marks = Marks(len(first), scale.blocks, scale.steps, scale.limit_seconds, len(measured) // batch, again)
    train = Train(learning_rate=RATE, batch_size=batch, precision=precision)
    stages = [*first, measured, *([measured] if again else [])]
    begun = time.perf_counter()
    one = make_learner(scale, fast, train, [clip for stage in stages for clip in stage], SEED, marks)
    synchronise()
    made = time.perf_counter()
    with tf32(precision):
        begin = time.perf_counter()
        _until_enough(one, stages)
    costs = fast.graphs.costs if fast.graphs else []
    blocks = marks.seconds["new"]
    return {
        "ms": [1e3 * each for each in blocks],
        "again_ms": [1e3 * each for each in marks.seconds.get("again", [])],
        "steps": marks.steps * marks.blocks,
        "setup_seconds": made - begun,
        "first_seconds": marks.first_end - begin,
        "recordings": len(costs),
        "recording_seconds": sum(cost.seconds for cost in costs),
        "recording_gb": sum(cost.size for cost in costs) / 1e9,
        "gb": peak_gb(),
    }


def _until_enough(one: Any, stages: Sequence[Sequence[Any]]) -> None:
    """Trains until all blocks are through."""
    try:
        one.fit(stages, SEED)
    except EnoughError:
        return
    raise AssertionError("the clips ran out before the blocks did")


def same_numbers(scale: Scale, precision: str) -> dict[str, Any]:
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
    (_, one, other), found = runs, {}
    for name, run in (("recorded", runs[0]), ("repeated", other)):
        pairs = zip(run["losses"], one["losses"], strict=True)
        found[f"{name}_differs_at"] = next((step for step, (a, b) in enumerate(pairs, 1) if a != b), 0)
        gaps = [(run["weights"][key] - one["weights"][key]).abs().max() for key in one["weights"]]
        found[f"{name}_largest"] = float(torch.stack(gaps).max())
    assert recorded.graphs
    return {"steps": len(one["losses"]), "shapes_recorded": len(recorded.graphs.costs), **found}


def _trained(scale: Scale, fast: Shortcuts, precision: str) -> dict[str, Any]:
    """Losses, as they are to the bit, and weights of a training with dropout on lengths of the ladder."""
    seconds = MIDDLE if scale.seconds[0] < MIDDLE[0] < scale.seconds[1] else scale.seconds
    clips, losses = made_clips(scale, "same", SAME_STEPS, seconds=seconds), list[torch.Tensor]()
    train = Train(learning_rate=10 * RATE, batch_size=1, precision=precision)
    one = make_learner(scale, fast, train, clips, SEED, lambda step, values: losses.append(values["loss"]))
    with tf32(precision):
        one.fit([clips], SEED)
    weights = {name: weight.detach().float().cpu().clone() for name, weight in one.network.named_parameters()}
    return {"losses": [float(loss) for loss in losses], "weights": weights}
