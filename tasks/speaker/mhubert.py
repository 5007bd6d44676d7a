"""Speaker verification by speaker identification, without validation (method: section 6).

Training: a linear speaker classifier on the pooled last layer, cross-entropy. Scoring: the head is dropped; a clip's
embedding is the mean of the last four hidden layers, averaged over its frames, of length 1; pairs score by cosine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError
from grids.grid import Train
from tasks.backbones import fingerprint, load
from tasks.base import Batch, Example, Setup
from tasks.data.clips import Clip
from tasks.encoder import Encoder, masked_mean
from tasks.examples import linear_head, shuffled
from tasks.speaker.system import SpeakerSystem, speaker_rows, speakers_of
from tasks.speaker.verification import CosineOptions


@dataclass(frozen=True)
class IdentificationOptions(CosineOptions):
    """Options of the system, beside those of the scoring.

    Attributes:
        layers: number of last hidden layers whose mean is the embedding.
    """

    layers: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 1:
            raise UserError(f"layers in [options] is {self.layers}; allowed: >= 1")


class SpeakerClassifier(nn.Module):
    """Encoder, mean over a clip's frames, one row a training speaker."""

    def __init__(self, encoder: Encoder, speakers: Sequence[str], layers: int, seed: int) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers
        self.speakers = list(speakers)
        self.head = linear_head(speakers, encoder.width, seed)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Returns the logits, (K, number of speakers)."""
        frames = self.encoder(batch.values, batch.lengths, padded=batch.padded)
        return self.head(masked_mean(frames.last, frames.mask))

    def embed(self, batch: Batch) -> torch.Tensor:
        """Returns the embeddings, (K, H), of length 1."""
        frames = self.encoder(batch.values, batch.lengths, states=self.layers, padded=batch.padded)
        hidden_KFH = torch.stack(frames.hidden).float().mean(0)
        return functional.normalize(masked_mean(hidden_KFH, frames.mask), dim=1)


class SpeakerIdentification(SpeakerSystem):
    """mHuBERT (or any raw-waveform encoder) trained to tell the training speakers apart, scored on unseen ones."""

    Options: ClassVar = IdentificationOptions
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=1, batch_size=1)
    recordable: ClassVar = True
    padded_head: ClassVar = "head"
    options: IdentificationOptions

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def network(self, setup: Setup) -> SpeakerClassifier:
        """The backbone with one new row a speaker of the mixture."""
        return SpeakerClassifier(load(self.model), speakers_of(setup.clips), self.options.layers, setup.seed)

    def examples(self, network: SpeakerClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip once."""
        return shuffled(clips, seed, epoch)

    def labels(self, network: SpeakerClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`speaker`: (B,) rows of the head."""
        return {"speaker": speaker_rows(network.speakers, examples)}

    def loss(self, network: SpeakerClassifier, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy."""
        return functional.cross_entropy(network(batch).float(), batch.labels["speaker"], reduction="none")
