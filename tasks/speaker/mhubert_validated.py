"""Speaker verification by speaker identification, with validation (method: section 6).

The same network and scoring as `tasks.speaker.mhubert`; the epoch with the lowest EER on pairs of the dev sets is kept.
Epochs and warm-up are not published; the values here are ours.
"""

from typing import ClassVar

from grids.grid import Train
from tasks.speaker.mhubert import SpeakerIdentification


class ValidatedIdentification(SpeakerIdentification):
    """Trained to tell the training speakers apart for as long as unseen ones are told apart better."""

    train: ClassVar = Train(learning_rate=3e-5, weight_decay=0.05, epochs=10, warmup=0.1, batch_size=1, select_by="eer")
