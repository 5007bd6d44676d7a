"""Language identification: an encoder, a masked mean over time, one linear layer with a row a language of the mixture.

A language alone cannot be identified, so there are no bases, selves and gains here: the grid lists mixtures of two
languages or more (`mode = "list"`), and each is scored on its own languages. A pair says how far two languages are
confused; a larger mixture, what each further language costs the others.

A kept network is an `AutoModelForAudioClassification` of transformers; `tasks.asr.transcribe` names languages by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from grids.errors import UserError, require
from grids.grid import Model, Train
from tasks.augment import middle
from tasks.backbones import fingerprint, load
from tasks.base import Batch, Example, Metric, Output, Score, Scored, Setup, Tests
from tasks.data.clips import SAMPLE_RATE_HZ, Clip, Needs
from tasks.examples import shuffled
from tasks.pooled import HEAD, Classes, PooledClassifier

LEAST = 1e-12  # a probability that is taken for 0
SHORTEST = 0.1  # seconds


@dataclass(frozen=True)
class LanguageOptions:
    """Options of the task.

    Attributes:
        lengths: seconds; the middle of each test clip that is as long is scored too, as the condition "<length> s".
    """

    lengths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        fit = all(seconds >= SHORTEST for seconds in self.lengths)
        require(fit, f"lengths in [options] is {list(self.lengths)}; allowed: seconds, each >= {SHORTEST}")


class Language:
    """As many training clips of each language; a language's score is the share of its test clips that are named it."""

    Options: ClassVar = LanguageOptions
    Described: ClassVar = Classes
    HEAD: ClassVar = HEAD
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=1, batch_size=8)
    recordable: ClassVar = True
    padded_head: ClassVar = "head"
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
        """`embedding` (H,), `probability` (C,) and `languages` (C,), the names of the classes, a clip.

        For each of `lengths` the `probability` of its middle, too.
        """
        found = [{**output, "languages": np.array(network.names)} for output in network.outputs(batch)]
        for seconds in self.options.lengths:
            cut = network.outputs(middle(batch, _samples(seconds)))
            for own, other in zip(found, cut, strict=True):
                own[_name(seconds)] = other["probability"]
        return found

    def score(self, network: PooledClassifier, tests: Mapping[str, Tests]) -> Scored:
        """Recall and mean cross-entropy (in nats) of a language's own clips; no other language's clips enter.

        Raises:
            UserError: a language is none of those that the network tells apart.
        """
        scores = list[Score]()
        names = ("language", "clip", "speaker", "guess", "probability")
        predictions: dict[str, list[object]] = {name: [] for name in names}
        for language, test in tests.items():
            classes = [str(name) for name in test.outputs[0]["languages"]]
            if language not in classes:
                raise UserError(f"{language!r} cannot be identified by a model of {', '.join(classes)}")
            probability_NC, own = test.stack("probability"), classes.index(language)
            scores += self._scores(language, probability_NC, own)
            for seconds in self.options.lengths:
                if long := [n for n, clip in enumerate(test.clips) if clip.length >= _samples(seconds)]:
                    scores += self._scores(language, test.stack(_name(seconds))[long], own, f"{seconds:g} s")
            predictions["language"] += [language] * len(test.clips)
            predictions["clip"] += [clip.name for clip in test.clips]
            predictions["speaker"] += [clip.speaker for clip in test.clips]
            predictions["guess"] += [classes[n] for n in probability_NC.argmax(1)]
            predictions["probability"] += probability_NC[:, own].tolist()
        return Scored(tuple(scores), predictions)

    def save(self, network: PooledClassifier, folder: Path) -> None:
        """Writes the network into a folder, to name languages with."""
        network.write(self, folder)

    def remade(self, described: Classes) -> PooledClassifier:
        """A network of those languages, whose head is still to come."""
        return PooledClassifier(load(self.model), described.names, 0)

    def _scores(self, language: str, probability_NC: np.ndarray, own: int, condition: str = "") -> list[Score]:
        """Both metrics of N clips whose language is the class `own`."""
        right, log_loss = probability_NC.argmax(1) == own, -np.log(np.maximum(probability_NC[:, own], LEAST))
        values = zip(self.metrics, (right.mean(), log_loss.mean()), strict=True)
        return [metric.score(language, float(value), len(right), condition) for metric, value in values]


def _samples(seconds: float) -> int:
    """Samples of a length."""
    return round(seconds * SAMPLE_RATE_HZ)


def _name(seconds: float) -> str:
    """The name of an output of clips of that length."""
    return f"probability {seconds:g} s"
