"""One training on its way: its steps, and its state, which another process can go on from bit for bit.

A step asks nothing of a GPU that would make the CPU wait for it: losses and gradients are looked at every `WINDOW`
steps, together. With a static network (`engine.graphs`) a step is one launch. Where a step does not fit into a GPU's
memory, its batch is halved until it does, and the gradients of the parts are added up: the global batch stays.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from engine.graphs import StaticNetwork
from engine.precision import autocast
from engine.update import Update
from grids.errors import UserError
from grids.grid import Train
from tasks.base import AfterStep, Batch, Example, Task
from tasks.encoder import Encoder, hand_over

logger = logging.getLogger(__name__)
WINDOW = 16  # steps between two looks at what is on the device
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
    """The step of a training, and what it has come to.

    Args:
        task: gives the losses.
        network: that learns.
        train: the training settings.
        steps: of the training.
        device: of the network.
        world: this worker.
        collate: puts examples together, where a batch has to be halved.
        static: that the network's tensors belong to, if steps are recorded.

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
        static: StaticNetwork | None = None,
    ) -> None:
        self.step, self.micro, self._steps = 0, 0, steps
        self._train, self._device, self._world, self._collate = train, device, world, collate
        self._network, self._after = network, [part for part in network.modules() if isinstance(part, AfterStep)]
        self._losses = _losses(task, network, device, world)
        self._drawing = [part for part in network.modules() if isinstance(part, Encoder)]
        self._static = static
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._update = static.update if static else Update(learning, train, device, in_place=device.type == "cuda")
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
        rate = self._train.learning_rate * rate_factor(self._train, self.step, self._steps)
        self._update.set_rate(rate)
        if not self.micro:
            share = replace(share, batch=self._with_draws(share.batch))
        if self._static and not self.micro:
            step = lambda batch: self._take(replace(share, batch=batch))  # noqa: E731
            loss, norm = self._static.run(self._network, share.batch, step)
        else:
            loss, norm = self._take(share)
        for part in self._after:
            part.after_step(self._network, rate)
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
        if self._update.skips_overflows:
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
            "update": self._update.state(), "overflows": self._overflows, "generators": drawn,
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` was made of."""
        self.step, self.micro = state["step"], state["micro"]
        self._network.load_state_dict(state["network"])
        self._update.load_state(state["update"])
        self._overflows.copy_(state["overflows"])
        set_generators(state["generators"][self._world.rank])

    def _with_draws(self, batch: Batch) -> Batch:
        """The batch with the masks of the step that comes among its labels, drawn here, in the order of the steps."""
        masks = dict[str, torch.Tensor]()
        for part in self._drawing:
            masks |= part.draw(batch.counts, batch.values.shape[1])
        if batch.values.is_cuda:  # nobody waits for a copy from pinned memory
            masks = {name: mask.pin_memory() for name, mask in masks.items()}
        return replace(batch, labels={**batch.labels, **masks}).to(batch.values.device) if masks else batch

    def _take(self, share: Share) -> tuple[torch.Tensor, torch.Tensor]:
        """One step, as a GPU may record it: nothing here asks the device for a value."""
        self._update.clear()
        return self._backward(share), self._update.apply()

    def _backward(self, share: Share) -> torch.Tensor:
        """Adds the gradients of a share, in parts if need be; returns its part of the mean loss."""
        while True:
            try:
                return self._parts(share)
            except torch.OutOfMemoryError:
                held = min(self.micro or len(share.examples), len(share.examples))
                if held == 1 or self._world.size > 1 or _batch_norms(self._network) or _is_recording():
                    raise
                self.micro = -(-held // 2)
            self._update.clear()
            torch.cuda.empty_cache()
            logger.warning("out of memory: %d of %d examples at once from here on", self.micro, share.total)

    def _parts(self, share: Share) -> torch.Tensor:
        """One pass over a share, `micro` examples at a time."""
        examples, size = share.examples, self.micro or len(share.examples)
        total: torch.Tensor | None = None
        for start in range(0, len(examples), size):
            whole = size >= len(examples)
            batch = share.batch if whole else self._with_draws(self._collate(examples[start : start + size]))
            with autocast(self._train.precision, self._device):
                loss: torch.Tensor = self._losses(batch).sum() * share.counts / share.total
            self._update.backward(loss * self._world.size)  # DDP takes the mean over workers; the sum is wanted
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a share has an example"
        return total


def _is_recording() -> bool:
    """Whether what is given to the GPU is recorded, not done."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


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
        hand_over(self.network, batch.labels)
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
