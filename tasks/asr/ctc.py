"""Speech recognition by fine-tuning a raw-waveform encoder with CTC: mHuBERT-147, wav2vec 2.0, XLS-R, MMS.

A linear layer with a row a character of the mixture's training text on the encoder's last layer; the text by `text.py`.
Source: A. Graves et al., "Connectionist Temporal Classification", ICML 2006; fine-tuning as in A. Baevski et al.,
"wav2vec 2.0", NeurIPS 2020, section 3.3. Whether the convolutions learn, SpecAugment and LayerDrop are [model]'s.
"""

import torch
from torch import nn

from tasks.asr.system import CtcSystem
from tasks.backbones import Encoder, fingerprint, load


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

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def encoder(self, seed: int) -> LastLayer:
        """The backbone."""
        return LastLayer(load(self.model))
