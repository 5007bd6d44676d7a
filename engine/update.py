"""The optimiser's half of a training step: AdamW, the clipped gradient, the scale of fp16 gradients.

Everything that a step reads or changes can be put back in place, so that a step recorded as a CUDA graph serves every
later trial of the process. On a GPU the learning rate is a tensor, whether a step is recorded or not: a tensor rate
gives other bits than a float.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from grids.grid import Train

FIRST_SCALE = (
    1024.0  # of fp16 gradients. PyTorch's 65,536 overflows, so the first steps of a short training are skipped
)


class Update:
    """What changes the parameters once their gradients are there.

    Args:
        parameters: those that learn.
        train: rate, weight decay, clip and precision.
        device: where they lie.
        in_place: the rate is a tensor on the device, as a recorded step needs it.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], train: Train, device: torch.device, *, in_place: bool
    ) -> None:
        self._parameters, self._clip = list(parameters), train.gradient_clip or float("inf")
        self._rate = torch.tensor(train.learning_rate, device=device) if in_place else None
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=train.learning_rate if self._rate is None else self._rate,
            weight_decay=train.weight_decay, fused=True, capturable=in_place,
        )  # fmt: skip
        self._scaler = torch.amp.grad_scaler.GradScaler(
            device.type, init_scale=FIRST_SCALE, enabled=train.precision == "fp16"
        )
        self._optimiser._warned_capturable_if_run_uncaptured = True  # it is meant  # type: ignore[attr-defined]
        self._first_scale = self._scaler.state_dict()
        self.reset()

    @property
    def skips_overflows(self) -> bool:
        """Whether a step with a gradient that is not finite changes nothing, and counts as none."""
        return self._scaler.is_enabled()

    def reset(self) -> None:
        """As if no step had been taken; every tensor stays where it is."""
        for parameter in self._parameters:
            for tensor in self._moments(parameter).values():
                tensor.zero_()
        self._scaler.load_state_dict(self._first_scale)
        self.clear()

    def clear(self) -> None:
        """Forgets the gradients, and a step that failed half-way."""
        if self._scaler.is_enabled():
            self._scaler._per_optimizer_states.clear()  # which would forbid the next step
        self._optimiser.zero_grad(set_to_none=True)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        if self._rate is not None:
            self._rate.fill_(rate)
            return
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss, of shape ()."""
        self._scaler.scale(loss).backward()

    def apply(self) -> torch.Tensor:
        """Takes the step; the norm of the gradient before it was clipped, of shape (), on the device."""
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return norm

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on beside the parameters, as plain values and tensors."""
        moments = [dict(self._moments(parameter)) for parameter in self._parameters]
        return {"moments": moments, "scaler": self._scaler.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` was made of; every tensor stays where it is."""
        for parameter, kept in zip(self._parameters, state["moments"], strict=True):
            for name, tensor in self._moments(parameter).items():
                tensor.copy_(kept[name])
        self._scaler.load_state_dict(state["scaler"])

    def _moments(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        """AdamW's tensors of a parameter, made as AdamW makes them at its first step if they are not there yet."""
        state: dict[str, torch.Tensor] = self._optimiser.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state
