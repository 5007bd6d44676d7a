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

MOST_COLUMNS = 2**27  # elements of a product's operand: 268 MB in half precision
ALIGNED = 8  # elements that a row of an attention mask must be a multiple of, or each layer makes a copy that is


def grouped_product(
    hidden_KFH: torch.Tensor, weight_OIW: torch.Tensor, bias_O: torch.Tensor | None, groups: int, padding: int
) -> torch.Tensor:
    """A grouped convolution over time, of stride 1, as one batched matrix product (im2col), in autocast's type.

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
    dtype = autocast_type(hidden_KFH.device) or hidden_KFH.dtype
    apply: Callable[..., torch.Tensor] = GroupedProduct.apply
    product_KNO = apply(hidden_KFH.to(dtype), weight_OIW.to(dtype), groups, padding)
    return product_KNO if bias_O is None else product_KNO + bias_O.to(dtype)


class GroupedProduct(torch.autograd.Function):
    """See `grouped_product`. Both gradients are products too: PyTorch's own of the windows adds up in half precision.

    What is kept for them are the frames; windows, 128 times as large, are made again.
    """

    @staticmethod
    def forward(
        context: Any, hidden_KFH: torch.Tensor, weight_OIW: torch.Tensor, groups: int, padding: int
    ) -> torch.Tensor:
        """(K, F, H) and (O, I, W) -> (K, N, O)."""
        context.save_for_backward(hidden_KFH, weight_OIW)
        context.groups, context.padding = groups, padding
        return _product(hidden_KFH, weight_OIW, groups, padding)

    @staticmethod
    def backward(context: Any, gradient_KNO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """(K, N, O) -> the gradients of (K, F, H) and (O, I, W)."""
        hidden_KFH, weight_OIW = context.saved_tensors
        groups, width = context.groups, weight_OIW.shape[2]
        towards_hidden = towards_weight = None
        if context.needs_input_grad[0]:
            turned_HOW = weight_OIW.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(2)
            towards_hidden = _product(gradient_KNO, turned_HOW, groups, width - 1 - context.padding)
        if context.needs_input_grad[1]:
            found = [
                torch.bmm(_columns(part, groups, width, context.padding).transpose(1, 2), _by_group(towards, groups))
                for part, towards in _in_parts(hidden_KFH, gradient_KNO, width=width)
            ]
            sum_GCO = found[0] if len(found) == 1 else torch.stack(found).sum(0)
            towards_weight = sum_GCO.unflatten(1, (width, -1)).permute(0, 3, 2, 1).flatten(0, 1)
        return towards_hidden, towards_weight, None, None


def _product(hidden_KFH: torch.Tensor, weight_OIW: torch.Tensor, groups: int, padding: int) -> torch.Tensor:
    """Every window of frames times the weights, (K, N, O)."""
    width = weight_OIW.shape[2]
    weight_GCO = weight_OIW.unflatten(0, (groups, -1)).permute(0, 3, 2, 1).flatten(1, 2)
    parts = []
    for (part,) in _in_parts(hidden_KFH, width=width):
        product_GRO = torch.bmm(_columns(part, groups, width, padding), weight_GCO)
        parts.append(product_GRO.unflatten(1, (len(part), -1)).permute(1, 2, 0, 3).flatten(2))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _in_parts(hidden_KFH: torch.Tensor, *others: torch.Tensor, width: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Some clips at a time of (K, ...) tensors, so that no more than `MOST_COLUMNS` are held."""
    most = max(1, MOST_COLUMNS // (hidden_KFH.shape[1] * hidden_KFH.shape[2] * width))
    yield from zip(*(one.split(most) for one in (hidden_KFH, *others)), strict=True)


def _columns(hidden_KFH: torch.Tensor, groups: int, width: int, padding: int) -> torch.Tensor:
    """The windows of frames, (G, K x N, C); C is (window, channels of a group), as memory has them."""
    padded_KFH = functional.pad(hidden_KFH, (0, 0, padding, padding))
    windows_KNGIW = padded_KFH.unfold(1, width, 1).unflatten(2, (groups, -1))
    return windows_KNGIW.permute(2, 0, 1, 4, 3).flatten(3).flatten(1, 2)


def _by_group(values_KNO: torch.Tensor, groups: int) -> torch.Tensor:
    """(K, N, O) -> (G, K x N, O / G)."""
    return values_KNO.unflatten(2, (groups, -1)).permute(2, 0, 1, 3).flatten(1, 2)


def strided_product(
    hidden_KFC: torch.Tensor, weight_OCW: torch.Tensor, bias_O: torch.Tensor | None, stride: int
) -> torch.Tensor:
    """A convolution over time without padding, as matrix products on the frames where they lie; for scoring.

    With channels last, a window's frames are one row of memory, and as many as `stride` of them are the rows of a
    matrix that needs no copy. Windows of a few channels are copied, so that their rows are aligned.

    Args:
        hidden_KFC: the frames; contiguous.
        weight_OCW: as `torch.nn.Conv1d` has it.
        bias_O: (O,), or none.
        stride: frames from one window to the next.

    Returns:
        (K, (F - W) // stride + 1, O), of autocast's type under autocast.
    """
    clips, frames, channels = hidden_KFC.shape
    width = weight_OCW.shape[2]
    count = (frames - width) // stride + 1
    hidden_KFC = hidden_KFC.to(autocast_type(hidden_KFC.device) or hidden_KFC.dtype)
    product: torch.Tensor | None = None
    if channels < ALIGNED:
        windows_KNR = hidden_KFC.unfold(1, width, stride).flatten(2)
        room = -windows_KNR.shape[2] % ALIGNED
        taps_OR = functional.pad(weight_OCW.flatten(1).to(hidden_KFC.dtype), (0, room))
        product = functional.pad(windows_KNR, (0, room)) @ taps_OR.T
    else:
        for first in range(0, width, stride):
            taps_OCT = weight_OCW[:, :, first : first + stride]
            taps_KRO = taps_OCT.permute(2, 1, 0).flatten(0, 1).to(hidden_KFC.dtype).contiguous().expand(clips, -1, -1)
            rows_KNR = hidden_KFC.as_strided(
                (clips, count, taps_KRO.shape[1]), (frames * channels, stride * channels, 1),
                hidden_KFC.storage_offset() + first * channels,
            )  # fmt: skip
            product = torch.bmm(rows_KNR, taps_KRO) if product is None else torch.baddbmm(product, rows_KNR, taps_KRO)
    assert product is not None, "a window has a frame"
    return product if bias_O is None else product + bias_O.to(product.dtype)


def normed_convolution(
    waves_KT: torch.Tensor, weight_C1W: torch.Tensor, norm: "MaskedChannelNorm", stride: int, counts_K: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A convolution of waves and the `MaskedChannelNorm` behind it, as the operands of one matrix product.

    A channel's mean and variance over a clip follow from those of the samples under the window, W numbers and W x W
    for a clip, in float64; the norm is then a factor and a term of the weights of that clip. So nothing passes over the
    512 x 3,200 values a second but the product that makes them; the norm itself passes over them ten times, in float32.
    A bias of the convolution has no effect, since the norm takes the mean away.

    Args:
        waves_KT: normalised waves, float32, 0 in the padding.
        weight_C1W: of the convolution, float32.
        norm: behind it.
        stride: samples from one window to the next.
        counts_K: frames of each clip.

    Returns:
        Windows (K, F, R) and weights (K, C, R), whose products over R are the normalised frames.
    """
    weight_CW, width = weight_C1W[:, 0], weight_C1W.shape[2]
    windows_KFW = waves_KT.unfold(1, width, stride)
    own_KFW = (windows_KFW * within(counts_K, windows_KFW.shape[1])[:, :, None]).double()
    mean_KW = own_KFW.sum(1) / counts_K[:, None]
    square_KWW = own_KFW.transpose(1, 2) @ own_KFW / counts_K[:, None, None]
    spread_KWW = square_KWW - mean_KW[:, :, None] * mean_KW[:, None]
    exact_CW = weight_CW.double()
    variance_KC = ((exact_CW @ spread_KWW) * exact_CW).sum(2)
    factor_KC = norm.weight * torch.rsqrt(variance_KC + norm.eps)
    term_KC = norm.bias - factor_KC * (mean_KW @ exact_CW.T)
    room = -(width + 1) % ALIGNED
    weights_KCR = torch.cat([factor_KC[:, :, None] * exact_CW, term_KC[:, :, None]], dim=2).float()
    windows_KFR = torch.cat([windows_KFW, torch.ones_like(windows_KFW[:, :, :1])], dim=2)
    return functional.pad(windows_KFR, (0, room)), functional.pad(weights_KCR, (0, room))


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

    def forward(self, hidden_KCF: torch.Tensor, counts_K: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, C, F), normalised over the first `counts` frames of each clip; anything beyond them.

        Args:
            hidden_KCF: of any floating type; the statistics are float32.
            counts_K: (K,) frames of each clip.
        """
        valid_K1F = within(counts_K, hidden_KCF.shape[2])[:, None]
        values_KCF, counts_K11 = hidden_KCF.float(), counts_K[:, None, None]
        mean_KC1 = (values_KCF * valid_K1F).sum(2, keepdim=True) / counts_K11
        centred_KCF = (values_KCF - mean_KC1) * valid_K1F
        variance_KC1 = centred_KCF.square().sum(2, keepdim=True) / counts_K11
        scaled_KCF = centred_KCF * torch.rsqrt(variance_KC1 + self.eps)
        return (scaled_KCF * self.weight[:, None] + self.bias[:, None]).to(hidden_KCF.dtype)


class CastTogether(torch.autograd.Function):
    """Many tensors in another type, and their gradients back, in a few kernels each way."""

    @staticmethod
    def forward(context: Any, dtype: torch.dtype, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors of any shapes (...) -> the same in `dtype`."""
        context.set_materialize_grads(False)
        made, wanted = _cast(tensors, dtype), context.needs_input_grad[1:]
        context.mark_non_differentiable(*(one for one, needed in zip(made, wanted, strict=True) if not needed))
        return tuple(made)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Gradients of any shapes (...) in float32; none for what was not used."""
        cast = iter(_cast([one for one in gradients if one is not None], torch.float32))
        return None, *(None if one is None else next(cast) for one in gradients)


@contextmanager
def weights_cast(module: nn.Module, device: torch.device, but: nn.Module | None = None) -> Iterator[None]:
    """Has a module's convolutions and linear layers compute with weights that were cast all at once.

    Autocast casts each weight and each bias by itself, and each gradient back: 153 tensors of HuBERT-base, so some 300
    kernels a step. Where autocast is off, nothing happens.

    Args:
        module: with the layers.
        device: of its weights.
        but: a layer whose weights stay as they are.
    """
    dtype = autocast_type(device)
    if dtype is None:
        yield
        return
    places: list[tuple[dict[str, Any], str]] = [
        (part._parameters, name)
        for part in module.modules() if isinstance(part, nn.Linear | nn.Conv1d) and part is not but
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
