"""Language identification: an encoder, a masked mean over time, one linear layer with a row a language of the mixture.

A language alone cannot be identified, so there are no bases, selves and gains here: the grid lists mixtures of two
languages or more (`mode = "list"`), and each is scored on its own languages. A pair says how far two languages are
confused; a larger mixture, what each further language costs the others.
"""

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
from tasks.data.clips import Clip, Needs
from tasks.examples import shuffled
from tasks.pooled import PooledClassifier

LEAST = 1e-12  # a probability that is taken for 0


@dataclass(frozen=True)
class LanguageOptions:
    """The task has no options of its own."""


class Language:
    """As many training clips of each language; a language's score is the share of its test clips that are named it."""

    Options: ClassVar = LanguageOptions
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=1, batch_size=8)
    metrics: ClassVar = (Metric("recall", primary=True), Metric("log_loss", higher_is_better=False))
    needs: ClassVar = Needs(languages=2)

    def __init__(self, options: LanguageOptions, model: Model) -> None:
        self.options, self.model = options, model

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def check(self, clips: Sequence[Clip]) -> None:
        """Any clip will do."""

    def network(self, setup: Setup) -> PooledClassifier:
        """The backbone with a new row a language."""
        return PooledClassifier(load(self.model), sorted({clip.language for clip in setup.clips}), setup.seed)

    def frozen(self, network: PooledClassifier) -> None:
        """Nothing is frozen for good."""

    def examples(self, network: PooledClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip once."""
        return shuffled(clips, seed, epoch)

    def labels(self, network: PooledClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`language`: (B,) rows of the head."""
        return {"language": torch.tensor([network.names.index(example.clips[0].language) for example in examples])}

    def loss(self, network: PooledClassifier, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy."""
        _, logits_BC = network(batch)
        return functional.cross_entropy(logits_BC.float(), batch.labels["language"], reduction="none")

    def outputs(self, network: PooledClassifier, batch: Batch) -> Sequence[Output]:
        """`embedding` (H,), `probability` (C,) and `languages` (C,), the names of the classes, a clip."""
        return [{**output, "languages": np.array(network.names)} for output in network.outputs(batch)]

    def score(self, network: PooledClassifier, tests: Mapping[str, Tests]) -> Scored:
        """Recall and mean cross-entropy (in nats) of a language's own clips; no other language's clips enter.

        Raises:
            UserError: a language is none of those that the network tells apart.
        """
        scores = []
        names = ("language", "clip", "speaker", "guess", "probability")
        predictions: dict[str, list[object]] = {name: [] for name in names}
        for language, test in tests.items():
            classes = [str(name) for name in test.outputs[0]["languages"]]
            if language not in classes:
                raise UserError(f"{language!r} cannot be identified by a model of {', '.join(classes)}")
            probability_NC, own = test.stack("probability"), classes.index(language)
            guess = probability_NC.argmax(1)
            values = float((guess == own).mean()), float(-np.log(np.maximum(probability_NC[:, own], LEAST)).mean())
            scores += [m.score(language, value, len(guess)) for m, value in zip(self.metrics, values, strict=True)]
            predictions["language"] += [language] * len(guess)
            predictions["clip"] += [clip.name for clip in test.clips]
            predictions["speaker"] += [clip.speaker for clip in test.clips]
            predictions["guess"] += [classes[n] for n in guess]
            predictions["probability"] += probability_NC[:, own].tolist()
        return Scored(tuple(scores), predictions)
