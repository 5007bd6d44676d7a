"""Speaker verification with a Siamese network: two clips through one encoder, the same speaker near, others far.

Source: R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006,
equation 4, without its factor 1/2; the distance is Euclidean between embeddings of length 1, so at most 2.

The encoder is convolutional on log-mels (`backbone = "none"` in [model]) or any raw-waveform encoder by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError
from grids.grid import NO_BACKBONE, Train
from tasks.backbones import fingerprint, load
from tasks.base import Batch, Example, Setup
from tasks.data.clips import Clip
from tasks.encoder import Frames, masked_mean
from tasks.examples import keyed
from tasks.speaker.features import BANDS, Features
from tasks.speaker.pairs import same_speaker, training_pairs
from tasks.speaker.system import SpeakerSystem
from tasks.speaker.verification import CosineOptions

KERNEL, DILATIONS = 5, (1, 2, 3)
SMALLEST_SQUARE = 1e-8  # of a distance; below it the root has no gradient that could be used


@dataclass(frozen=True)
class SiameseOptions(CosineOptions):
    """Options of the system.

    Attributes:
        channels: of the convolutional encoder, and size of its embedding; without effect on a backbone.
        margin: distance from which on different speakers are far enough.
        gender_matched: different speakers of a pair are of one gender, as in the test's pairs.
    """

    channels: int = 256
    margin: float = 1.0
    gender_matched: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise UserError(f"channels in [options] is {self.channels}; allowed: >= 1")
        if not 0 < self.margin <= 2:
            raise UserError(f"margin in [options] is {self.margin}; allowed: above 0, at most 2")


class Convolutions(nn.Module):
    """80 log-mels a frame, three convolutions over time, each with ReLU and layer norm over the channels of a frame.

    Nothing in it sees another clip or the padding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = Features("logmel")
        widths = (BANDS, *[channels] * len(DILATIONS))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, channels, KERNEL, dilation=dilation, padding="same")
            for inputs, dilation in zip(widths, DILATIONS, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in DILATIONS)

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor, *, padded: bool = True) -> Frames:
        """Encodes (K, T) waves, as `tasks.encoder.Encoder` does; `padded` is without effect."""
        hidden_KCF, mask_KF = self.features(values_KT, lengths_K)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden_KFC = norm(convolution(hidden_KCF * mask_KF[:, None]).relu().transpose(1, 2))
            hidden_KCF = hidden_KFC.transpose(1, 2)
        return Frames((hidden_KFC,), mask_KF)


class SiameseNetwork(nn.Module):
    """An encoder and the mean over a clip's frames."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def embed(self, batch: Batch) -> torch.Tensor:
        """(K, D) embeddings of length 1."""
        frames = self.encoder(batch.values, batch.lengths, padded=batch.padded)
        return functional.normalize(masked_mean(frames.last.float(), frames.mask), dim=1)


def contrastive_loss(distance_B: torch.Tensor, same_B: torch.Tensor, margin: float) -> torch.Tensor:
    """(B,) losses of distances: d^2 for the same speaker, max(0, margin - d)^2 for different ones."""
    return torch.where(same_B, distance_B, (margin - distance_B).clamp(min=0)).square()


class Siamese(SpeakerSystem):
    """See the module's docstring."""

    Options: ClassVar = SiameseOptions
    train: ClassVar = Train(learning_rate=1e-3, epochs=5, batch_size=32)
    recordable: ClassVar = True
    options: SiameseOptions

    def weights_sha(self) -> str:
        """The backbone's; "" if there is none."""
        return "" if self.model.backbone == NO_BACKBONE else fingerprint(self.model.backbone)

    def network(self, setup: Setup) -> SiameseNetwork:
        """The backbone, or convolutions drawn from the seed; the same for every mixture."""
        if self.model.backbone != NO_BACKBONE:
            return SiameseNetwork(load(self.model))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed("siamese", setup.seed) % 2**63)
            return SiameseNetwork(Convolutions(self.options.channels))

    def examples(self, network: SiameseNetwork, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Two pairs a clip, one of each kind."""
        return training_pairs(clips, seed, epoch, gender_matched=self.options.gender_matched)

    def labels(self, network: SiameseNetwork, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`same`: (B,) bool."""
        return {"same": same_speaker(examples)}

    def loss(self, network: SiameseNetwork, batch: Batch) -> torch.Tensor:
        """(B,) contrastive loss."""
        one_BD, other_BD = network.embed(batch).unflatten(0, (-1, 2)).unbind(1)
        distance_B = (one_BD - other_BD).square().sum(1).clamp(min=SMALLEST_SQUARE).sqrt()
        return contrastive_loss(distance_B, batch.labels["same"], self.options.margin)
