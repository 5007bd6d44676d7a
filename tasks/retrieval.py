"""Speech-to-speech retrieval: does an untrained encoder find what a clip means among the clips of another language?

For each ordered pair of languages, every utterance of the first (the query, the matrix's row) is held against all of
the second (the gallery, its column) by SeqSim of their frames (`tasks.seqsim`), and the one that means the same should
come first. A score stands under the gallery's language as its condition, so that the analysis makes a matrix of it. The
pair of a language and itself compares two readings of a meaning, under the condition "another reading". No condition:
the mean over the other languages.

Nothing is trained and nothing is random: a grid asks for the empty mixture, one seed, and `evaluate = "all"`. Languages
that are added later need a new results folder, since pairs take all test sets at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional

from grids.errors import UserError
from grids.grid import Model, Train
from tasks.backbones import fingerprint, load
from tasks.base import Batch, Example, Metric, Output, Score, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.data.selection import rank
from tasks.encoder import Encoder, masked_mean
from tasks.ranking import interval, ranks
from tasks.seqsim import seqsim
from tasks.sounds import sound_likeness

ANOTHER_READING = "another reading"


@dataclass(frozen=True)
class RetrievalOptions:
    """Options of retrieval.

    Attributes:
        layer: whose frames: 0 is the input of the first layer, 1 the first layer's output, -1 the encoder's own.
        items: most meanings a pair, in hashed order; 0: all that both test sets have.
        control: "phonemes" scores what sounds alone would find beside it; see `docs/retrieval.md`.
    """

    layer: int = -1
    items: int = 500
    control: Literal["none", "phonemes"] = "none"

    def __post_init__(self) -> None:
        if self.items < 0:
            raise UserError(f"items in [options] is {self.items}; allowed: >= 0")


@dataclass(frozen=True, eq=False)
class Side:
    """One utterance a meaning, of one language: (N) clips, (F, H) frames of each, and (N, H) means of the frames."""

    language: str
    clips: tuple[Clip, ...]
    frames: tuple[torch.Tensor, ...]
    means: np.ndarray


class Retrieval:
    """See the module's docstring."""

    Options: ClassVar = RetrievalOptions
    train: ClassVar = Train()
    metrics: ClassVar = tuple(
        Metric(name, primary=name == "r_at_1", higher_is_better=name != "picks_sound")
        for name in (
            "r_at_1", "r_at_1_lower", "r_at_1_upper", "r_at_5", "mrr", "random_r_at_1", "pooled_r_at_1",
            "written_alike", "sound_r_at_1", "disagreeing", "picks_meaning", "picks_sound",
        )
    )  # fmt: skip
    needs: ClassVar = Needs(item=True)

    def __init__(self, options: RetrievalOptions, model: Model) -> None:
        self.options, self.model = options, model

    def weights_sha(self) -> str:
        """The backbone's."""
        return fingerprint(self.model.backbone)

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises a `UserError` unless there is a choice."""
        if len({clip.item for clip in clips}) < 2:
            raise UserError(f"the test set of {clips[0].language!r} has one meaning alone; retrieval needs two or more")

    def network(self, setup: Setup) -> Encoder:
        """The backbone."""
        return load(self.model)

    def frozen(self, network: Encoder) -> None:
        """Each clip is encoded once anyway."""

    def examples(self, network: Encoder, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """None."""
        return ()

    def labels(self, network: Encoder, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """None, so no (B,) tensor."""
        return {}

    def loss(self, network: Encoder, batch: Batch) -> torch.Tensor:
        """(B,) losses; never called, since there are no examples."""
        raise AssertionError("retrieval has no examples")

    def outputs(self, network: Encoder, batch: Batch) -> Sequence[Output]:
        """`frames` (F, H) of length 1, float16 from a GPU; `embedding` (H,), the mean of the frames as they were.

        Raises:
            UserError: the encoder has no such layer.
        """
        found = network(batch.values, batch.lengths, states=None, padded=batch.padded)
        layers = len(found.hidden)
        if not -layers <= self.options.layer < layers:
            raise UserError(f"layer in [options] is {self.options.layer}; allowed: {-layers} to {layers - 1}")
        hidden_KFH = found.hidden[self.options.layer].float()
        unit_KFH = functional.normalize(hidden_KFH, dim=2)
        unit_KFH = unit_KFH.half() if hidden_KFH.is_cuda else unit_KFH
        means = masked_mean(hidden_KFH, found.mask).cpu().numpy()
        own = zip(unit_KFH, found.mask, means, strict=True)
        return [{"frames": unit[mask].cpu().numpy(), "embedding": mean} for unit, mask, mean in own]

    def score(self, network: Encoder, tests: Mapping[str, Tests]) -> Scored:
        """All metrics of every ordered pair of languages.

        Raises:
            UserError: two languages share fewer than two meanings, or the phonemes of one are not to be had.
        """
        device = next(network.parameters()).device
        scores, tables = list[Score](), list[dict[str, Any]]()
        for query, gallery, condition, likeness in self._pairs(tests, device):
            made, table = self._measure(query, gallery, condition, likeness)
            scores += made
            tables.append(table)
        columns = {name: np.concatenate([np.asarray(table[name]) for table in tables]) for name in tables[0]}
        return Scored((*scores, *self._means(scores, tests)), columns)

    def _pairs(self, tests: Mapping[str, Tests], device: torch.device) -> Iterator[tuple[Side, Side, str, np.ndarray]]:
        """Query, gallery, condition and their (N, N) SeqSim; it is symmetric, so that one product serves two pairs."""
        for one, other in combinations(sorted(tests), 2):
            left, right = self._sides(tests, one, other, device)
            likeness = seqsim(left.frames, right.frames).numpy()
            yield left, right, other, likeness
            yield right, left, one, likeness.T
        for language in sorted(tests):
            items = [clip.item for clip in tests[language].clips]
            if len({item for item in items if items.count(item) > 1}) > 1:
                left, right = self._sides(tests, language, language, device)
                yield left, right, ANOTHER_READING, seqsim(left.frames, right.frames).numpy()

    def _sides(self, tests: Mapping[str, Tests], one: str, other: str, device: torch.device) -> tuple[Side, Side]:
        """The utterances of a pair, in the order of their meanings; of a language and itself two readings.

        Raises:
            UserError: fewer than two meanings in common.
        """
        first, second = (_readings(tests[code].clips) for code in (one, other))
        reading = int(one == other)
        shared = {item for item in first.keys() & second.keys() if len(second[item]) > reading}
        items = sorted(shared, key=lambda item: rank("items", item))[: self.options.items or None]
        if len(items) < 2:
            raise UserError(f"the test sets of {one!r} and {other!r} have {len(items)} meanings in common; retrieval "
                            "needs a parallel corpus, see docs/own_data.md")  # fmt: skip
        left = _side(one, tests[one], [first[item][0] for item in items], device)
        return left, _side(other, tests[other], [second[item][reading] for item in items], device)

    def _measure(
        self, query: Side, gallery: Side, condition: str, likeness_NN: np.ndarray
    ) -> tuple[list[Score], dict[str, Any]]:
        """The scores of one ordered pair, and a row a query."""
        count = len(query.clips)
        own_N = np.arange(count)
        found, pooled = ranks(likeness_NN, own_N), ranks(_cosine(query.means, gallery.means), own_N)
        hit_N = found.recall(1)
        lower, upper = interval(hit_N, [clip.speaker or clip.item for clip in query.clips])
        pairs = zip(query.clips, gallery.clips, strict=True)
        alike_N = np.array([one.sentence.casefold() == other.sentence.casefold() for one, other in pairs])
        values = {
            "r_at_1": hit_N.mean(), "r_at_1_lower": lower, "r_at_1_upper": upper, "r_at_5": found.recall(5).mean(),
            "mrr": found.reciprocal.mean(), "random_r_at_1": 1 / count, "pooled_r_at_1": pooled.recall(1).mean(),
            "written_alike": alike_N.mean(),
        }  # fmt: skip
        if self.options.control == "phonemes":
            texts = [[clip.sentence for clip in side.clips] for side in (query, gallery)]
            sound_NN = sound_likeness(texts[0], query.language, texts[1], gallery.language)
            values |= control(likeness_NN, sound_NN)
        metrics = {metric.name: metric for metric in self.metrics}
        scores = [metrics[name].score(query.language, value, count, condition) for name, value in values.items()]
        table = {
            "language": np.array([query.language] * count, dtype=object),
            "gallery": np.array([gallery.language] * count, dtype=object),
            **{name: np.array([getattr(clip, key) for clip in query.clips], dtype=object)
               for name, key in (("clip", "name"), ("speaker", "speaker"), ("item", "item"))},
            "found": np.array([gallery.clips[n].item for n in likeness_NN.argmax(1)], dtype=object),
            "above": found.above, "ties": found.ties, "written_alike": alike_N,
        }  # fmt: skip
        return scores, table

    def _means(self, scores: Sequence[Score], tests: Mapping[str, Tests]) -> Iterator[Score]:
        """Each metric of each language without a condition: its mean over the galleries of other languages."""
        for language in tests:
            for metric in self.metrics:
                own = [s for s in scores if (s.language, s.metric) == (language, metric.name)]
                others = [s for s in own if s.condition in tests]
                if others:
                    value = float(np.mean([score.value for score in others]))
                    yield metric.score(language, value, sum(score.n_test for score in others))


def control(likeness_NN: np.ndarray, sound_NN: np.ndarray) -> dict[str, float]:
    """What sounds alone would find, and whom the encoder follows where sound and meaning disagree.

    Args:
        likeness_NN: (N, N) the encoder's likeness of query and utterance; a query's own stands on the diagonal.
        sound_NN: (N, N) how alike they sound.

    Returns:
        `sound_r_at_1`; `disagreeing`, the share of queries for which another utterance sounds more like them than their
        own; and of these the shares whose own is found (`picks_meaning`) and for which the best-sounding one is found
        (`picks_sound`). The last two are missing if there is no such query.
    """
    own_N = np.arange(len(sound_NN))
    heard = ranks(sound_NN, own_N)
    differ_N = heard.above > 0
    values = {"sound_r_at_1": float(heard.recall(1).mean()), "disagreeing": float(differ_N.mean())}
    if differ_N.any():
        found_D = likeness_NN[differ_N].argmax(1)
        values["picks_meaning"] = float((found_D == own_N[differ_N]).mean())
        values["picks_sound"] = float((found_D == sound_NN[differ_N].argmax(1)).mean())
    return values


def _readings(clips: Sequence[Clip]) -> Mapping[str, list[int]]:
    """Meaning -> the numbers of its clips, in an order that depends on their names alone."""
    found: dict[str, list[int]] = {}
    for number in sorted(range(len(clips)), key=lambda n: rank("readings", clips[n].name)):
        found.setdefault(clips[number].item, []).append(number)
    return found


def _side(language: str, test: Tests, numbers: Sequence[int], device: torch.device) -> Side:
    """These clips of a test set, their frames on the device."""
    frames = tuple(torch.from_numpy(np.asarray(test.outputs[n]["frames"])).to(device) for n in numbers)
    means = np.stack([test.outputs[n]["embedding"] for n in numbers])
    return Side(language, tuple(test.clips[n] for n in numbers), frames, means)


def _cosine(left_NH: np.ndarray, right_NH: np.ndarray) -> np.ndarray:
    """(N, N) cosines of rows."""
    left_NH, right_NH = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left_NH, right_NH))
    return np.asarray(left_NH @ right_NH.T)
