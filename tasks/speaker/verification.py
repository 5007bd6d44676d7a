"""Speaker verification as all systems do it: the pairs of a test set, and its scores from embeddings.

A verification trial (two clips: the same speaker or not?) is no trial of a grid; here it is always called a pair.
Scores are also given under a condition: both sides of one gender, and where pairs cross languages, of one language or
of two.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from grids.errors import UserError
from grids.files import sha256_of
from tasks.base import Metric, Score, Scored, Tests
from tasks.data.clips import GENDERS, Clip, Needs
from tasks.examples import keyed
from tasks.metrics import Verification, verification
from tasks.speaker.pair_lists import list_path, lists_sha, read_list
from tasks.speaker.score_norm import as_norm, speaker_means, unit

METRICS = (
    Metric("auc", primary=True),
    Metric("eer", higher_is_better=False),
    Metric("min_dcf_0.01", higher_is_better=False),
    Metric("min_dcf_0.05", higher_is_better=False),
    Metric("min_cllr", higher_is_better=False),
)
SAME_LANGUAGE, DIFFERENT_LANGUAGES = "same language", "different languages"
MAX_SAME_PER_SPEAKER = 200
PAIRS_AT_ONCE = 1024  # their embeddings stay in the processor's cache: 30 times as fast as 200,000 at once


@dataclass(frozen=True)
class PairOptions:
    """Which pairs are scored: options of every system.

    Attributes:
        pairs: "drawn" (see `draw_pairs`), or the absolute path of a folder of lists (see `tasks.speaker.pair_lists`).
        lists_sha: hash of those lists: with other lists it is another configuration.
    """

    pairs: str = "drawn"
    lists_sha: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.listed and not Path(self.pairs).is_absolute():
            raise UserError(f"pairs in [options] is {self.pairs!r}; allowed: 'drawn', or the absolute path of a folder")
        object.__setattr__(self, "lists_sha", lists_sha(Path(self.pairs)) if self.listed else "")

    @property
    def listed(self) -> bool:
        """Whether the pairs of test sets come from files. Those of dev sets are always drawn."""
        return self.pairs != "drawn"


@dataclass(frozen=True)
class CosineOptions(PairOptions):
    """Options of systems that score by cosine.

    Attributes:
        score_norm: "none", or "as-norm" against the training speakers. The untouched model has none: plain cosines.
        cohort: training speakers, those most like a clip, whose scores it is held against.
    """

    score_norm: Literal["none", "as-norm"] = "none"
    cohort: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cohort < 2:
            raise UserError(f"cohort in [options] is {self.cohort}; allowed: >= 2")


@dataclass(frozen=True, eq=False)
class Pairs:
    """The verification trials of one test set.

    Attributes:
        left, right: (P,) int64 indices into the clips.
        same: (P,) bool.
        source_sha: hash of the file they were read from; "" for drawn ones.
    """

    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    source_sha: str = ""

    @property
    def sha(self) -> str:
        """Hash of the list, to compare systems and machines."""
        if self.source_sha:
            return self.source_sha
        columns = [column.astype("<i8").tobytes() for column in (self.left, self.right, self.same)]
        return hashlib.sha256(b"".join(columns)).hexdigest()


def speaker_needs(options: PairOptions) -> Needs:
    """What a clip must have: a speaker; for drawn pairs a gender; and training clips go along as a cohort."""
    cohort = isinstance(options, CosineOptions) and options.score_norm == "as-norm"
    return Needs(test_gender=not options.listed, speaker=True, cohort=cohort)


def pairs_of(clips: Sequence[Clip], options: PairOptions, *, alone: bool = False) -> Pairs:
    """The pairs of a test or dev set: those of its file, where there are files and it is a test set, or drawn ones.

    Args:
        clips: those of the language, of whose order the pairs are made, then those of others that a file may name.
        options: say which.
        alone: those of others are not at hand; to check a file before anything is trained.

    Raises:
        UserError: there are none, or the file is not as it must be.
    """
    if not options.listed or not clips or clips[0].split != "test":
        return draw_pairs(clips)
    path = list_path(Path(options.pairs), clips[0].language)
    return Pairs(*read_list(path, clips, alone=alone), sha256_of(path))


def draw_pairs(clips: Sequence[Clip], seed: int = 0) -> Pairs:
    """The pairs of a language's test set: byte-stable, and independent of the order of the clips given.

    For each gender: all same-speaker pairs, at most `MAX_SAME_PER_SPEAKER` a speaker, and as many different-speaker
    pairs of the same gender, none twice (fewer only if there are no more).

    Args:
        clips: test clips with a gender, of one language, in the order of the prepared store.
        seed: of the draw, not of a trial.

    Raises:
        UserError: no pair of either kind can be made.
    """
    genders = sorted({clip.gender for clip in clips})
    drawn = [_gender_pairs([n for n, clip in enumerate(clips) if clip.gender == g], clips, seed) for g in genders]
    rows = np.array(sorted(row for part in drawn for row in part), dtype=np.int64).reshape(-1, 3)
    pairs = Pairs(rows[:, 0], rows[:, 1], rows[:, 2].astype(bool))
    if not pairs.same.any() or pairs.same.all():
        language = clips[0].language if clips else "?"
        raise UserError(
            f"the test set of {language!r} ({len(clips)} clips with a gender) gives no pairs: verification needs two "
            "speakers of one gender, and one of them with two clips"
        )
    return pairs


def _gender_pairs(indices: list[int], clips: Sequence[Clip], seed: int) -> list[tuple[int, int, int]]:
    """Same and different pairs (left, right, same) among clips of one gender; none if there is one speaker only."""
    of_speaker: dict[str, list[int]] = defaultdict(list)
    for index in sorted(indices, key=lambda n: clips[n].name):
        of_speaker[clips[index].speaker].append(index)
    if len(of_speaker) < 2:
        return []
    same: list[tuple[int, int]] = []
    for own in of_speaker.values():
        every = list(combinations(own, 2))
        every.sort(key=lambda pair: keyed("same", seed, clips[pair[0]].name, clips[pair[1]].name))
        same += every[:MAX_SAME_PER_SPEAKER]
    different = _different_pairs(of_speaker, len(same), keyed("different", seed, *sorted(of_speaker)))
    return [(*pair, 1) for pair in same] + [(*pair, 0) for pair in different]


def _different_pairs(of_speaker: Mapping[str, list[int]], wanted: int, key: int) -> list[tuple[int, int]]:
    """Uniform draws of two clips of different speakers, none twice, from raw PCG64 numbers (stable over versions)."""
    speaker_of = {index: number for number, speaker in enumerate(sorted(of_speaker)) for index in of_speaker[speaker]}
    flat = [index for speaker in sorted(of_speaker) for index in of_speaker[speaker]]
    total = len(flat)
    possible = (total**2 - sum(len(own) ** 2 for own in of_speaker.values())) // 2
    if possible <= 2 * wanted:  # so few that drawing would repeat itself: take them in hashed order
        every = [
            pair for pair in combinations(range(total), 2) if speaker_of[flat[pair[0]]] != speaker_of[flat[pair[1]]]
        ]
        return [(flat[a], flat[b]) for a, b in sorted(every, key=lambda pair: keyed(key, pair))[:wanted]]
    bits, chosen = np.random.PCG64(key), dict[tuple[int, int], None]()
    while len(chosen) < wanted:
        for one, other in (bits.random_raw(2 * wanted) % total).astype(int).reshape(-1, 2):
            left, right = flat[min(one, other)], flat[max(one, other)]
            if speaker_of[left] != speaker_of[right] and len(chosen) < wanted:
                chosen[left, right] = None
    return list(chosen)


def cosine_scores(embeddings_ND: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(P,) cosine similarity of the two sides of each pair, in bounded memory."""
    unit_ND = unit(embeddings_ND)
    starts = range(0, len(pairs.left), PAIRS_AT_ONCE)
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in starts]
    return np.concatenate([np.einsum("pd,pd->p", unit_ND[pairs.left[p]], unit_ND[pairs.right[p]]) for p in parts])


def score_embeddings(
    tests: Mapping[str, Tests],
    similarity: Callable[[np.ndarray, Pairs], np.ndarray] = cosine_scores,
    options: PairOptions = CosineOptions(),
) -> Scored:
    """All metrics a language and condition, from the output `embedding` of each test clip.

    Args:
        tests: language -> its test set.
        similarity: (N, D) embeddings and P pairs -> (P,) scores, higher means more alike.
        options: which pairs, and how cosines are normalised.
    """
    scores, tables = list[Score](), list[dict[str, np.ndarray]]()
    for language, test in tests.items():
        pool = list({language: test, **tests}.values()) if options.listed else [test]
        clips = tuple(clip for one in pool for clip in one.clips)
        pairs = pairs_of(clips, options)
        embeddings_ND = np.concatenate([one.stack("embedding") for one in pool])
        found = similarity(embeddings_ND, pairs)
        if isinstance(options, CosineOptions) and options.score_norm == "as-norm" and test.cohort:
            cohort_SD = speaker_means(test.cohort)
            found = as_norm(found, pairs.left, pairs.right, embeddings_ND, cohort_SD, options.cohort)
        measured = verification(pairs.same, found)
        scores += _scores(language, measured, len(found))
        scores += _conditions(language, clips, pairs, found)
        tables.append(_predictions(language, clips, pairs, found, measured.eer_threshold))
    columns = {name: np.concatenate([table.pop(name) for table in tables]) for name in list(tables[0])}
    return Scored(tuple(scores), columns)


def _scores(language: str, measured: Verification, n_test: int, condition: str = "") -> list[Score]:
    """One score a metric."""
    dcf = measured.min_dcf
    values = (measured.auc, measured.eer, dcf[0.01], dcf[0.05], measured.min_cllr)
    return [metric.score(language, value, n_test, condition) for metric, value in zip(METRICS, values, strict=True)]


def _conditions(language: str, clips: Sequence[Clip], pairs: Pairs, found: np.ndarray) -> list[Score]:
    """The scores under each condition that has pairs of both kinds."""
    scores = []
    for condition, mask in _masks(clips, pairs).items():
        same = pairs.same[mask]
        if same.any() and not same.all():
            scores += _scores(language, verification(same, found[mask]), len(same), condition)
    return scores


def _masks(clips: Sequence[Clip], pairs: Pairs) -> Mapping[str, np.ndarray]:
    """Condition -> its pairs, (P,) bool."""
    of_gender = {gender: np.array([clip.gender == gender for clip in clips]) for gender in GENDERS}
    masks = {gender: own[pairs.left] & own[pairs.right] for gender, own in of_gender.items()}
    codes = np.unique([clip.language for clip in clips], return_inverse=True)[1]
    crossing = codes[pairs.left] != codes[pairs.right]
    return {**masks, SAME_LANGUAGE: ~crossing, DIFFERENT_LANGUAGES: crossing} if crossing.any() else masks


def _predictions(
    language: str, clips: Sequence[Clip], pairs: Pairs, found: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """The columns of the table of pairs."""
    names, speakers, genders = (
        np.array([getattr(clip, name) for clip in clips], dtype=object) for name in ("name", "speaker", "gender")
    )
    gender = genders[pairs.left]
    gender[gender != genders[pairs.right]] = ""
    return {
        "language": np.array([language], dtype=object).repeat(len(found)),  # np.full would make a text an item
        "left": names[pairs.left], "right": names[pairs.right],
        "left_speaker": speakers[pairs.left], "right_speaker": speakers[pairs.right],
        "gender": gender,
        "same": pairs.same, "score": found, "eer_threshold": np.full(len(found), threshold),
        "pairs_sha": np.array([pairs.sha], dtype=object).repeat(len(found)),
    }  # fmt: skip
