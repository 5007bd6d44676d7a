"""What every CTC recogniser shares: options, heads, loss, decoding, scores. A system adds its encoder.

What is said of characters holds for phones too, with alphabet = "phones" (`tasks.asr.phones`).

An encoder is a module `(values (K, T), lengths (K,)) -> (hidden (K, F, H), mask (K, F))` with `width` (H) and
`frames(lengths)`, the number of frames that it makes of so many samples.

A network writes what its *views* hold. A view is a vocabulary and the rows of the head that stand for it:

| vocabulary | heads | views |
|---|---|---|
| "mixture" | "one" | one: all characters of the mixture's training text |
| "language" | "one" | one a language: its own characters among the shared rows, so that a donor adds none |
| either | "language" | one a language, with rows of its own |

A clip of a language that the mixture lacks is read by the view that is surest of it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError, require
from grids.files import sha256_of
from grids.grid import NO_BACKBONE, Model, Train
from grids.schema import PLACE
from tasks.asr import checkpoint
from tasks.asr.decoding import beam_search, greedy, lm_file
from tasks.asr.scoring import METRICS, Heard, Unit, errors, names_file, scores_of
from tasks.asr.text import has_spaces, rules_sha, text_of, texts_of
from tasks.asr.vocabulary import Alphabet, Unknown, View, Vocabulary, check_alphabet, join, lacking_text
from tasks.augment import Augmentation, augmented, draw_whole, in_noise, keyed_examples
from tasks.base import Batch, Example, Output, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.examples import linear_head

SCRATCH = Train(learning_rate=3e-3, weight_decay=1e-3, epochs=30, batch_size=8, warmup=0.1, schedule="linear")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CtcOptions:
    """Options of every CTC system.

    Attributes:
        alphabet: what is written and scored: the "characters" of the text, or the "phones" that espeak-ng reads it in,
            which languages of different scripts share (`tasks.asr.phones`; the extra `phones`).
        unit: what the matrix counts errors in: "script" (words, or characters where a script has no spaces), "word",
            "character". Phones are counted in phones.
        vocabulary, heads: see the module's docstring.
        unknown: what becomes of a character that the training text lacks; see `tasks.asr.vocabulary.Vocabulary`.
        max_unknown_share: a larger share of them in the test or dev text of a language of the mixture is refused.
        least_count: characters that occur less often in the training text are left out.
        max_dropped_share: largest share of training clips that may be left out, because their text is empty or longer
            than their frames can spell.
        beam: hypotheses of the beam search; 1: the best path.
        lm: the absolute path of an n-gram model of characters (or phones) for the beam search.
        lm_weight: its weight.
        names: the absolute path of a list of names for `wer_names`; without one, capitals tell.
        switched: clips in which the language changes are scored too, under the condition "then <language>".
        augmentation: reverberation and noise that training clips get. No speeds: they would change what fits.
        test_noise_db: signal-to-noise ratios at which the test clips are scored too, in white noise, as conditions; not
            those that have a condition already.
        by: groups of speakers that are scored alone too, under conditions such as "gender female" and "accent Scottish
            English"; clips of which the corpus does not know it are in none.
        rules: the hash of the text rules, or the version of what reads phones, so that results of other rules are
            never mixed.
        lm_sha, names_sha: the hashes of the n-gram model and the list, which stand for them wherever they lie.
    """

    alphabet: Alphabet = "characters"
    unit: Unit = "script"
    vocabulary: Literal["mixture", "language"] = "mixture"
    heads: Literal["one", "language"] = "one"
    unknown: Unknown = "error"
    max_unknown_share: float = 0.1
    least_count: int = 1
    max_dropped_share: float = 0.05
    beam: int = 1
    lm: str = field(default="", metadata=PLACE)
    lm_weight: float = 1.0
    names: str = field(default="", metadata=PLACE)
    switched: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    test_noise_db: tuple[float, ...] = ()
    by: tuple[Literal["gender", "accent"], ...] = ()
    rules: str = field(default="", init=False)
    lm_sha: str = field(default="", init=False)
    names_sha: str = field(default="", init=False)

    def __post_init__(self) -> None:
        for name in ("max_unknown_share", "max_dropped_share"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} in [options] is {value}; allowed: 0 to 1")
        for name in ("least_count", "beam"):
            require(getattr(self, name) >= 1, f"{name} in [options] is {getattr(self, name)}; allowed: >= 1")
        require(not self.augmentation.speeds, "speeds in [augmentation] is given; allowed: noise and reverberation")
        require(not self.lm or self.beam > 1, f"lm in [options] is {self.lm!r}: it needs beam, e.g. beam = 50")
        require(self.alphabet == "characters" or self.unit == "script",
                f"unit in [options] is {self.unit!r}; allowed with alphabet = 'phones': 'script'")  # fmt: skip
        object.__setattr__(self, "rules", rules_sha(self.alphabet))
        if self.lm:
            object.__setattr__(self, "lm_sha", sha256_of(lm_file(self.lm)))
        if self.names:
            object.__setattr__(self, "names_sha", sha256_of(names_file(self.names)))


def views_of(clips: Sequence[Clip], options: CtcOptions) -> tuple[tuple[str, ...], tuple[View, ...]]:
    """The names of a head's rows and the views, from the training clips."""
    texts: dict[str, list[str]] = {}
    for clip, text in zip(clips, texts_of(clips, options.alphabet), strict=True):
        texts.setdefault(clip.language, []).append(text)
    rules = (options.unknown, options.least_count, options.alphabet)
    whole = Vocabulary.of((text for own in texts.values() for text in own), *rules)
    if not texts or (options.vocabulary, options.heads) == ("mixture", "one"):
        return whole.symbols, (View("", whole, tuple(range(len(whole.symbols)))),)
    shared = options.vocabulary == "mixture"
    own = {code: whole if shared else Vocabulary.of(texts[code], *rules) for code in sorted(texts)}
    if options.heads == "one":
        place = {symbol: row for row, symbol in enumerate(whole.symbols)}
        return whole.symbols, tuple(View(c, v, tuple(place[s] for s in v.symbols)) for c, v in own.items())
    views, symbols = list[View](), list[str]()
    for code, vocabulary in own.items():
        views.append(View(code, vocabulary, tuple(range(len(symbols), len(symbols) + len(vocabulary.symbols)))))
        symbols += [f"{code}/{symbol}" for symbol in vocabulary.symbols]
    return tuple(symbols), tuple(views)


class Recogniser(nn.Module):
    """An encoder and a linear layer with a row a symbol.

    Attributes:
        symbols: the names of the rows.
        views: what it can write.
        words: those of the training text.
        dropped: (language, name) of the training clips that cannot be learnt from.
    """

    def __init__(self, encoder: Any, symbols: Sequence[str], views: Sequence[View], seed: int) -> None:
        super().__init__()
        self.encoder, self.symbols, self.views = encoder, tuple(symbols), tuple(views)
        self.head = linear_head(self.symbols, encoder.width, seed)
        self.words, self.dropped = frozenset[str](), frozenset[tuple[str, str]]()

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the logits (K, F, C) and the numbers of frames (K,)."""
        hidden_KFH, mask_KF = self.encoder(batch.values, batch.lengths)
        return self.head(hidden_KFH).float(), mask_KF.sum(1)

    def view_of(self, language: str) -> int:
        """The number of the view that reads a language; -1: none of them is its own."""
        found = [n for n, view in enumerate(self.views) if view.language in ("", language)]
        return found[0] if found else -1

    def spelling(self, clip: Clip) -> list[int]:
        """The clip's text as places in its view's vocabulary."""
        vocabulary = self.views[self.view_of(clip.language)].vocabulary
        return vocabulary.encode(texts_of([clip], vocabulary.alphabet)[0])


class CtcSystem:
    """Members of `tasks.base.Task` for a `Recogniser`. A system adds `encoder`, and `weights_sha` if it has weights."""

    Options: ClassVar[type[Any]] = CtcOptions
    Described: ClassVar = checkpoint.Symbols
    HEAD: ClassVar = checkpoint.HEAD
    train: ClassVar = Train(learning_rate=1e-5, weight_decay=0.0, epochs=15, batch_size=8, warmup=0.01)
    metrics: ClassVar = METRICS

    def __init__(self, options: Any, model: Model) -> None:
        self.options, self.model = options, model

    @property
    def needs(self) -> Needs:
        """Sentences."""
        return Needs(sentence=True, switched=self.options.switched)

    def encoder(self, seed: int) -> Any:
        """The encoder that training starts from.

        Raises:
            NotImplementedError: a system says what it is.
        """
        raise NotImplementedError

    def recogniser(self, symbols: Sequence[str], views: Sequence[View], seed: int) -> Recogniser:
        """The encoder with a new head."""
        return Recogniser(self.encoder(seed), symbols, views, seed)

    def weights_sha(self) -> str:
        """None.

        Raises:
            UserError: the grid names a backbone.
        """
        backbone = self.model.backbone
        require(backbone == NO_BACKBONE, f"backbone in [model] is {backbone!r}; allowed: {NO_BACKBONE!r}")
        return ""

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises a `UserError` if no test clip has a text."""
        if not any(texts_of(clips, self.options.alphabet)):
            raise UserError(f"the {len(clips)} clips of {clips[0].language!r} have no text that counts")

    def network(self, setup: Setup) -> Recogniser:
        """The encoder and a new head.

        Raises:
            UserError: the training text lacks too much of the alphabet of what is scored, or too many clips cannot be
                learnt from.
        """
        network = self.recogniser(*views_of(setup.clips, self.options), setup.seed)
        network.words = frozenset(word for clip in setup.clips for word in text_of(clip).split())
        network.dropped = self._dropped(network, setup.clips)
        if setup.clips:
            self._check_alphabets(network, setup)
        return network

    def frozen(self, network: Recogniser) -> None:
        """Nothing is frozen for good."""

    def examples(self, network: Recogniser, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Every clip that can be learnt from, once."""
        kept = [clip for clip in clips if (clip.language, clip.name) not in network.dropped]
        return keyed_examples(kept, seed, epoch)

    def labels(self, network: Recogniser, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`text` (B, S) rows of the view, padded; `length` (B,); `view` (B,) its number; and what noise was drawn."""
        clips = [example.clips[0] for example in examples]
        rows = [torch.tensor(network.spelling(clip)) for clip in clips]
        return {
            "text": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "length": torch.tensor([len(row) for row in rows]),
            "view": torch.tensor([network.view_of(clip.language) for clip in clips]),
            **draw_whole(examples, self.options.augmentation),
        }

    def loss(self, network: Recogniser, batch: Batch) -> torch.Tensor:
        """(B,) negative log likelihood a character."""
        logits_BFC, frames_B = network(augmented(batch, batch.labels))
        return ctc_loss(network.views, logits_BFC, frames_B, batch.labels)

    def outputs(self, network: Recogniser, batch: Batch) -> Sequence[Output]:
        """`text` and `log_probability` (of the best path, a frame), (V,) each, one a view, a clip; in noise too."""
        found = self._read(network, batch)
        for decibels in self.options.test_noise_db:
            noisy = self._read(network, in_noise(batch, decibels))
            found = [{**one, **{f"{name} {decibels:g} dB": array for name, array in other.items()}}
                     for one, other in zip(found, noisy, strict=True)]  # fmt: skip
        return found

    def _read(self, network: Recogniser, batch: Batch) -> list[dict[str, np.ndarray]]:
        """`text` and `log_probability` of each clip."""
        logits_KFC, frames_K = network(batch)
        found: list[list[tuple[str, float]]] = [[] for _ in frames_K]
        for view in network.views:
            log_KFC = logits_KFC[:, :, list(view.rows)].log_softmax(2)
            for own, log_FC, count in zip(found, log_KFC, frames_K.tolist(), strict=True):
                sure = log_FC[:count].max(1).values.mean().item()
                own.append((view.vocabulary.decode(self._decoded(log_FC[:count], view)), sure))
        return [{"text": np.array([t for t, _ in own]), "log_probability": np.array([p for _, p in own])}
                for own in found]  # fmt: skip

    def score(self, network: Recogniser, tests: Mapping[str, Tests]) -> Scored:
        """`METRICS` of each language, and a line a clip: `errors` of `length` units: words, characters or phones."""
        scores, options = [], self.options
        predictions: dict[str, list[object]] = {}
        for language, test in tests.items():
            pairs = list(zip(test.clips, test.outputs, strict=True))
            for named, noise, own in _conditions(pairs, options):
                there = [self._heard(network, *pair, noise) for pair in own]
                rule = (options.unit, options.names, network.words, named, options.alphabet)
                if not named or any(one.reference for one in there):
                    scores += scores_of(language, there, *rule)
            for pair in pairs:
                for name, value in _row(self._heard(network, *pair), options).items():
                    predictions.setdefault(name, []).append(value)
        return Scored(tuple(scores), predictions)

    def save(self, network: Recogniser, folder: Path) -> None:
        """Writes the network into a folder, to transcribe with."""
        checkpoint.write(self, network, folder)

    def remade(self, described: checkpoint.Symbols) -> Recogniser:
        """A network that writes those symbols, whose weights are still to come."""
        return self.recogniser(described.symbols, described.views, 0)

    def _decoded(self, log_FC: torch.Tensor, view: View) -> list[int]:
        """Places in the view's vocabulary."""
        options = self.options
        if options.beam == 1 or len(view.rows) == 1:
            return greedy(log_FC)
        return beam_search(log_FC, view.vocabulary.symbols, options.beam, options.lm, options.lm_weight)

    def _heard(self, network: Recogniser, clip: Clip, output: Output, noise: str = "") -> Heard:
        """What a test clip says and what the network wrote; with `noise`, in it."""
        number, texts = network.view_of(clip.language), np.atleast_1d(output["text" + noise])
        if number < 0:
            number = int(output["log_probability" + noise].argmax())
        vocabulary, (text,) = network.views[number].vocabulary, texts_of([clip], self.options.alphabet)
        lacking = tuple(vocabulary.lacking([text]).elements()) if vocabulary.characters else ()
        return Heard(clip, vocabulary.reference(text), str(texts[number]), lacking)

    def _dropped(self, network: Recogniser, clips: Sequence[Clip]) -> frozenset[tuple[str, str]]:
        """The clips that cannot be learnt from, which are listed.

        Raises:
            UserError: they are more than `max_dropped_share` of a language's.
        """
        if not clips:
            return frozenset()
        frames_N = network.encoder.frames(torch.tensor([clip.length for clip in clips])).tolist()
        found = [clip for clip, frames in zip(clips, frames_N, strict=True) if _unlearnable(network, clip, frames)]
        for code in sorted({clip.language for clip in found}):
            names = [clip.name for clip in found if clip.language == code]
            total = sum(clip.language == code for clip in clips)
            what = f"{len(names)} of {total} training clips of {code!r} are empty or too short for their text: "
            allowed = self.options.max_dropped_share
            if len(names) > allowed * total:
                raise UserError(f"{what}{', '.join(names[:5])}; allowed: a share of {allowed} (max_dropped_share)")
            logger.warning("%s%s; left out", what, ", ".join(names))
        return frozenset((clip.language, clip.name) for clip in found)

    def _check_alphabets(self, network: Recogniser, setup: Setup) -> None:
        """Lists what the vocabulary lacks of what is scored; refuses a language of the mixture that lacks too much."""
        texts: dict[str, list[str]] = {}
        for clip, text in zip(setup.scored, texts_of(setup.scored, self.options.alphabet), strict=True):
            texts.setdefault(clip.language, []).append(text)
        for code, own in sorted(texts.items()):
            view = network.views[max(network.view_of(code), 0)]
            share = self.options.max_unknown_share if code in setup.mixture.languages else 1.0
            if lacking := check_alphabet(view.vocabulary, own, code, share):
                logger.warning("the vocabulary lacks, of the test text of %r: %s", code, lacking_text(lacking))


def ctc_loss(
    views: Sequence[View], logits_BFC: torch.Tensor, frames_B: torch.Tensor, labels: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """(B,) negative log likelihood a character, of `CtcSystem.labels`, under (B, F, C) logits of (B,) frames."""
    text_BS, length_B, view_B = (labels[name] for name in ("text", "length", "view"))
    loss_B = torch.zeros_like(logits_BFC[:, 0, 0])
    for number, view in enumerate(views):
        log_FBC = logits_BFC[:, :, list(view.rows)].log_softmax(2).transpose(0, 1)
        own_B = view_B == number
        found_B = functional.ctc_loss(  # of clips of other views: of no text, so that nothing is out of range
            log_FBC, text_BS * own_B[:, None], frames_B, length_B * own_B, reduction="none"
        )
        loss_B = torch.where(own_B, found_B, loss_B)
    return loss_B / length_B


def _unlearnable(network: Recogniser, clip: Clip, frames: int) -> bool:
    """Whether a clip's text is empty, or needs more frames than there are: one each, and a blank between equal ones."""
    rows = network.spelling(clip)
    return not rows or frames < len(rows) + sum(one == other for one, other in pairwise(rows))


def _conditions(
    pairs: Sequence[tuple[Clip, Output]], options: CtcOptions
) -> Iterator[tuple[str, str, Sequence[tuple[Clip, Output]]]]:
    """What a language is scored under: name, key of the outputs in noise, test clips. "" is the test set as it is."""
    for condition in dict.fromkeys(clip.condition for clip, _ in pairs):
        yield condition, "", [pair for pair in pairs if pair[0].condition == condition]
    plain = [pair for pair in pairs if not pair[0].condition]
    for decibels in options.test_noise_db:
        yield f"noise {decibels:g} dB", f" {decibels:g} dB", plain
    for group in options.by:
        for value in sorted({getattr(clip, group) for clip, _ in plain} - {""}):
            yield f"{group} {value}", "", [pair for pair in plain if getattr(pair[0], group) == value]


def _row(one: Heard, options: CtcOptions) -> dict[str, object]:
    """A clip's line of the predictions; no words where the script sets none apart."""
    spaced = options.alphabet == "phones" or has_spaces(one.clip.language)
    letters = errors([one.reference], [one.hypothesis], words=False)
    words = errors([one.reference], [one.hypothesis], words=True) if spaced else None
    found = letters if words is None or options.unit == "character" else words
    row = {
        "language": one.clip.language, "clip": one.clip.name, "speaker": one.clip.speaker,
        "gender": one.clip.gender, "accent": one.clip.accent,
        "condition": one.clip.condition, "reference": one.reference, "hypothesis": one.hypothesis,
        "errors": found.count, "length": found.total, "lacking": join(one.lacking, options.alphabet),
    }  # fmt: skip
    if options.alphabet == "characters":
        row |= {"character_errors": letters.count, "characters": letters.total,
                "word_errors": words.count if words else 0, "words": words.total if words else 0}  # fmt: skip
    return row
