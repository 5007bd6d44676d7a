"""Speech recognition by fine-tuning a raw-waveform encoder with CTC: mHuBERT-147, wav2vec 2.0, XLS-R, MMS.

A linear layer with a row a character of the mixture's training text on the encoder's last layer; the text by `text.py`.
Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006; fine-tuning as in A. Baevski et al.,
"wav2vec 2.0", NeurIPS 2020, section 3.3. Whether the convolutions learn, SpecAugment and LayerDrop are [model]'s.

With `lora_rank` the backbone stays as it is and learns a low-rank change of its attention's queries and values (E. Hu
et al., "LoRA", ICLR 2022; the extra `lora`). A kept checkpoint has the change added in, so that anything reads it.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from grids.errors import UserError, require
from tasks.asr.system import CtcOptions, CtcSystem, Recogniser
from tasks.backbones import Encoder, fingerprint, load
from tasks.base import Setup
from tasks.examples import keyed

logger = logging.getLogger(__name__)
ADAPTED = ("q_proj", "v_proj")


@dataclass(frozen=True)
class BackboneOptions(CtcOptions):
    """Options of `asr/ctc`, beside those of every CTC system.

    Attributes:
        lora_rank: of the change that is learnt; 0: the whole backbone learns.
    """

    lora_rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.lora_rank >= 0, f"lora_rank in [options] is {self.lora_rank}; allowed: >= 0")


class LastLayer(nn.Module):
    """A backbone as `tasks.asr.system` wants an encoder.

    Attributes:
        width: H, the size of a frame.
    """

    def __init__(self, backbone: Encoder) -> None:
        super().__init__()
        self.backbone, self.width = backbone, backbone.width

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
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def encoder(self, seed: int) -> LastLayer:
        """The backbone, with a low-rank change of nothing if one is to be learnt."""
        backbone = load(self.model)
        if self.options.lora_rank:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(keyed("lora", seed) % 2**63)
                _add_lora(backbone, self.options.lora_rank)
        return LastLayer(backbone)

    def network(self, setup: Setup) -> Recogniser:
        """See `CtcSystem.network`; with `lora_rank` the log says what share of the parameters learns."""
        network = super().network(setup)
        if self.options.lora_rank:
            logger.info("%.2f %% of the parameters learn", 100 * trained_share(network))
        return network


def trained_share(network: nn.Module) -> float:
    """The share of a network's parameters that learn."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, learns in sizes if learns) / sum(size for size, _ in sizes)


def _add_lora(backbone: Encoder, rank: int) -> None:
    """Freezes the backbone and gives it low-rank changes, which start at nothing; alpha is twice the rank.

    Raises:
        UserError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("lora_rank in [options] needs the extra `lora`: pip install 'cltm-engine[lora]'") from None
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(ADAPTED)), backbone.model)
