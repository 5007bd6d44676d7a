"""Speaker verification as all systems do it: the list of trials of a test set, and its scores from embeddings.

A verification trial (two clips: the same speaker or not?) is no trial of a grid; here it is always called a pair.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from grids.errors import UserError
from tasks.base import Metric, Scored, Tests
from tasks.data.clips import Clip
from tasks.examples import keyed
from tasks.metrics import verification

METRICS = (
    Metric("auc", primary=True),
    Metric("eer", higher_is_better=False),
    Metric("min_dcf_0.01", higher_is_better=False),
    Metric("min_dcf_0.05", higher_is_better=False),
)
MAX_SAME_PER_SPEAKER = 200
PAIRS_AT_ONCE = 200_000  # bounds the memory of a scoring step


@dataclass(frozen=True, eq=False)
class Pairs:
    """The verification trials of one test set.

    Attributes:
        left, right: (P,) int64 indices into the clips.
        same: (P,) bool.
    """

    left: np.ndarray
    right: np.ndarray
    same: np.ndarray

    @property
    def sha(self) -> str:
        """Hash of the list, to compare systems and machines."""
        columns = [column.astype("<i8").tobytes() for column in (self.left, self.right, self.same)]
        return hashlib.sha256(b"".join(columns)).hexdigest()


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
        every = [pair for pair in combinations(flat, 2) if speaker_of[pair[0]] != speaker_of[pair[1]]]
        return sorted(every, key=lambda pair: keyed(key, pair))[:wanted]
    bits, chosen = np.random.PCG64(key), dict[tuple[int, int], None]()
    while len(chosen) < wanted:
        for one, other in (bits.random_raw(2 * wanted) % total).astype(int).reshape(-1, 2):
            left, right = flat[min(one, other)], flat[max(one, other)]
            if speaker_of[left] != speaker_of[right] and len(chosen) < wanted:
                chosen[left, right] = None
    return list(chosen)


def cosine_scores(embeddings_ND: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(P,) cosine similarity of the two sides of each pair, in bounded memory."""
    unit_ND = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    starts = range(0, len(pairs.left), PAIRS_AT_ONCE)
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in starts]
    return np.concatenate([np.einsum("pd,pd->p", unit_ND[pairs.left[p]], unit_ND[pairs.right[p]]) for p in parts])


def score_embeddings(
    tests: Mapping[str, Tests], similarity: Callable[[np.ndarray, Pairs], np.ndarray] = cosine_scores
) -> Scored:
    """AUC, EER and minDCF a language from the output `embedding` of each test clip.

    Args:
        tests: language -> its test set.
        similarity: (N, D) embeddings and P pairs -> (P,) scores, higher means more alike.
    """
    scores = []
    names = ("language", "left", "right", "left_speaker", "right_speaker", "same", "score")
    columns: dict[str, list[object]] = {name: [] for name in names}
    for language, test in tests.items():
        pairs = draw_pairs(test.clips)
        found = similarity(test.stack("embedding"), pairs)
        measured = verification(pairs.same, found)
        values = (measured.auc, measured.eer, measured.min_dcf[0.01], measured.min_dcf[0.05])
        scores += [m.score(language, value, len(found)) for m, value in zip(METRICS, values, strict=True)]
        columns["language"] += [language] * len(found)
        columns["left"] += [test.clips[n].name for n in pairs.left]
        columns["right"] += [test.clips[n].name for n in pairs.right]
        columns["left_speaker"] += [test.clips[n].speaker for n in pairs.left]
        columns["right_speaker"] += [test.clips[n].speaker for n in pairs.right]
        columns["same"] += pairs.same.tolist()
        columns["score"] += found.tolist()
    return Scored(tuple(scores), columns)
