"""Speech recognition by fine-tuning a raw-waveform encoder with CTC: mHuBERT-147, wav2vec 2.0, XLS-R, MMS.

A linear layer with a row a character of the mixture's training text on the encoder's last layer; the text by `text.py`.
Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006; fine-tuning as in A. Baevski et al.,
"wav2vec 2.0", NeurIPS 2020, section 3.3. Whether the convolutions learn, SpecAugment and LayerDrop are [model]'s.

What of the backbone learns beside the head is `learn` (`tasks.adapters`). Plain transformers reads what is kept, with a
low-rank change added in; but for "adapters" no class of transformers has a place. Such a folder holds the backbone in
`backbone/`, which transformers reads, and adapters and head beside it, which only `tasks.asr.transcribe` does.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from grids.errors import require
from tasks.adapters import SIZED, Learn, check, restrict, trained_share
from tasks.asr.checkpoint import Symbols
from tasks.asr.system import CtcOptions, CtcSystem, Recogniser
from tasks.backbones import fingerprint, load
from tasks.base import Setup
from tasks.encoder import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneOptions(CtcOptions):
    """Options of `asr/ctc`, beside those of every CTC system.

    Attributes:
        learn: what of the backbone learns; see `tasks.adapters`.
        rank: of the low-rank change ("lora"), or of the bottlenecks ("adapters").
    """

    learn: Learn = "all"
    rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.rank >= 1 if self.learn in SIZED else self.rank == 0
        allowed = ">= 1" if self.learn in SIZED else "0"
        require(fits, f"rank in [options] is {self.rank}; allowed with learn = {self.learn!r}: {allowed}")


class LastLayer(nn.Module):
    """A backbone as `tasks.asr.system` wants an encoder.

    Args:
        backbone: the backbone.
        adapters: what was added to it.

    Attributes:
        width: H, the size of a frame.
    """

    def __init__(self, backbone: Encoder, adapters: nn.ModuleList) -> None:
        super().__init__()
        self.backbone, self.adapters, self.width = backbone, adapters, backbone.width

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, T) waves and (K,) lengths -> (K, F, H) and the mask (K, F)."""
        frames = self.backbone(values_KT, lengths_K)
        return frames.last, frames.mask

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return self.backbone.frames(lengths_K)


class Ctc(CtcSystem):
    """See the module's docstring."""

    Options: ClassVar = BackboneOptions

    def weights_sha(self) -> str:
        """The backbone's.

        Raises:
            UserError: it is not to be had, or cannot learn as asked.
        """
        check(self.model.backbone, self.options.learn)
        return fingerprint(self.model.backbone)

    def encoder(self, seed: int) -> LastLayer:
        """The backbone with what is added to it, which changes nothing yet."""
        backbone = load(self.model)
        return LastLayer(backbone, restrict(backbone, self.options.learn, self.options.rank, seed))

    def network(self, setup: Setup) -> Recogniser:
        """See `CtcSystem.network`; unless everything learns, the log says what share of the parameters does."""
        network = super().network(setup)
        if self.options.learn != "all":
            logger.info("%.2f %% of the parameters learn", 100 * trained_share(network))
        return network

    def remade(self, described: Symbols) -> Recogniser:
        """See `CtcSystem.remade`; low-rank changes are in the weights already."""
        if self.options.learn == "adapters":
            return super().remade(described)
        return Recogniser(LastLayer(load(self.model), nn.ModuleList()), described.symbols, described.views, 0)
