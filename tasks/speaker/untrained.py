"""The zero-training baseline: the untouched backbone, scored as the identification system is (method: section 6).

No mixture can change its scores, so a grid asks for the empty mixture and one seed. What a system has beyond them is
what its training adds.
"""

from collections.abc import Sequence

from tasks.base import Example
from tasks.data.clips import Clip
from tasks.speaker.mhubert import SpeakerClassifier, SpeakerIdentification


class Untrained(SpeakerIdentification):
    """Mean of the last hidden layers, averaged over a clip's frames, of length 1; pairs score by cosine."""

    def examples(self, network: SpeakerClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """None."""
        return ()
