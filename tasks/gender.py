"""Gender recognition: an encoder, a masked mean over time, one linear layer, cross-entropy (method: section 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from grids.errors import UserError
from grids.grid import Model, Train
from tasks.backbones import fingerprint, load
from tasks.base import Batch, Example, Metric, Output, Scored, Setup, Tests
from tasks.data.clips import GENDERS, Clip, Needs
from tasks.examples import shuffled
from tasks.metrics import accuracy, macro_f1
from tasks.pooled import PooledClassifier


@dataclass(frozen=True)
class GenderOptions:
    """The task has no options of its own."""


class Gender:
    """Two classes, as many training clips and speakers of each; macro-F1 on the test clips with a known gender."""

    Options: ClassVar = GenderOptions
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=1, batch_size=1)
    recordable: ClassVar = True
    metrics: ClassVar = (Metric("macro_f1", primary=True), Metric("accuracy"))
    needs: ClassVar = Needs(classes="gender", test_gender=True)

    def __init__(self, options: GenderOptions, model: Model) -> None:
        self.options, self.model = options, model

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises a `UserError` unless both classes are there."""
        if {clip.gender for clip in clips} != set(GENDERS):
            raise UserError(f"the test set of {clips[0].language!r} ({len(clips)} clips) has one gender only")

    def network(self, setup: Setup) -> PooledClassifier:
        """The backbone with a new head."""
        return PooledClassifier(load(self.model), GENDERS, setup.seed)

    def frozen(self, network: PooledClassifier) -> None:
        """Nothing is frozen for good."""

    def examples(self, network: PooledClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip once."""
        return shuffled(clips, seed, epoch)

    def labels(self, network: PooledClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`gender`: (B,) indices into `GENDERS`."""
        return {"gender": torch.tensor([GENDERS.index(example.clips[0].gender) for example in examples])}

    def loss(self, network: PooledClassifier, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy."""
        _, logits_BC = network(batch)
        return functional.cross_entropy(logits_BC.float(), batch.labels["gender"], reduction="none")

    def outputs(self, network: PooledClassifier, batch: Batch) -> Sequence[Output]:
        """`embedding` (H,) and `probability` (2,) a clip."""
        return network.outputs(batch)

    def score(self, network: PooledClassifier, tests: Mapping[str, Tests]) -> Scored:
        """Macro-F1 and accuracy a language."""
        scores = []
        names = ("language", "clip", "speaker", "gender", "probability_male")
        predictions: dict[str, list[object]] = {name: [] for name in names}
        for language, test in tests.items():
            truth = np.array([GENDERS.index(clip.gender) for clip in test.clips])
            probability_NC = test.stack("probability")
            guess = probability_NC.argmax(1)
            values = (macro_f1(truth, guess, len(GENDERS)), accuracy(truth, guess))
            scores += [m.score(language, value, len(truth)) for m, value in zip(self.metrics, values, strict=True)]
            predictions["language"] += [language] * len(truth)
            predictions["clip"] += [clip.name for clip in test.clips]
            predictions["speaker"] += [clip.speaker for clip in test.clips]
            predictions["gender"] += [clip.gender for clip in test.clips]
            predictions["probability_male"] += probability_NC[:, GENDERS.index("male")].tolist()
        return Scored(tuple(scores), predictions)
