"""The zero-training baseline: the untouched backbone, scored as the identification system is (method: section 6).

No mixture can change its scores, so a grid asks for the empty mixture and one seed. What a system gains on them is what
its training adds.
"""

from collections.abc import Sequence

from tasks.backbones import load
from tasks.base import Example, Setup
from tasks.data.clips import Clip
from tasks.speaker.mhubert import SpeakerClassifier, SpeakerIdentification


class Untrained(SpeakerIdentification):
    """Mean of the last hidden layers, averaged over a clip's frames, of length 1; pairs score by cosine."""

    def network(self, setup: Setup) -> SpeakerClassifier:
        """The backbone, without a row for any speaker."""
        return SpeakerClassifier(load(self.model), (), setup.seed)

    def examples(self, network: SpeakerClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """None."""
        return ()
