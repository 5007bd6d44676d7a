"""Validation: the epoch of a training that is best on dev clips. What the network was then is put back at the end."""

from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import nn

from tasks.base import Metric


class Selection:
    """The best of what it was offered; of equal ones the first.

    Attributes:
        metric: of the dev score.
        ends: optimiser steps after which the network is scored.
        step: the optimiser step after which the network was best.
        value: its dev score then.
    """

    def __init__(self, metric: Metric, ends: Set[int]) -> None:
        self.metric, self.ends, self.step, self.value = metric, ends, 0, 0.0
        self._weights = dict[str, torch.Tensor]()

    def offer(self, step: int, value: float, network: nn.Module) -> None:
        """Keeps the network as it is now, on the CPU, if its dev score is the best so far."""
        better = value > self.value if self.metric.higher_is_better else value < self.value
        if better or not self.step:
            self.step, self.value = step, value
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def put_back(self, network: nn.Module) -> None:
        """Makes the network what it was at its best."""
        network.load_state_dict(self._weights)

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        return {"step": self.step, "value": self.value, "weights": self._weights}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` was made of."""
        self.step, self.value, self._weights = state["step"], state["value"], state["weights"]
