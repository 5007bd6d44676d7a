"""Deep Speech 2: convolutions over time and frequency, then bidirectional recurrent layers, trained from nothing.

Source: D. Amodei et al., "Deep Speech 2: End-to-End Speech Recognition in English and Mandarin", ICML 2016
(arXiv 1512.02595), sections 3.1 to 3.5. The size that is stated as published is that of its comparison of convolutions:
three 2-D convolutions (32, 32 and 96 channels), seven bidirectional recurrent layers, 35 million parameters. The paper
gives no number of units for it; 584 GRU units make 35M.

One thing differs: the norm stands before the product with a layer's input weights and not after it, B(x) W for B(x W),
so that the fused recurrent kernels of PyTorch can be used. Directions are summed and norms taken over valid frames of
the whole batch, as in the paper.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from grids.errors import UserError
from tasks.asr.frames import BINS, MaskedNorm, Network, SpectralEncoder, drawn
from tasks.asr.system import SCRATCH, CtcOptions, CtcSystem

CHANNELS = (32, 32, 96)
KERNELS = ((41, 11), (21, 11), (21, 11))  # frequency, time
STRIDES = ((2, 2), (2, 1), (2, 1))
CLIP = 20.0  # of the clipped ReLU


@dataclass(frozen=True)
class DeepSpeechOptions(CtcOptions):
    """Options of the system.

    Attributes:
        channels: of the convolutions, at most three.
        layers: recurrent layers.
        units: of a direction of a recurrent layer.
    """

    channels: tuple[int, ...] = CHANNELS
    layers: int = 7
    units: int = 584

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.channels) <= len(KERNELS) or min(self.channels) < 1:
            raise UserError(f"channels in [options] is {list(self.channels)}; allowed: 1 to 3 numbers >= 1")
        for name in ("layers", "units"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} in [options] is {getattr(self, name)}; allowed: >= 1")


class Convolution(nn.Module):
    """2-D convolution, batch norm, clipped ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = MaskedNorm(outputs)

    def forward(self, hidden_KCDF: torch.Tensor, mask_KF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, C, D, F), 0 in the padding, and (K, F) -> the same with fewer bands D and frames F."""
        mask_KF = mask_KF[:, :: self.conv.stride[1]]
        return self.norm(self.conv(hidden_KCDF), mask_KF).clamp(0, CLIP), mask_KF


class Recurrence(nn.Module):
    """Batch norm and a bidirectional GRU, whose directions are summed."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.norm = MaskedNorm(inputs)
        self.cells = nn.GRU(inputs, units, batch_first=True, bidirectional=True)

    def forward(self, hidden_KCF: torch.Tensor, mask_KF: torch.Tensor) -> torch.Tensor:
        """(K, C, F), (K, F) -> (K, H, F), 0 in the padding."""
        hidden_KFC = self.norm(hidden_KCF, mask_KF).transpose(1, 2)
        packed = nn.utils.rnn.pack_padded_sequence(
            hidden_KFC, mask_KF.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        both_KFH, _ = nn.utils.rnn.pad_packed_sequence(
            self.cells(packed)[0], batch_first=True, total_length=mask_KF.shape[1]
        )
        return both_KFH.unflatten(2, (2, -1)).sum(2).transpose(1, 2)


class DeepSpeech2(Network):
    """Log spectra to frames of 20 ms: 35M parameters with the published channels, 7 layers and 584 units.

    Attributes:
        width: H, the size of a frame.
        stride: frames of the input a frame.
    """

    bands = 0
    stride = STRIDES[0][1]

    def __init__(self, channels: tuple[int, ...] = CHANNELS, layers: int = 7, units: int = 584) -> None:
        super().__init__()
        self.width = units
        sizes = zip((1, *channels), channels, KERNELS, STRIDES, strict=False)
        self.convolutions = nn.ModuleList(Convolution(*size) for size in sizes)
        bands = BINS
        for _ in channels:
            bands = -(-bands // 2)
        inputs = (bands * channels[-1], *[units] * (layers - 1))
        self.recurrences = nn.ModuleList(Recurrence(size, units) for size in inputs)
        self.norm = MaskedNorm(units)

    def forward(self, features_KCF: torch.Tensor, mask_KF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, 161, F), 0 in the padding, and (K, F) -> (K, F', H) and the mask (K, F')."""
        hidden = features_KCF[:, None]
        for convolution in self.convolutions:
            hidden, mask_KF = convolution(hidden, mask_KF)
        hidden_KHF = hidden.flatten(1, 2)
        for recurrence in self.recurrences:
            hidden_KHF = recurrence(hidden_KHF, mask_KF)
        return self.norm(hidden_KHF, mask_KF).transpose(1, 2), mask_KF


class DeepSpeech(CtcSystem):
    """Characters by CTC on Deep Speech 2; a language's scores are word and character error rates."""

    Options: ClassVar = DeepSpeechOptions
    train: ClassVar = SCRATCH
    options: DeepSpeechOptions

    def encoder(self, seed: int) -> SpectralEncoder:
        """Deep Speech 2 in the size of the options."""
        sizes = self.options
        return drawn(lambda: DeepSpeech2(sizes.channels, sizes.layers, sizes.units), seed)
