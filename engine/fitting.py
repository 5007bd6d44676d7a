"""One training on its way: its steps, and its state, which another process can go on from bit for bit.

A step asks nothing of a GPU that would make the CPU wait for it: losses and gradients are looked at every `WINDOW`
steps, together. Where a step does not fit into a GPU's memory, its batch is halved until it does, and the gradients of
the parts are added up: the global batch stays what the grid says.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from engine.precision import autocast
from grids.errors import UserError
from grids.grid import Train
from tasks.base import AfterStep, Batch, Example, Task

logger = logging.getLogger(__name__)
WINDOW = 16  # steps between two looks at what is on the device
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
class Share:
    """What one worker takes of a global batch.

    Attributes:
        examples: its own; one that counts nothing where it has none, because DDP needs every worker in every step.
        total: examples of the global batch.
        counts: whether the examples count.
        batch: the same on the device.
    """

    examples: Sequence[Example]
    total: int
    counts: bool
    batch: Batch


@dataclass(frozen=True)
class Looked:
    """A step whose numbers nobody has looked at yet."""

    step: int
    examples: Sequence[Example]
    loss: torch.Tensor
    norm: torch.Tensor


class Fitting:
    """Optimiser, learning rate, gradient scale and step of a training.

    Attributes:
        step: optimiser steps done.
        micro: examples that go through the network at once; 0: a worker's whole share.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        train: Train,
        steps: int,
        device: torch.device,
        world: World,
        collate: Callable[[Sequence[Example]], Batch],
    ) -> None:
        self.step, self.micro, self._steps = 0, 0, steps
        self._train, self._device, self._world, self._collate = train, device, world, collate
        self._network, self._after = network, [part for part in network.modules() if isinstance(part, AfterStep)]
        self._losses = _losses(task, network, device, world)
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        rate, decay = train.learning_rate, train.weight_decay
        self._optimiser = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=decay, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: rate_factor(train, step, steps)
        )
        self._scaler = torch.amp.grad_scaler.GradScaler(
            device.type, init_scale=FIRST_SCALE, enabled=train.precision == "fp16"
        )
        self._overflows = torch.zeros((), dtype=torch.int64, device=device)
        self._unseen: list[Looked] = []

    def advance(self, share: Share) -> dict[str, float | torch.Tensor]:
        """Takes one optimiser step.

        Returns:
            Loss, gradient norm and learning rate; the first two are on the device, of shape ().

        Raises:
            FloatingPointError: the loss of this step or one of the last `WINDOW` is not finite (names the step and
                the clips), or the gradient.
        """
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._backward(share)
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._train.gradient_clip or float("inf"))
        self._scaler.step(self._optimiser)
        self._scaler.update()
        rate = float(self._schedule.get_last_lr()[0])
        for part in self._after:
            part.after_step(self._network, rate)
        self._schedule.step()
        self.step += 1
        self._unseen.append(Looked(self.step, share.examples, loss, norm))
        if len(self._unseen) == WINDOW or self.step == self._steps:
            self.look()
        return {"loss": loss, "gradient_norm": norm, "learning_rate": rate}

    def look(self) -> None:
        """Looks at the steps since the last time.

        Raises:
            FloatingPointError: see `advance`.
        """
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses, norms = (torch.stack(values) for values in zip(*((one.loss, one.norm) for one in unseen), strict=True))
        overflowed = ~norms.isfinite()
        if self._scaler.is_enabled():  # the scaler skips such steps
            self._overflows += overflowed.sum()
            overflowed = torch.zeros_like(overflowed)
        bad = (~losses.isfinite() | overflowed).nonzero()
        if len(bad):
            _raise(unseen[int(bad[0])])
        if self.step == self._steps == int(self._overflows):
            raise FloatingPointError(f"every gradient of the {self._steps} steps overflowed in fp16")

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, as plain values and tensors; the same on every rank."""
        drawn: list[Any] = [generators()]
        if self._world.size > 1:
            drawn = [None] * self._world.size
            distributed.all_gather_object(drawn, generators())
        return {
            "step": self.step, "micro": self.micro, "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(), "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(), "overflows": self._overflows, "generators": drawn,
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` was made of."""
        self.step, self.micro = state["step"], state["micro"]
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self._overflows.copy_(state["overflows"])
        set_generators(state["generators"][self._world.rank])

    def _backward(self, share: Share) -> torch.Tensor:
        """Adds the gradients of a share, in parts if need be; returns its part of the mean loss."""
        while True:
            try:
                return self._parts(share)
            except torch.OutOfMemoryError:
                held = min(self.micro or len(share.examples), len(share.examples))
                if held == 1 or self._world.size > 1 or _batch_norms(self._network):
                    raise
                self.micro = -(-held // 2)
            self._optimiser.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            logger.warning("out of memory: %d of %d examples at once from here on", self.micro, share.total)

    def _parts(self, share: Share) -> torch.Tensor:
        """One pass over a share, `micro` examples at a time."""
        examples, size = share.examples, self.micro or len(share.examples)
        total: torch.Tensor | None = None
        for start in range(0, len(examples), size):
            whole = size >= len(examples)
            batch = share.batch if whole else self._collate(examples[start : start + size])
            with autocast(self._train.precision, self._device):
                loss: torch.Tensor = self._losses(batch).sum() * share.counts / share.total
            self._scaler.scale(loss * self._world.size).backward()  # DDP takes the mean over workers; the sum is wanted
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a share has an example"
        return total


def rate_factor(train: Train, step: int, steps: int) -> float:
    """Share of the learning rate in a step, 0 being the first: the warm-up, then the schedule."""
    warm = round(train.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return 1.0 if train.schedule == "constant" else (steps - step) / (steps - warm)


def _losses(task: Task, network: nn.Module, device: torch.device, world: World) -> nn.Module:
    """The task's losses, over a group of workers where there is one.

    Raises:
        UserError: the network has batch norm, which can't be shared by workers without GPUs.
    """
    if world.size == 1:
        return _Losses(task, network)
    if _batch_norms(network):
        if device.type == "cpu":
            raise UserError("the network has batch norm, which PyTorch shares between workers on GPUs alone; "
                            "set workers_per_trial = 1 in [resources]")  # fmt: skip
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # Backbones hold parameters that take no part (a mask embedding): DDP must look for them.
    return nn.parallel.DistributedDataParallel(_Losses(task, network), find_unused_parameters=True)


class _Losses(nn.Module):
    """The task's loss as a module's forward, which is where DDP hooks in."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self.task, self.network = task, network

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.task.loss(self.network, batch)


def _batch_norms(network: nn.Module) -> bool:
    """Whether examples of a batch see each other."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules())


def _raise(bad: Looked) -> None:
    """Says which step failed, and on which clips."""
    if torch.isfinite(bad.loss):
        raise FloatingPointError(f"the gradient is {bad.norm.item()} at step {bad.step}")
    names = ", ".join(f"{clip.language}/{clip.name}" for example in bad.examples for clip in example.clips)
    raise FloatingPointError(f"the loss is {bad.loss.item()} at step {bad.step}, on the clips {names}")


def generators() -> dict[str, Any]:
    """The states of the global generators, which dropout and masking use, as plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    numpy_state = (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state(), "cuda": cuda}


def set_generators(states: Mapping[str, Any]) -> None:
    """The way back."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
