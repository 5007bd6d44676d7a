"""Speech translation by a fine-tuned Whisper: from speech in the mixture's languages to text in one fixed language.

The grid's languages are source languages: P(i) learns to translate i, P(i+j) has j as a further source, and
`evaluate` names sources that were never trained on. By default the decoder alone learns: the encoder's outputs are
then computed once a clip and kept in half precision. `tasks.translation.texts` knows what clips say in the target
language.

`also` scores other directions beside it, untrained, as conditions: "en" shows what a model forgets that could translate
into English, "source" is transcription. `rehearse` and [options.regularise] are against forgetting.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional
from transformers import WhisperForConditionalGeneration as WhisperModel

from grids.errors import UserError, require
from grids.files import expanded
from grids.grid import Model, Train
from tasks.backbones import fingerprint
from tasks.base import Batch, Example, Frozen, Metric, Output, Score, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.examples import keyed, shuffled
from tasks.regularise import Regularise, attach
from tasks.translation.scoring import (
    SPACELESS,
    base,
    bleu_chrf,
    bleu_counts,
    signature,
    word_error_rate,
    word_errors,
)
from tasks.translation.texts import text_in
from tasks.translation.whisper import IGNORED, SOURCE, Whisper

HALF_BYTES = 2


@dataclass(frozen=True)
class TranslationOptions:
    """Options of the task.

    Attributes:
        to: the language of the text, of which the tokenizer has a token.
        also: further languages to write, scored but not trained; "source" is the language spoken.
        train_part: "decoder" (the encoder is frozen, its outputs are kept) or "all".
        beams: of beam search; 1 is greedy.
        max_tokens: where a generated text ends at the latest.
        stand_in: whose token stands for a spoken language that the tokenizer does not know. Only a prompt that names
            the spoken language needs it: into English, and "source".
        texts: absolute path of the table of texts; "": the synthetic corpus.
        rehearse: share of the clips that each epoch also trains into the first language of `also`.
        regularise: what holds the weights where they start.
        signatures: of sacrebleu's BLEU, one a language of `to` and `also`; no setting, but part of what a result is.
    """

    to: str = "zh"
    also: tuple[str, ...] = ()
    train_part: Literal["decoder", "all"] = "decoder"
    beams: int = 1
    max_tokens: int = 128
    stand_in: str = "en"
    texts: str = ""
    rehearse: float = 0.0
    regularise: Regularise = field(default_factory=Regularise)
    signatures: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        require(self.to not in (*self.also, SOURCE), f"to in [options] is {self.to!r}; allowed: a language not in also")
        require(self.beams >= 1, f"beams in [options] is {self.beams}; allowed: >= 1")
        require(self.max_tokens >= 1, f"max_tokens in [options] is {self.max_tokens}; allowed: >= 1")
        require(0 <= self.rehearse <= 1, f"rehearse in [options] is {self.rehearse}; allowed: 0 to 1")
        require(not self.rehearse or bool(self.also), "rehearse in [options] needs a language in also")
        whole = not self.texts or expanded(self.texts).is_absolute()
        require(whole, f"texts in [options] is {self.texts!r}; allowed: an absolute path")
        written = [language for language in self.targets if language != SOURCE]
        object.__setattr__(self, "signatures", tuple(f"{language} {signature(language)}" for language in written))

    @property
    def targets(self) -> tuple[str, ...]:
        """Every language to write."""
        return (self.to, *self.also)


class Translation:
    """BLEU of whole test sets, a fraction (0.3 where papers write 30), is the matrix."""

    Options: ClassVar = TranslationOptions
    train: ClassVar = Train(
        learning_rate=1e-5, weight_decay=0.0, epochs=3, batch_size=16, warmup=0.1, schedule="linear"
    )
    metrics: ClassVar = (
        Metric("bleu", primary=True),
        Metric("chrf"),
        Metric("wer", higher_is_better=False),
    )

    def __init__(self, options: TranslationOptions, model: Model) -> None:
        self.options, self.model = options, model
        self.whisper = Whisper(model, options.stand_in)

    @property
    def needs(self) -> Needs:
        """Clips with sentences, by which their texts are found."""
        size = 0
        if self.options.train_part == "decoder":
            size = self.whisper.config.max_source_positions * self.whisper.config.d_model * HALF_BYTES
        return Needs(sentence=True, frozen_bytes=size)

    def weights_sha(self) -> str:
        """The model's and its tokenizer's, and that of the files which the options name.

        Raises:
            UserError: the tokenizer lacks a language of the options, or a file cannot be read.
        """
        for key, languages in (
            ("to", (self.options.to,)),
            ("also", self.options.also),
            ("stand_in", (self.options.stand_in,)),
        ):
            for language in languages:
                self.whisper.require(language, key)
        digest = hashlib.sha256(fingerprint(self.model.backbone, (".json",)).encode())
        for path in filter(None, (self.options.texts, self.options.regularise.fisher)):
            try:
                digest.update(hashlib.sha256(expanded(path).read_bytes()).digest())
            except OSError as error:
                raise UserError(f"cannot read {path!r}, which [options] names: {error.strerror}") from None
        return digest.hexdigest()

    def check(self, clips: Sequence[Clip]) -> None:
        """Looks that every test clip has a text in each language to write.

        Raises:
            UserError: one has none; names it.
        """
        for target in self.options.targets:
            for clip in clips:
                self._text(clip, target)

    def network(self, setup: Setup) -> WhisperModel:
        """The model as it is; nothing of it is drawn from the seed."""
        network = self.whisper.network()
        if self.options.train_part == "decoder":
            network.model.encoder.requires_grad_(False)
        attach(network, self.options.regularise)
        return network

    def frozen(self, network: WhisperModel) -> Frozen | None:
        """The encoder, in half precision, unless it learns."""
        if self.options.train_part == "all":
            return None

        def compute(batch: Batch) -> Sequence[np.ndarray]:
            network.eval()
            return list(self.whisper.encode(network, batch.values).half().cpu().numpy())

        device = next(network.parameters()).device.type
        place = device if device == "cpu" else f"{device} without TF32"  # what lies under the bare name may have it
        return Frozen(f"whisper encoder 1|{fingerprint(self.model.backbone)}|{place}", compute)

    def examples(self, network: WhisperModel, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip once, into `to`; and a share of them, drawn for each epoch, into the language to be rehearsed."""
        found = []
        for example in shuffled(clips, seed, epoch):
            (clip,) = example.clips
            found.append(Example((clip,), self.options.to))
            if keyed("rehearse", seed, epoch, clip.language, clip.name) < self.options.rehearse * 2**64:
                found.append(Example((clip,), self.options.also[0]))
        return found

    def labels(self, network: WhisperModel, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`tokens` (B, L): prompt and text; `targets` (B, L): the token after each, of text and end alone."""
        rows = [self._row(example.clips[0], example.label) for example in examples]
        longest = max(len(tokens) for tokens, _ in rows)
        tokens_BL = torch.full((len(rows), longest), self.whisper.end)
        targets_BL = torch.full((len(rows), longest), IGNORED)
        for number, (tokens, targets) in enumerate(rows):
            tokens_BL[number, : len(tokens)] = torch.tensor(tokens)
            targets_BL[number, : len(tokens)] = torch.tensor(targets)
        return {"tokens": tokens_BL, "targets": targets_BL}

    def loss(self, network: WhisperModel, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy, the mean over an example's own tokens."""
        targets_BL = batch.labels["targets"]
        logits_BLV = self.whisper.logits(network, self._hidden(network, batch), batch.labels["tokens"])
        losses_BL = functional.cross_entropy(
            logits_BLV.float().transpose(1, 2), targets_BL, reduction="none", ignore_index=IGNORED
        )
        return losses_BL.sum(1) / (targets_BL != IGNORED).sum(1)

    def outputs(self, network: WhisperModel, batch: Batch) -> Sequence[Output]:
        """What the network writes, a text a language to write."""
        hidden_KPH = self._hidden(network, batch)
        texts = []
        for target in self.options.targets:
            prompts = [self.whisper.prompt(language, target) for language in batch.languages]
            texts.append(
                self.whisper.generate(network, hidden_KPH, prompts, self.options.beams, self.options.max_tokens)
            )
        keys = [f"text {target}" for target in self.options.targets]
        return [dict(zip(keys, map(np.array, row), strict=True)) for row in zip(*texts, strict=True)]

    def score(self, network: WhisperModel, tests: Mapping[str, Tests]) -> Scored:
        """BLEU and chrF of every language to write, and the word error rate of transcription in languages with spaces.

        A condition "to en" is another language than `to`. The predictions are a row a clip and language to write, with
        its part of the sums that BLEU and word error rate are made of.
        """
        scores: list[Score] = []
        predictions: dict[str, list[object]] = {}
        for language, test in tests.items():
            for target in self.options.targets:
                truth = [self._text(clip, target) for clip in test.clips]
                guesses = [str(output[f"text {target}"]) for output in test.outputs]
                scores += self._scores(language, target, guesses, truth)
                for clip, reference, guess in zip(test.clips, truth, guesses, strict=True):
                    for name, value in self._row_of(clip, target, reference, guess).items():
                        predictions.setdefault(name, []).append(value)
        return Scored(tuple(scores), predictions)

    def _row_of(self, clip: Clip, target: str, reference: str, guess: str) -> dict[str, object]:
        """A clip's line of the predictions."""
        errors, words = word_errors(guess, reference)
        written = clip.language if target == SOURCE else target
        return {
            "language": clip.language, "to": target, "condition": self._condition(target), "clip": clip.name,
            "speaker": clip.speaker, "source": clip.sentence, "reference": reference, "guess": guess,
            "bleu_counts": bleu_counts(guess, reference, written), "word_errors": errors, "words": words,
        }  # fmt: skip

    def _condition(self, target: str) -> str:
        """Under which scores of a language to write stand."""
        return "" if target == self.options.to else f"to {target}"

    def _scores(self, language: str, target: str, guesses: Sequence[str], truth: Sequence[str]) -> list[Score]:
        """The scores of one language into another."""
        bleu, chrf, wer = self.metrics
        condition = self._condition(target)
        if target == SOURCE:
            spaces = base(language) not in SPACELESS
            return [wer.score(language, word_error_rate(guesses, truth), len(truth), condition)] if spaces else []
        values = bleu_chrf(guesses, truth, target)
        return [m.score(language, value, len(truth), condition) for m, value in zip((bleu, chrf), values, strict=True)]

    def _text(self, clip: Clip, target: str) -> str:
        """What the clip says in a language to write."""
        return text_in(clip, clip.language if target == SOURCE else target, self.options.texts)

    def _row(self, clip: Clip, target: str) -> tuple[list[int], list[int]]:
        """Tokens and targets of one clip, of the same length.

        Raises:
            UserError: the text is longer than what the model can write.
        """
        prompt, text = self.whisper.prompt(clip.language, target), self.whisper.tokens(self._text(clip, target))
        most = self.whisper.config.max_target_positions
        if len(prompt) + len(text) > most:
            raise UserError(f"the text of the clip {clip.language}/{clip.name} in {target!r} has {len(text)} tokens; "
                            f"the model writes at most {most - len(prompt)}")  # fmt: skip
        return [*prompt, *text], [IGNORED] * (len(prompt) - 1) + [*text, self.whisper.end]

    def _hidden(self, network: WhisperModel, batch: Batch) -> torch.Tensor:
        """(K, P, H): the frozen encoder's outputs as they come, or what the encoder makes of waves."""
        return batch.values if batch.values.ndim == 3 else self.whisper.encode(network, batch.values)
