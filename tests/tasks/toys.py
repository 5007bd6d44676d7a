"""Toys of the kinds of task that the protocol must carry beside classification and speaker embeddings.

Each is small but whole: it trains and scores through the same `Learner` as the real tasks, and passes their contract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from grids.grid import Model, Train
from tasks.base import Batch, Example, Frozen, Metric, Output, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.encoder import masked_mean
from tasks.examples import head_rows, keyed, linear_head, shuffled

WINDOW, HOP, WIDTH = 400, 160, 16


@dataclass(frozen=True)
class NoOptions:
    """None."""


class Spectrum(nn.Module):
    """Log power in a few bands: a convolution that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        frequency = torch.linspace(100, 4500, WIDTH)[:, None]
        phase = 2 * torch.pi * frequency * torch.arange(WINDOW) / 16_000
        filters = torch.cat([phase.cos(), phase.sin()])[:, None] * torch.hann_window(WINDOW) / WINDOW
        self.register_buffer("filters", filters)

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, T) -> (K, F, WIDTH) and the mask (K, F)."""
        bands_KCF = functional.conv1d(values_KT[:, None], self.filters, stride=HOP)
        power_KCF = bands_KCF[:, :WIDTH].square() + bands_KCF[:, WIDTH:].square()
        frames_K = (lengths_K - WINDOW) // HOP + 1
        mask_KF = torch.arange(power_KCF.shape[2]) < frames_K[:, None]
        return (power_KCF + 1e-4).log().transpose(1, 2), mask_KF


class Base:
    """What the toys share; a real task writes these out."""

    Options: ClassVar = NoOptions
    train: ClassVar = Train(learning_rate=1e-2, epochs=40, batch_size=4)
    needs: ClassVar = Needs()

    def __init__(self, options: Any, model: Model) -> None:
        self.options = options

    def weights_sha(self) -> str:
        return ""

    def check(self, clips: Sequence[Clip]) -> None:
        assert clips

    def frozen(self, network: Any) -> Frozen | None:
        return None

    def examples(self, network: Any, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        return shuffled(clips, seed, epoch)

    def labels(self, network: Any, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        return {}


class Speller(nn.Module):
    """Bands -> characters, with one row a symbol of the mixture's own text. Row 0 is CTC's blank."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.symbols = ["", *sorted({symbol for clip in setup.clips for symbol in clip.sentence})]
        self.spectrum = Spectrum()
        self.hidden = nn.Conv1d(WIDTH, 32, 5, padding=2)
        self.head = linear_head(self.symbols, 32, setup.seed)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        bands_KFC, mask_KF = self.spectrum(batch.values, batch.lengths)
        hidden_KCF = self.hidden((bands_KFC * mask_KF[:, :, None]).transpose(1, 2)).relu()
        return self.head(hidden_KCF.transpose(1, 2)).log_softmax(2), mask_KF.sum(1)


class CTC(Base):
    """Characters by CTC, the vocabulary built from the mixture; corpus-level error rate of all predictions."""

    train: ClassVar = Train(learning_rate=1e-2, epochs=120, batch_size=8)
    needs: ClassVar = Needs(sentence=True)
    metrics: ClassVar = (Metric("cer", primary=True, higher_is_better=False),)

    def network(self, setup: Setup) -> Speller:
        torch.manual_seed(setup.seed)
        return Speller(setup)

    def labels(self, network: Speller, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        texts = [[network.symbols.index(symbol) for symbol in e.clips[0].sentence] for e in examples]
        padded = nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        return {"text": padded, "length": torch.tensor([len(text) for text in texts])}

    def loss(self, network: Speller, batch: Batch) -> torch.Tensor:
        log_KFC, frames_K = network(batch)
        text, length = batch.labels["text"], batch.labels["length"]
        return functional.ctc_loss(log_KFC.transpose(0, 1), text, frames_K, length, reduction="none")

    def outputs(self, network: Speller, batch: Batch) -> Sequence[Output]:
        log_KFC, frames_K = network(batch)
        best_KF = log_KFC.argmax(2)
        found = []
        for row, count in zip(best_KF, frames_K, strict=True):
            kept = torch.unique_consecutive(row[:count])
            found.append({"text": np.array("".join(network.symbols[number] for number in kept))})
        return found

    def score(self, network: Speller, tests: Mapping[str, Tests]) -> Scored:
        scores = []
        for language, test in tests.items():
            pairs = [(clip.sentence, str(o["text"])) for clip, o in zip(test.clips, test.outputs, strict=True)]
            errors = sum(edit_distance(*pair) for pair in pairs)
            scores.append(self.metrics[0].score(language, errors / sum(len(t) for t, _ in pairs), len(pairs)))
        return Scored(tuple(scores))


def edit_distance(one: str, other: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for number, symbol in enumerate(one, start=1):
        diagonal, row[0] = row[0], number
        for place, target in enumerate(other, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (symbol != target))
    return row[-1]


class Dictation(nn.Module):
    """Mean of the bands -> a recurrent decoder that spells the sentence."""

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__()
        self.symbols = list(symbols)  # 0 begins and ends
        self.spectrum = Spectrum()
        self.start = nn.Linear(WIDTH, 32)
        self.embedding = nn.Embedding(len(symbols), 16)
        self.cell = nn.GRUCell(16, 32)
        self.head = nn.Linear(32, len(symbols))

    def begin(self, batch: Batch) -> torch.Tensor:
        return self.start(masked_mean(*self.spectrum(batch.values, batch.lengths))).tanh()


class SequenceToSequence(Base):
    """Text by a decoder with teacher forcing; share of sentences that are right."""

    train: ClassVar = Train(learning_rate=1e-2, epochs=150, batch_size=8)
    needs: ClassVar = Needs(sentence=True)
    metrics: ClassVar = (Metric("exact", primary=True),)

    def network(self, setup: Setup) -> Dictation:
        torch.manual_seed(setup.seed)
        return Dictation(["", *"abdo"])

    def labels(self, network: Dictation, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        texts = [[network.symbols.index(s) for s in example.clips[0].sentence] + [0] for example in examples]
        padded = nn.utils.rnn.pad_sequence([torch.tensor(t) for t in texts], batch_first=True, padding_value=-100)
        return {"text": padded}

    def loss(self, network: Dictation, batch: Batch) -> torch.Tensor:
        state, text_KL = network.begin(batch), batch.labels["text"]
        last, total = torch.zeros(len(text_KL), dtype=torch.long), torch.zeros(len(text_KL))
        for target in text_KL.T:
            state = network.cell(network.embedding(last), state)
            total = total + functional.cross_entropy(network.head(state), target, reduction="none", ignore_index=-100)
            last = target.clamp(min=0)
        return total

    def outputs(self, network: Dictation, batch: Batch) -> Sequence[Output]:
        state = network.begin(batch)
        last, texts = torch.zeros(len(state), dtype=torch.long), [""] * len(state)
        for _ in range(6):
            state = network.cell(network.embedding(last), state)
            last = network.head(state).argmax(1)
            texts = [text + network.symbols[n] if len(text) == place else text
                     for place, (text, n) in [(len(t), (t, n)) for t, n in zip(texts, last, strict=True)]]  # fmt: skip
        return [{"text": np.array(text)} for text in texts]

    def score(self, network: Dictation, tests: Mapping[str, Tests]) -> Scored:
        return Scored(tuple(
            self.metrics[0].score(language, float(np.mean([
                clip.sentence == str(output["text"]) for clip, output in zip(test.clips, test.outputs, strict=True)
            ])), len(test.clips))
            for language, test in tests.items()
        ))  # fmt: skip


class Pairs(Base):
    """Two utterances, the same speaker or not: contrastive loss on drawn pairs; accuracy of neighbours."""

    metrics: ClassVar = (Metric("nearest", primary=True),)

    def network(self, setup: Setup) -> nn.Module:
        torch.manual_seed(setup.seed)
        return nn.Sequential(nn.Linear(WIDTH, 8))

    def examples(self, network: nn.Module, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        left = sorted(clips, key=lambda clip: keyed("left", seed, epoch, clip.name))
        right = sorted(clips, key=lambda clip: (clip.speaker, keyed("right", seed, epoch, clip.name)))
        by_speaker: dict[str, list[Clip]] = {}
        for clip in right:
            by_speaker.setdefault(clip.speaker, []).append(clip)
        pairs = []
        for number, clip in enumerate(left):
            others = [c for c in right if c.speaker != clip.speaker] if number % 2 else by_speaker[clip.speaker]
            pairs.append(Example((clip, others[number % len(others)]), label=number % 2 == 0))
        return pairs

    def labels(self, network: nn.Module, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        return {"same": torch.tensor([bool(example.label) for example in examples])}

    def embed(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return network(masked_mean(*Spectrum()(batch.values, batch.lengths)))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        one_BD, other_BD = self.embed(network, batch).unflatten(0, (-1, 2)).unbind(1)
        distance_B = (one_BD - other_BD).square().sum(1).clamp(min=1e-8).sqrt()
        return torch.where(batch.labels["same"], distance_B, (1 - distance_B).clamp(min=0)).square()

    def outputs(self, network: nn.Module, batch: Batch) -> Sequence[Output]:
        return [{"embedding": row} for row in self.embed(network, batch).numpy()]

    def score(self, network: nn.Module, tests: Mapping[str, Tests]) -> Scored:
        return Scored(tuple(
            self.metrics[0].score(language, nearest_is_same(test), len(test.clips)) for language, test in tests.items()
        ))  # fmt: skip


def nearest_is_same(test: Tests) -> float:
    """Share of clips whose nearest other clip is of the same speaker."""
    embedding_ND = test.stack("embedding")
    distance_NN = np.linalg.norm(embedding_ND[:, None] - embedding_ND[None], axis=2)
    np.fill_diagonal(distance_NN, np.inf)
    speakers = np.array([clip.speaker for clip in test.clips])
    return float(np.mean(speakers[distance_NN.argmin(1)] == speakers))


class FrozenEncoder(Base):
    """A head on an encoder that never learns: its outputs are computed once a clip and cached."""

    metrics: ClassVar = (Metric("accuracy", primary=True),)
    computed: ClassVar[list[int]] = []

    def network(self, setup: Setup) -> nn.Module:
        head = nn.Linear(WIDTH, 2)
        with torch.no_grad():
            head.weight.copy_(head_rows(("female", "male"), WIDTH, setup.seed))
        return head

    def frozen(self, network: nn.Module) -> Frozen:
        def compute(batch: Batch) -> list[np.ndarray]:
            self.computed.append(len(batch.values))
            return list(masked_mean(*Spectrum()(batch.values, batch.lengths)).numpy())

        return Frozen("toy spectrum", compute)

    def labels(self, network: nn.Module, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        return {"male": torch.tensor([int(example.clips[0].gender == "male") for example in examples])}

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(network(batch.values[:, 0]), batch.labels["male"], reduction="none")

    def outputs(self, network: nn.Module, batch: Batch) -> Sequence[Output]:
        return [{"male": row} for row in network(batch.values[:, 0]).argmax(1).numpy()]

    def score(self, network: nn.Module, tests: Mapping[str, Tests]) -> Scored:
        return Scored(tuple(
            self.metrics[0].score(code, np.mean(test.stack("male") == [c.gender == "male" for c in test.clips]),
                                  len(test.clips))
            for code, test in tests.items()
        ))  # fmt: skip


class Retrieval(Base):
    """No training: nearest sentence in every other language, which needs the outputs of all languages at once."""

    metrics: ClassVar = (Metric("recall_at_1", primary=True),)

    def network(self, setup: Setup) -> nn.Module:
        return Spectrum()

    def examples(self, network: nn.Module, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        return ()

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        raise AssertionError("there is nothing to train")

    def outputs(self, network: nn.Module, batch: Batch) -> Sequence[Output]:
        return [{"embedding": row} for row in masked_mean(*network(batch.values, batch.lengths)).numpy()]

    def score(self, network: nn.Module, tests: Mapping[str, Tests]) -> Scored:
        scores = []
        for language, test in tests.items():
            for other, gallery in tests.items():
                if other != language:
                    distance = np.linalg.norm(test.stack("embedding")[:, None] - gallery.stack("embedding"), axis=2)
                    found = [gallery.clips[n].sentence for n in distance.argmin(1)]
                    right = np.mean([a == clip.sentence for a, clip in zip(found, test.clips, strict=True)])
                    scores.append(self.metrics[0].score(language, right, len(found), condition=other))
        return Scored(tuple(scores))


TOYS = {
    "toy CTC": CTC,
    "toy sequence to sequence": SequenceToSequence,
    "toy pairs": Pairs,
    "toy frozen encoder": FrozenEncoder,
    "toy retrieval": Retrieval,
}
