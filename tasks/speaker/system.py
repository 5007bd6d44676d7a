"""What speaker systems that learn an embedding share: needs, rows of speakers, outputs, scores."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from grids.grid import Model
from tasks.base import Batch, Example, Frozen, Output, Scored, Tests
from tasks.data.clips import Clip, Needs
from tasks.speaker.verification import METRICS, pairs_of, score_embeddings, speaker_needs


class SpeakerSystem:
    """Members of `tasks.base.Task` for a network with `embed(batch)`, which gives (K, D) embeddings."""

    metrics: ClassVar = METRICS

    def __init__(self, options: Any, model: Model) -> None:
        self.options, self.model = options, model

    @property
    def needs(self) -> Needs:
        """Speakers; of test clips the genders too, in which pairs are drawn."""
        return speaker_needs(self.options)

    def check(self, clips: Sequence[Clip]) -> None:
        """The test set must give pairs of both kinds."""
        pairs_of(clips, self.options, alone=True)

    def frozen(self, network: Any) -> Frozen | None:
        """Nothing is frozen for good."""
        return None

    def outputs(self, network: Any, batch: Batch) -> Sequence[Output]:
        """`embedding` (D,) a clip."""
        return [{"embedding": row} for row in network.embed(batch).float().cpu().numpy()]

    def score(self, network: Any, tests: Mapping[str, Tests]) -> Scored:
        """`METRICS` of each language."""
        return score_embeddings(tests, options=self.options)


def speakers_of(clips: Sequence[Clip]) -> list[str]:
    """The speakers of a mixture, in the order of a head's rows."""
    return sorted({clip.speaker for clip in clips})


def speaker_rows(speakers: Sequence[str], examples: Sequence[Example]) -> torch.Tensor:
    """(B,) int64: the head's row of each example's speaker."""
    row = {speaker: number for number, speaker in enumerate(speakers)}
    return torch.tensor([row[example.clips[0].speaker] for example in examples])
