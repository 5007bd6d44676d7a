"""Fitting a network and computing its outputs: the arithmetic of a trial, on one device or several workers.

`Learner` asks torch.distributed, never Ray, for its rank. With k workers each step's global batch is dealt out and
gradients are weighted by the global number of examples, so that the sum is what one worker computes; test clips are
dealt out too and their outputs gathered on rank 0, because AUC, WER or BLEU are no means of shards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from engine.inputs import Inputs, collate, length_batches
from grids.grid import Train
from tasks.base import Batch, Example, Output, Task, Tests
from tasks.data.clips import Clip

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE = (
    1024.0  # of fp16 gradients. PyTorch's 65,536 overflows, so the first steps of a short training are skipped
)
Log = Callable[[int, Mapping[str, float | torch.Tensor]], None]


@dataclass(frozen=True)
class World:
    """Which of the workers of a trial this is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """This process's place in the group, or alone."""
        if not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())


@dataclass(frozen=True, eq=False)
class Learner:
    """A network with what it needs to learn and to be scored.

    Attributes:
        task: says what examples, losses and outputs are.
        network: on `device`. A task without audio may have something else here, which is never called.
        inputs: what the network is fed; None for a task without audio.
        train: the training settings.
        device: where the arithmetic happens.
        world: this worker.
        evaluation_seconds: audio in a batch of evaluation, padding included.
        log: called with each step and its loss, gradient norm and learning rate.
    """

    task: Task
    network: Any
    inputs: Inputs | None
    train: Train
    device: torch.device
    world: World
    evaluation_seconds: float
    log: Log

    def fit(self, stages: Sequence[Sequence[Clip]], seed: int) -> int:
        """Trains on the stages in order.

        Returns:
            The number of optimiser steps.

        Raises:
            FloatingPointError: the loss is not finite (names the step and the clips), or the gradient.
        """
        lengths = self._schedule(stages, seed)
        if not sum(lengths):
            return 0
        self.network.train()
        losses: nn.Module = _Losses(self.task, self.network)
        if self.world.size > 1:
            # Backbones hold parameters that take no part (a mask embedding): DDP must look for them.
            losses = nn.parallel.DistributedDataParallel(losses, find_unused_parameters=True)
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        rate, decay = self.train.learning_rate, self.train.weight_decay
        optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_factor(self.train, step, sum(lengths))
        )
        scaler = torch.amp.grad_scaler.GradScaler(
            self.device.type, init_scale=FIRST_SCALE, enabled=self.train.precision == "fp16"
        )
        batches = (batch for c, length in zip(stages, lengths, strict=True) for batch in self._batches(c, seed, length))
        skipped = 0  # fp16 alone: steps whose gradients overflowed
        for step, examples in enumerate(batches, start=1):
            loss = self._loss(losses, examples, step)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss * self.world.size).backward()  # DDP takes the mean over workers; the sum is wanted
            scaler.unscale_(optimiser)
            norm = nn.utils.clip_grad_norm_(parameters, self.train.gradient_clip or float("inf"))
            if not scaler.is_enabled() and not torch.isfinite(norm):
                raise FloatingPointError(f"the gradient is {norm.item()} at step {step}")
            scale = scaler.get_scale()
            scaler.step(optimiser)
            scaler.update()
            skipped += scaler.get_scale() < scale
            self.log(step, {"loss": loss.detach(), "gradient_norm": norm, "learning_rate": schedule.get_last_lr()[0]})
            schedule.step()
        if skipped == sum(lengths):
            raise FloatingPointError(f"every gradient of the {skipped} steps overflowed in fp16")
        return sum(lengths)

    @torch.no_grad()
    def evaluate(self, tests: Mapping[str, Sequence[Clip]]) -> dict[str, Tests] | None:
        """Computes the outputs of every test clip, in batches of like length dealt out to the workers.

        Returns:
            Language -> test set with outputs, on rank 0; None on the others.

        Raises:
            FloatingPointError: an output is not finite; names the clip.
        """
        if isinstance(self.network, nn.Module):
            self.network.eval()
        gathered = {}
        for language, clips in tests.items():
            outputs: dict[int, Output] = {}
            for number, indices in enumerate(length_batches(clips, self.evaluation_seconds)):
                if number % self.world.size == self.world.rank:
                    batch = self._collate([clips[n] for n in indices]).to(self.device)
                    with self._autocast():
                        found = self.task.outputs(self.network, batch)
                    _require_finite(found, [clips[n] for n in indices])
                    outputs |= dict(zip(indices, found, strict=True))
            shards: list[Any] = [outputs]
            if self.world.size > 1:
                shards = [None] * self.world.size
                distributed.gather_object(outputs, shards if self.world.rank == 0 else None)
            if self.world.rank == 0:
                merged = {number: output for shard in shards for number, output in shard.items()}
                gathered[language] = Tests(tuple(clips), tuple(merged[n] for n in range(len(clips))))
        return gathered if self.world.rank == 0 else None

    def _schedule(self, stages: Sequence[Sequence[Clip]], seed: int) -> list[int]:
        """Optimiser steps a stage. With the budget "steps" the stages share them by their number of examples."""
        counts = [len(self.task.examples(self.network, clips, seed, 0)) for clips in stages]
        total = sum(counts)
        if self.train.budget == "steps" and total:
            ends = [round(self.train.steps * done / total) for done in accumulate(counts)]
            return [end - start for start, end in pairwise([0, *ends])]
        return [self.train.epochs * -(-count // self.train.batch_size) for count in counts]

    def _batches(self, clips: Sequence[Clip], seed: int, steps: int) -> Iterator[Sequence[Example]]:
        """So many global batches, epoch after epoch."""
        done = epoch = 0
        while done < steps:
            examples = self.task.examples(self.network, clips, seed, epoch)
            for start in range(0, len(examples), self.train.batch_size):
                if done == steps:
                    return
                yield examples[start : start + self.train.batch_size]
                done += 1
            epoch += 1

    def _loss(self, losses: nn.Module, examples: Sequence[Example], step: int) -> torch.Tensor:
        """This worker's share of the mean loss of a global batch.

        A worker without an example takes the first one with weight 0, because DDP needs every worker in every step.
        """
        own = examples[self.world.rank :: self.world.size]
        share = own or examples[:1]
        padded = self._collate([clip for example in share for clip in example.clips])
        batch = Batch(padded.values, padded.lengths, self.task.labels(self.network, share)).to(self.device)
        with self._autocast():
            loss: torch.Tensor = losses(batch).sum() * bool(own) / len(examples)
        if not torch.isfinite(loss):
            names = ", ".join(f"{clip.language}/{clip.name}" for example in share for clip in example.clips)
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}, on the clips {names}")
        return loss

    def _collate(self, clips: Sequence[Clip]) -> Batch:
        assert self.inputs is not None, "a task with clips has inputs"
        return collate(self.inputs.arrays(clips))

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = AUTOCAST.get(self.train.precision)
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()


def _require_finite(outputs: Sequence[Output], clips: Sequence[Clip]) -> None:
    """Raises a FloatingPointError that names the first clip with an output that is not finite."""
    for output, clip in zip(outputs, clips, strict=True):
        for name, array in output.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise FloatingPointError(f"the output {name!r} of the clip {clip.language}/{clip.name} is not finite")


def rate_factor(train: Train, step: int, steps: int) -> float:
    """Share of the learning rate in a step, 0 being the first: the warm-up, then the schedule."""
    warm = round(train.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return 1.0 if train.schedule == "constant" else (steps - step) / (steps - warm)


class _Losses(nn.Module):
    """The task's loss as a module's forward, which is where DDP hooks in."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self.task, self.network = task, network

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.task.loss(self.network, batch)
