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
from grids.grid import Model, Train
from tasks.backbones import Encoder, fingerprint, load, masked_mean
from tasks.base import Batch, Example, Output, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.examples import linear_head, shuffled
from tasks.speaker.verification import METRICS, CosineOptions, pairs_of, score_embeddings, speaker_needs


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

    def __init__(self, encoder: Encoder, speakers: Sequence[str], seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.row = {speaker: number for number, speaker in enumerate(speakers)}
        self.head = linear_head(speakers, encoder.width, seed)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Returns the logits, (K, number of speakers)."""
        frames = self.encoder(batch.values, batch.lengths)
        return self.head(masked_mean(frames.last, frames.mask))

    def embed(self, batch: Batch, layers: int) -> torch.Tensor:
        """Returns the embeddings, (K, H), of length 1."""
        frames = self.encoder(batch.values, batch.lengths)
        hidden_KFH = torch.stack(frames.hidden[-layers:]).float().mean(0)
        return functional.normalize(masked_mean(hidden_KFH, frames.mask), dim=1)


class SpeakerIdentification:
    """mHuBERT (or any raw-waveform encoder) trained to tell the training speakers apart, scored on unseen ones."""

    Options: ClassVar = IdentificationOptions
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=1, batch_size=1)
    metrics: ClassVar = METRICS

    def __init__(self, options: IdentificationOptions, model: Model) -> None:
        self.options, self.model = options, model

    @property
    def needs(self) -> Needs:
        """Speakers; of test clips the genders too, in which pairs are drawn."""
        return speaker_needs(self.options)

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def check(self, clips: Sequence[Clip]) -> None:
        """The test set must give pairs of both kinds."""
        pairs_of(clips, self.options, alone=True)

    def network(self, setup: Setup) -> SpeakerClassifier:
        """The backbone with one new row a speaker of the mixture."""
        speakers = sorted({clip.speaker for clip in setup.clips})
        return SpeakerClassifier(load(self.model), speakers, setup.seed)

    def frozen(self, network: SpeakerClassifier) -> None:
        """Nothing is frozen for good."""

    def examples(self, network: SpeakerClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip once."""
        return shuffled(clips, seed, epoch)

    def labels(self, network: SpeakerClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`speaker`: (B,) rows of the head."""
        return {"speaker": torch.tensor([network.row[example.clips[0].speaker] for example in examples])}

    def loss(self, network: SpeakerClassifier, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy."""
        return functional.cross_entropy(network(batch).float(), batch.labels["speaker"], reduction="none")

    def outputs(self, network: SpeakerClassifier, batch: Batch) -> Sequence[Output]:
        """`embedding` (H,) a clip."""
        return [{"embedding": row} for row in network.embed(batch, self.options.layers).float().cpu().numpy()]

    def score(self, network: SpeakerClassifier, tests: Mapping[str, Tests]) -> Scored:
        """`METRICS` of each language."""
        return score_embeddings(tests, options=self.options)
