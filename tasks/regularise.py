"""Keeping a network near where it started, so that it forgets less: L2 to the start, and elastic weight consolidation.

A task puts `attach(network, options)` at the end of its `network`; the training loop does the rest (`AfterStep`).

The penalty is strength / 2 x sum of F (w - w0)^2, with F the diagonal of the Fisher information (J. Kirkpatrick et al.,
"Overcoming catastrophic forgetting in neural networks", PNAS 114 (2017), equation 3); F = 1 is L2 to the start. It is
no part of the loss: Adam would divide its gradient by the gradient's own size, so that no strength could hold a weight
still. It is a proximal step after each step of the optimiser instead, exact for a quadratic:

    w <- (w + rate x strength x F x w0) / (1 + rate x strength x F)

Source: Z. Zhuang et al., "Understanding AdamW through proximal methods and scale-freeness", TMLR 2022 (arXiv
2202.00089), which shows that AdamW's weight decay is this step to first order, for F = 1 and w0 = 0. So a strength here
is of the kind of a weight decay, not of a factor in a loss.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import nn

from grids.errors import UserError, require
from grids.files import expanded
from tasks.base import Batch

ATTACHED = "anchor"


@dataclass(frozen=True)
class Regularise:
    """How hard a network is held where it started: the table [options.regularise].

    Attributes:
        kind: "none", "l2", or "ewc" for elastic weight consolidation.
        strength: factor of the penalty; 0 is exactly none, and from a huge one on no protected weight moves.
        fisher: for "ewc", the absolute path of a safetensors file with a value for each weight that learns.
    """

    kind: Literal["none", "l2", "ewc"] = "none"
    strength: float = 0.0
    fisher: str = ""

    def __post_init__(self) -> None:
        finite = 0 <= self.strength < math.inf
        require(finite, f"strength in [options.regularise] is {self.strength}; allowed: >= 0, finite")
        given = bool(self.fisher) == (self.kind == "ewc")
        require(given, f"fisher in [options.regularise] is {self.fisher!r}; kind = 'ewc' needs it, and no other")
        whole = not self.fisher or expanded(self.fisher).is_absolute()
        require(whole, f"fisher in [options.regularise] is {self.fisher!r}; allowed: an absolute path")


class Anchor(nn.Module):
    """Draws a network's weights towards where they started. It adds nothing to the network's state.

    Args:
        network: as it starts; its weights that learn are protected.
        strength: factor.
        fisher: name of a weight -> its diagonal Fisher information, (...) as the weight; None: 1 everywhere.
    """

    def __init__(self, network: nn.Module, strength: float, fisher: Mapping[str, torch.Tensor] | None) -> None:
        super().__init__()
        self.strength, self.names = strength, [name for name, _ in learning(network)]
        for number, (name, weight) in enumerate(learning(network)):
            matters = torch.ones(()) if fisher is None else fisher[name]
            self.register_buffer(f"start_{number}", weight.detach().clone(), persistent=False)
            self.register_buffer(f"fisher_{number}", matters, persistent=False)

    @torch.no_grad()
    def after_step(self, network: nn.Module, rate: float) -> None:
        """The proximal step of a learning rate; see the module's docstring."""
        weights = dict(network.named_parameters())
        for number, name in enumerate(self.names):
            pull = rate * self.strength * self.get_buffer(f"fisher_{number}")
            weights[name].lerp_(self.get_buffer(f"start_{number}"), 1 / (1 + 1 / pull))  # from 0 to 1, both exact


def learning(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The weights that learn, by name; a tied weight once."""
    return [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]


def attach(network: nn.Module, options: Regularise) -> None:
    """Makes the network remember where it started, if the options ask for it.

    Raises:
        UserError: the Fisher information is not that of this network.
    """
    if options.kind != "none" and options.strength:
        fisher = read_fisher(expanded(options.fisher), network) if options.fisher else None
        network.add_module(ATTACHED, Anchor(network, options.strength, fisher))


def diagonal_fisher(
    network: nn.Module, loss: Callable[[Batch], torch.Tensor], batches: Iterable[Batch]
) -> dict[str, torch.Tensor]:
    """The mean over examples of each weight's squared gradient, at the texts that the examples have.

    That is the empirical Fisher information of the task's own loss (for texts, the mean over tokens).

    Args:
        network: as it will start.
        loss: (1,) losses of a batch.
        batches: of one example each, since gradients are squared one by one.

    Returns:
        Name of a weight that learns -> (...) float32, of the weight's shape.
    """
    found = {name: torch.zeros_like(weight) for name, weight in learning(network)}
    count = 0
    for batch in batches:
        network.zero_grad()
        loss(batch).sum().backward()
        count += 1
        for name, weight in learning(network):
            if weight.grad is not None:
                found[name] += weight.grad.square()
    network.zero_grad()
    return {name: total / count for name, total in found.items()}


def read_fisher(path: Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """The values of each weight that learns, (...) float32 as the weight.

    Raises:
        UserError: no such file, or it is not of this network.
    """
    try:
        found = load_file(path)
    except Exception as error:  # safetensors raises its own type, and the system's
        raise UserError(f"cannot read the Fisher information {str(path)!r}: {error}") from None
    for name, weight in learning(network):
        shape = tuple(found[name].shape) if name in found else "nothing"
        if shape != tuple(weight.shape):
            raise UserError(f"{path} has {shape} for the weight {name}; needed: {tuple(weight.shape)}")
    return {name: found[name].float() for name, _ in learning(network)}
