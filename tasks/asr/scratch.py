"""What recognisers that start from nothing share: an encoder of spectra, a character head, CTC, greedy decoding."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError
from grids.grid import NO_BACKBONE, Model, Train
from tasks.asr.decoding import greedy
from tasks.asr.frames import LogSpectrum, Network, SpectralEncoder
from tasks.asr.scoring import METRICS, Heard, Unit, scores_of
from tasks.asr.text import text_of
from tasks.asr.vocabulary import Unknown, Vocabulary, check_alphabet
from tasks.base import Batch, Example, Output, Score, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.examples import keyed, linear_head, shuffled

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScratchOptions:
    """Options that all these systems have.

    Attributes:
        unit: what the primary score counts: words where the script has spaces, else characters ("script"), "word", or
            "character".
        names: a list of names, one a line, for `wer_names`; "": a rule (`tasks.asr.scoring`).
        unknown: what becomes of characters that the training text lacks (`tasks.asr.vocabulary`).
        max_unknown_share: a language whose test text has a larger share of them is refused.
        switched: clips in which the language changes are scored too, under the condition `then <language>`.
    """

    unit: Unit = "script"
    names: str = ""
    unknown: Unknown = "error"
    max_unknown_share: float = 0.1
    switched: bool = False

    def __post_init__(self) -> None:
        share = self.max_unknown_share
        if not 0 <= share <= 1:
            raise UserError(f"max_unknown_share in [options] is {share}; allowed: 0 to 1")


class Recogniser(nn.Module):
    """An encoder with a row a character of the mixture's training text.

    Attributes:
        vocabulary: the characters.
        words: of the training text.
        head: the blank's row, then one a character.
        characters: the vocabulary as code points, so that a checkpoint has it.
    """

    def __init__(self, encoder: nn.Module, width: int, vocabulary: Vocabulary, setup: Setup) -> None:
        super().__init__()
        self.encoder, self.vocabulary = encoder, vocabulary
        self.words = frozenset(word for clip in setup.clips for word in text_of(clip).split())
        self.head = linear_head(vocabulary.symbols, width, setup.seed)
        self.register_buffer("characters", torch.tensor([ord(c) for c in vocabulary.characters], dtype=torch.int32))

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns log probabilities (K, F, C) in float32 and the number of frames (K,)."""
        hidden_KFH, mask_KF = self.encoder(batch.values, batch.lengths)
        return self.log_probabilities(hidden_KFH), mask_KF.sum(1)

    def log_probabilities(self, hidden_KFH: torch.Tensor) -> torch.Tensor:
        """(K, F, H) outputs of the encoder -> (K, F, C), float32."""
        return self.head(hidden_KFH).float().log_softmax(2)

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        frames: torch.Tensor = self.encoder.frames(lengths_K)  # type: ignore[operator]
        return frames

    def texts(self, batch: Batch) -> list[str]:
        """What each clip says, by the best path of CTC."""
        log_KFC, frames_K = self(batch)
        return [self.vocabulary.decode(greedy(log_FC[:n])) for log_FC, n in zip(log_KFC, frames_K, strict=True)]


class ScratchSystem:
    """Members of `tasks.base.Task` for a `Recogniser`; a system says what its encoder is."""

    train: ClassVar = Train(
        learning_rate=3e-3, weight_decay=1e-3, epochs=30, batch_size=8, warmup=0.1, schedule="linear"
    )
    metrics: ClassVar = METRICS

    def __init__(self, options: Any, model: Model) -> None:
        self.options, self.model = options, model

    @property
    def needs(self) -> Needs:
        """Sentences."""
        return Needs(sentence=True, switched=self.options.switched)

    def weights_sha(self) -> str:
        """None: training starts from nothing.

        Raises:
            UserError: the grid names a backbone.
        """
        if self.model.backbone != NO_BACKBONE:
            raise UserError(f"backbone in [model] is {self.model.backbone!r}; allowed: {NO_BACKBONE!r}")
        return ""

    def check(self, clips: Sequence[Clip]) -> None:
        """The test text must have characters that count."""
        if not any(text_of(clip) for clip in clips):
            raise UserError(f"no test clip of {clips[0].language!r} has a text of letters or numbers")

    def encoder(self) -> Network:
        """A new network, drawn from the global generator."""
        raise NotImplementedError

    def network(self, setup: Setup) -> Recogniser:
        """An encoder drawn from the seed, equal in every mixture, and a row a character of the mixture's text."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed("recogniser", setup.seed) % 2**63)
            network = self.encoder()
        encoder = SpectralEncoder(network, LogSpectrum(network.bands))
        return Recogniser(encoder, encoder.width, self.vocabulary(setup), setup)

    def vocabulary(self, setup: Setup) -> Vocabulary:
        """The characters of the mixture's text."""
        return Vocabulary.of(map(text_of, setup.clips), self.options.unknown)

    def frozen(self, network: Any) -> None:
        """Nothing is frozen for good."""

    def examples(self, network: Any, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip that has a text and is long enough for it; the others are listed in the log."""
        fits = [clip for clip in clips if self._fits(network, clip)]
        if epoch == 0 and len(fits) < len(clips):
            names = ", ".join(f"{clip.language}/{clip.name}" for clip in clips if clip not in fits)
            logger.warning("%d clips have no text, or more of it than frames: %s", len(clips) - len(fits), names)
        return shuffled(fits, seed, epoch)

    def _fits(self, network: Any, clip: Clip) -> bool:
        """Whether CTC can write the clip's text: a frame a character, and one more between two equal ones."""
        rows = network.vocabulary.encode(text_of(clip))
        needed = len(rows) + sum(one == other for one, other in pairwise(rows))
        return 0 < needed <= int(network.frames(torch.tensor(clip.length)))

    def labels(self, network: Any, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`text`: (B, U) rows of the head, padded with the blank; `length`: (B,)."""
        texts = [torch.tensor(network.vocabulary.encode(text_of(example.clips[0]))) for example in examples]
        lengths = torch.tensor([len(text) for text in texts])
        return {"text": nn.utils.rnn.pad_sequence(texts, batch_first=True), "length": lengths}

    def loss(self, network: Any, batch: Batch) -> torch.Tensor:
        """(B,) negative log-likelihoods of the texts under CTC, in nats."""
        log_BFC, frames_B = network(batch)
        return ctc_loss(log_BFC, frames_B, batch)

    def outputs(self, network: Any, batch: Batch) -> Sequence[Output]:
        """`text` a clip."""
        return [{"text": np.array(text)} for text in network.texts(batch)]

    def score(self, network: Any, tests: Mapping[str, Tests]) -> Scored:
        """`METRICS` of each language, and of each condition that it has clips of.

        Raises:
            UserError: the network cannot write too much of a language's text.
        """
        scores: list[Score] = []
        predictions: dict[str, list[object]] = {
            name: [] for name in ("language", "clip", "speaker", "condition", "reference", "hypothesis")
        }
        for language, test in tests.items():
            pairs = zip(test.clips, test.outputs, strict=True)
            heard = [_heard(network.vocabulary, clip, str(output["text"])) for clip, output in pairs]
            if network.vocabulary.characters:
                texts = [one.reference for one in heard]
                check_alphabet(network.vocabulary, texts, language, self.options.max_unknown_share)
            for condition in dict.fromkeys(clip.condition for clip in test.clips):
                own = [one for one in heard if one.clip.condition == condition]
                scores += scores_of(language, own, self.options.unit, self.options.names, network.words, condition)
            for one in heard:
                row = (language, one.clip.name, one.clip.speaker, one.clip.condition, one.reference, one.hypothesis)
                for name, value in zip(predictions, row, strict=True):
                    predictions[name].append(value)
        return Scored(tuple(scores), predictions)


def ctc_loss(log_BFC: torch.Tensor, frames_B: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B,) negative log-likelihoods of a batch's texts in nats, of (B, F, C) log probabilities and (B,) frames."""
    text_BU, length_B = batch.labels["text"], batch.labels["length"]
    return functional.ctc_loss(log_BFC.transpose(0, 1), text_BU, frames_B, length_B, reduction="none")


def _heard(vocabulary: Vocabulary, clip: Clip, hypothesis: str) -> Heard:
    """A test clip with what was written of it."""
    reference = vocabulary.reference(text_of(clip))
    lacking = "".join(vocabulary.lacking([reference]).elements()) if vocabulary.characters else ""
    return Heard(clip, reference, hypothesis, lacking)
