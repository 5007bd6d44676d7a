"""Arithmetic of encoders in fewer or better kernels of a GPU than PyTorch's own layers take.

Each gives what the plain operators give, to the last bits, forward and backward (`tests/tasks/test_kernels.py`). The
figures are of an H100, a training step of HuBERT-base on one clip of 5 s ([performance.md](../docs/performance.md)).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

MOST_COLUMNS = 2**27  # elements of a product's operand in scoring: 268 MB in half precision
ALIGNED = 8  # elements that a row of an attention mask must be a multiple of, or each layer makes a copy that is


def grouped_product(
    hidden_KFH: torch.Tensor, weight_OIW: torch.Tensor, bias_O: torch.Tensor | None, groups: int, padding: int
) -> torch.Tensor:
    """A grouped convolution over time, of stride 1, as one batched matrix product, which autocast meets as one.

    cuDNN has no kernel on tensor cores for 16 groups of 48 channels and a window of 128: on an H100 it took 49 of the
    56 ms that a training step of HuBERT-base kept the GPU busy.

    Args:
        hidden_KFH: the frames.
        weight_OIW: (O, H / groups, W), as `torch.nn.Conv1d` has it.
        bias_O: (O,), or none.
        groups: of the convolution.
        padding: zeros before and behind the frames.

    Returns:
        (K, F + 2 padding - W + 1, O).
    """
    width = weight_OIW.shape[2]
    each = hidden_KFH.shape[1] * hidden_KFH.shape[2] * width
    most = len(hidden_KFH) if torch.is_grad_enabled() else max(1, MOST_COLUMNS // each)
    weight_GCO = weight_OIW.unflatten(0, (groups, -1)).permute(0, 3, 2, 1).flatten(1, 2)
    parts = [_columns_times(part, weight_GCO, groups, width, padding) for part in hidden_KFH.split(most)]
    product = parts[0] if len(parts) == 1 else torch.cat(parts)
    return product if bias_O is None else product + bias_O.to(product.dtype)


def _columns_times(
    hidden_KFH: torch.Tensor, weight_GCO: torch.Tensor, groups: int, width: int, padding: int
) -> torch.Tensor:
    """Every window of frames times the weights, (K, N, O); C is (window, channels of a group), as memory has them."""
    padded_KFH = functional.pad(hidden_KFH, (0, 0, padding, padding))
    windows_KNGIW = padded_KFH.unfold(1, width, 1).unflatten(2, (groups, -1))
    columns_GRC = windows_KNGIW.permute(2, 0, 1, 4, 3).flatten(3).flatten(1, 2)
    product_GRO = torch.bmm(columns_GRC, weight_GCO.to(columns_GRC.dtype))
    return product_GRO.unflatten(1, (len(hidden_KFH), -1)).permute(1, 2, 0, 3).flatten(2)


class MaskedChannelNorm(nn.Module):
    """Group norm with one group a channel over a clip's own frames alone.

    HuBERT-base and mHuBERT-147 normalise each channel of the first convolution over time; over padded clips that
    changes every output, by more than the outputs' own size.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        if norm.num_groups != norm.num_channels:
            raise ValueError(f"group norm with {norm.num_groups} groups of {norm.num_channels} channels")
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, hidden_KCF: torch.Tensor, counts_K: torch.Tensor, *, lean: bool = False) -> torch.Tensor:
        """(K, C, F) -> (K, C, F), normalised over the first `counts` frames of each clip; anything beyond them.

        Args:
            hidden_KCF: of any floating type; the statistics are float32.
            counts_K: (K,) frames of each clip.
            lean: hold the input and no copy of it (`LeanNorm`), in place of four.
        """
        if lean:
            apply: Callable[..., torch.Tensor] = LeanNorm.apply
            return apply(hidden_KCF, self.weight, self.bias, counts_K, self.eps)
        valid_K1F = within(counts_K, hidden_KCF.shape[2])[:, None]
        values_KCF, counts_K11 = hidden_KCF.float(), counts_K[:, None, None]
        mean_KC1 = (values_KCF * valid_K1F).sum(2, keepdim=True) / counts_K11
        centred_KCF = (values_KCF - mean_KC1) * valid_K1F
        variance_KC1 = centred_KCF.square().sum(2, keepdim=True) / counts_K11
        scaled_KCF = centred_KCF * torch.rsqrt(variance_KC1 + self.eps)
        return (scaled_KCF * self.weight[:, None] + self.bias[:, None]).to(hidden_KCF.dtype)


class LeanNorm(torch.autograd.Function):
    """`MaskedChannelNorm` in a third of the passes over its input, of which it keeps nothing else for its gradient.

    Reductions read half precision and add in float32. The waves have mean 0, so the mean square less the squared mean
    loses nothing that counts. With the statistics known, batch norm of K x C channels is one pass, float32 inside.
    Nobody reads frames beyond a clip's own, so their gradient is taken for 0.
    """

    @staticmethod
    def forward(
        context: Any, hidden_KCF: torch.Tensor, weight_C: torch.Tensor, bias_C: torch.Tensor, counts_K: torch.Tensor,
        epsilon: float,
    ) -> torch.Tensor:  # fmt: skip
        """(K, C, F) -> (K, C, F)."""
        with torch.autocast(hidden_KCF.device.type, enabled=False):
            clips, counts_K1 = len(hidden_KCF), counts_K[:, None]
            own_KCF = hidden_KCF * within(counts_K, hidden_KCF.shape[2])[:, None]
            mean_KC = own_KCF.sum(2, dtype=torch.float32) / counts_K1
            square_KC = torch.linalg.vector_norm(own_KCF, dim=2, dtype=torch.float32).square() / counts_K1
            variance_KC = (square_KC - mean_KC.square()).clamp(min=0)
            scaled = functional.batch_norm(
                hidden_KCF.flatten(0, 1)[None], mean_KC.flatten(), variance_KC.flatten(), weight_C.repeat(clips),
                bias_C.repeat(clips), training=False, eps=epsilon,
            )  # fmt: skip
        context.save_for_backward(hidden_KCF, weight_C, counts_K, mean_KC, torch.rsqrt(variance_KC + epsilon))
        return scaled[0].unflatten(0, (clips, -1))

    @staticmethod
    def backward(context: Any, gradient_KCF: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of (K, C, F), (C,) and (C,)."""
        hidden_KCF, weight_C, counts_K, mean_KC, inverse_KC = context.saved_tensors
        valid_K1F, counts_K1 = within(counts_K, hidden_KCF.shape[2])[:, None], counts_K[:, None]
        own_KCF = gradient_KCF * valid_K1F
        sum_KC = own_KCF.sum(2, dtype=torch.float32)
        along_KC = inverse_KC * ((own_KCF.float() * hidden_KCF).sum(2) - mean_KC * sum_KC)
        scale_KC = weight_C * inverse_KC
        slope_KC = -scale_KC * inverse_KC * along_KC / counts_K1
        shift_KC = -scale_KC * sum_KC / counts_K1 - slope_KC * mean_KC
        found_KCF = torch.addcmul(shift_KC[:, :, None], own_KCF.float(), scale_KC[:, :, None])
        found_KCF = torch.addcmul(found_KCF, hidden_KCF.float(), slope_KC[:, :, None]) * valid_K1F
        return found_KCF.to(hidden_KCF.dtype), along_KC.sum(0), sum_KC.sum(0), None, None


class CastTogether(torch.autograd.Function):
    """Many tensors in another type, and their gradients back, in one kernel each way."""

    @staticmethod
    def forward(context: Any, dtype: torch.dtype, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors of any shapes (...) -> the same in `dtype`."""
        context.set_materialize_grads(False)
        return tuple(_cast(tensors, dtype))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Gradients of any shapes (...) in float32; none for what was not used."""
        cast = iter(_cast([one for one in gradients if one is not None], torch.float32))
        return None, *(None if one is None else next(cast) for one in gradients)


@contextmanager
def weights_cast(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Has a module's convolutions and linear layers compute with weights that were cast all at once.

    Autocast casts each weight and each bias by itself, and each gradient back: 153 tensors of HuBERT-base, so some 300
    kernels a step. Where autocast is off, nothing happens.
    """
    dtype = autocast_type(device)
    if dtype is None:
        yield
        return
    places: list[tuple[dict[str, Any], str]] = [
        (part._parameters, name)
        for part in module.modules() if isinstance(part, nn.Linear | nn.Conv1d)
        for name, own in part._parameters.items() if own is not None and own.dtype == torch.float32
    ]  # fmt: skip
    before = [table[name] for table, name in places]
    apply: Callable[..., tuple[torch.Tensor, ...]] = CastTogether.apply
    try:
        for (table, name), cast in zip(places, apply(dtype, *before), strict=True):
            table[name] = cast
        yield
    finally:
        for (table, name), own in zip(places, before, strict=True):
            table[name] = own


def attention_bias(mask_KF: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the attention's scores, (K, 1, F, F): 0 for a clip's own frames, minus infinity for others.

    Made once for all layers; from a mask of truth values each of them makes its own.
    """
    clips, frames = mask_KF.shape
    room = -(-frames // ALIGNED) * ALIGNED
    bias_KR = torch.zeros((clips, room), dtype=dtype, device=mask_KF.device)
    bias_KR[:, :frames].masked_fill_(~mask_KF, float("-inf"))
    return bias_KR[:, None, None, :frames].expand(-1, 1, frames, -1)


def autocast_type(device: torch.device) -> torch.dtype | None:
    """What autocast computes in on a device; None where it is off."""
    if device.type not in ("cpu", "cuda") or not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


def within(counts_K: torch.Tensor, total: int) -> torch.Tensor:
    """(K,) -> (K, total) bool: True in the first `counts` places."""
    return torch.arange(total, device=counts_K.device) < counts_K[:, None]


def _cast(tensors: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Tensors of any shapes (...), as they lie in memory, in another type."""
    made = [torch.empty_like(one, dtype=dtype) for one in tensors]
    if made:
        torch._foreach_copy_(made, list(tensors))
    return made
