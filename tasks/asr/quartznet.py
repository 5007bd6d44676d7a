"""Jasper and QuartzNet: one family of 1-D convolutions over time, B blocks of R layers with residuals between blocks.

Sources: J. Li et al., "Jasper: An End-to-End Convolutional Neural Acoustic Model", Interspeech 2019 (arXiv 1904.03288),
table 1 (10x5) and section 2.3 (dense residuals): 333M parameters; S. Kriman et al., "QuartzNet: Deep Automatic Speech
Recognition with 1D Time-Channel Separable Convolutions", ICASSP 2020 (arXiv 1910.10261), table 1: 6.7M, 12.8M and 18.9M
parameters with 5x5, 10x5 and 15x5 blocks.

What tells them apart is a table each: channels, kernels, whether a convolution is one over time and then one over
channels, and whether a block adds the outputs of all blocks before it or its own input alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from grids.errors import UserError
from tasks.asr.frames import MaskedNorm, Network, SpectralEncoder, drawn
from tasks.asr.system import SCRATCH, CtcOptions, CtcSystem


@dataclass(frozen=True)
class Stage:
    """One row of a paper's table: a layer, or blocks of the same layers."""

    channels: int
    kernel: int
    dropout: float = 0.0
    stride: int = 1
    dilation: int = 1


@dataclass(frozen=True)
class Table:
    """A paper's table without its last row, which is the head.

    Attributes:
        first: the layer before the blocks.
        blocks: the five kinds of block; each stands `blocks / 5` times in a network.
        last: the layers after the blocks.
        separable: whether convolutions are over time, then over channels.
        dense: whether a block adds the outputs of all blocks before it, or its own input alone.
    """

    first: Stage
    blocks: tuple[Stage, ...]
    last: tuple[Stage, ...]
    separable: bool
    dense: bool

    def scaled(self, channels: float, kernels: float) -> "Table":
        """The table with channels and kernels multiplied; kernels stay odd, those of one frame stay so."""

        def one(stage: Stage) -> Stage:
            kernel = 2 * round(kernels * (stage.kernel // 2)) + 1
            return replace(stage, channels=round(channels * stage.channels), kernel=kernel)

        blocks, last = (tuple(map(one, stages)) for stages in (self.blocks, self.last))
        return replace(self, first=one(self.first), blocks=blocks, last=last)


JASPER = Table(
    Stage(256, 11, 0.2, stride=2),
    (Stage(256, 11, 0.2), Stage(384, 13, 0.2), Stage(512, 17, 0.2), Stage(640, 21, 0.3), Stage(768, 25, 0.3)),
    (Stage(896, 29, 0.4, dilation=2), Stage(1024, 1, 0.4)),
    separable=False,
    dense=True,
)
QUARTZNET = Table(
    Stage(256, 33, stride=2),
    (Stage(256, 33), Stage(256, 39), Stage(512, 51), Stage(512, 63), Stage(512, 75)),
    (Stage(512, 87, dilation=2), Stage(1024, 1)),
    separable=True,
    dense=False,
)


@dataclass(frozen=True)
class JasperOptions(CtcOptions):
    """Options of both systems.

    Attributes:
        blocks: B; Jasper is published with 10, QuartzNet with 5, 10 and 15.
        repeats: R, layers of a block; published are 5.
        scale: what the published channels are multiplied by. Less than 1 makes a small network.
        kernel_scale: what the published kernels are multiplied by. Clips of a second are shorter than the longest.
    """

    blocks: int = 10
    repeats: int = 5
    scale: float = 1.0
    kernel_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1 or self.blocks % 5:
            raise UserError(f"blocks in [options] is {self.blocks}; allowed: multiples of 5")
        if self.repeats < 1:
            raise UserError(f"repeats in [options] is {self.repeats}; allowed: >= 1")
        for name in ("scale", "kernel_scale"):
            if not 1 / 64 <= getattr(self, name) <= 4:
                raise UserError(f"{name} in [options] is {getattr(self, name)}; allowed: 1/64 to 4")


@dataclass(frozen=True)
class QuartzNetOptions(JasperOptions):
    """The same, with the size that is published best."""

    blocks: int = 15


class Convolution(nn.Module):
    """Convolution over time and batch norm."""

    def __init__(self, inputs: int, stage: Stage, *, separable: bool) -> None:
        super().__init__()
        outputs, kernel, stride, dilation = stage.channels, stage.kernel, stage.stride, stage.dilation
        padding = dilation * (kernel // 2)
        if separable:
            over_time = nn.Conv1d(inputs, inputs, kernel, stride, padding, dilation, groups=inputs, bias=False)
            self.conv: nn.Module = nn.Sequential(over_time, nn.Conv1d(inputs, outputs, 1, bias=False))
        else:
            self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = MaskedNorm(outputs)

    def forward(self, hidden_KCF: torch.Tensor, mask_KF: torch.Tensor) -> torch.Tensor:
        """(K, inputs, F), 0 in the padding, and the mask of what comes out -> (K, outputs, F)."""
        return self.norm(self.conv(hidden_KCF), mask_KF)


class Layer(nn.Module):
    """Convolution, batch norm, ReLU, dropout."""

    def __init__(self, inputs: int, stage: Stage, *, separable: bool) -> None:
        super().__init__()
        self.conv = Convolution(inputs, stage, separable=separable and stage.kernel > 1)
        self.dropout = nn.Dropout(stage.dropout)

    def forward(self, hidden_KCF: torch.Tensor, mask_KF: torch.Tensor, added: torch.Tensor | int = 0) -> torch.Tensor:
        """(K, inputs, F), (K, F) -> (K, outputs, F); residuals are `added` before the ReLU."""
        return self.dropout((self.conv(hidden_KCF, mask_KF) + added).relu())


class Block(nn.Module):
    """R layers; what the residuals make of the sources is added in the last one."""

    def __init__(self, sources: tuple[int, ...], stage: Stage, repeats: int, *, separable: bool) -> None:
        super().__init__()
        inputs = (sources[-1], *[stage.channels] * (repeats - 1))
        self.layers = nn.ModuleList(Layer(size, stage, separable=separable) for size in inputs)
        point = Stage(stage.channels, 1)
        self.residuals = nn.ModuleList(Convolution(size, point, separable=False) for size in sources)

    def forward(self, sources: Sequence[torch.Tensor], mask_KF: torch.Tensor) -> torch.Tensor:
        """(K, C, F) of each source, the last of which is the block's input -> (K, outputs, F)."""
        *layers, last = self.layers
        hidden_KCF = sources[-1]
        for layer in layers:
            hidden_KCF = layer(hidden_KCF, mask_KF)
        parts = [residual(source, mask_KF) for residual, source in zip(self.residuals, sources, strict=True)]
        return last(hidden_KCF, mask_KF, sum(parts))


class Jasper(Network):
    """Log-mel bands to frames of 20 ms.

    Args:
        table: a family's channels, kernels and residuals.
        blocks: B, a multiple of five.
        repeats: R, the layers of a block.

    Attributes:
        width: H, the size of a frame.
        stride: frames of the input a frame.
    """

    bands = 64

    def __init__(self, table: Table, blocks: int, repeats: int = 5) -> None:
        super().__init__()
        self.dense, self.stride = table.dense, table.first.stride
        self.first = Layer(self.bands, table.first, separable=table.separable)
        sizes = [table.first.channels]
        self.blocks = nn.ModuleList()
        for stage in (stage for stage in table.blocks for _ in range(blocks // len(table.blocks))):
            sources = tuple(sizes) if self.dense else (sizes[-1],)
            self.blocks.append(Block(sources, stage, repeats, separable=table.separable))
            sizes.append(stage.channels)
        inputs = (sizes[-1], *(stage.channels for stage in table.last))
        self.last = nn.ModuleList(
            Layer(size, stage, separable=table.separable) for size, stage in zip(inputs, table.last, strict=False)
        )
        self.width = inputs[-1]

    def forward(self, features_KCF: torch.Tensor, mask_KF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, 64, F), 0 in the padding, and (K, F) -> (K, F', H) and the mask (K, F')."""
        mask_KF = mask_KF[:, :: self.stride]
        sources = [self.first(features_KCF, mask_KF)]
        for block in self.blocks:
            sources.append(block(sources if self.dense else sources[-1:], mask_KF))
        hidden_KCF = sources[-1]
        for layer in self.last:
            hidden_KCF = layer(hidden_KCF, mask_KF)
        return hidden_KCF.transpose(1, 2), mask_KF


class JasperSystem(CtcSystem):
    """Characters by CTC on Jasper with dense residuals; word and character error rates."""

    Options: ClassVar = JasperOptions
    table: ClassVar = JASPER
    train: ClassVar = SCRATCH
    options: JasperOptions

    def encoder(self, seed: int) -> SpectralEncoder:
        """The family's network in the size of the options."""
        sizes = self.options
        table = self.table.scaled(sizes.scale, sizes.kernel_scale)
        return drawn(lambda: Jasper(table, sizes.blocks, sizes.repeats), seed)


class QuartzNetSystem(JasperSystem):
    """Characters by CTC on QuartzNet; word and character error rates."""

    Options: ClassVar = QuartzNetOptions
    table: ClassVar = QUARTZNET
