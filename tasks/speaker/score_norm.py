"""Adaptive score normalisation: a pair's score against what its sides score with the speakers most like them."""

from collections import defaultdict

import numpy as np

from grids.errors import UserError
from tasks.base import Tests

CLIPS_AT_ONCE = 4096  # bounds the memory: 64 MB of similarities at 2,000 cohort speakers


def speaker_means(cohort: Tests) -> np.ndarray:
    """(S, D) mean embedding of each speaker, of length 1.

    Raises:
        UserError: there is one speaker only.
    """
    places = defaultdict[str, list[int]](list)
    for number, clip in enumerate(cohort.clips):
        places[clip.speaker].append(number)
    if len(places) < 2:
        raise UserError("score_norm = 'as-norm' needs two training speakers or more; see samples and clips_per_speaker")
    embeddings_ND = cohort.stack("embedding")
    return unit(np.stack([embeddings_ND[own].mean(axis=0) for own in places.values()]))


def unit(values_ND: np.ndarray) -> np.ndarray:
    """(N, D) rows at length 1."""
    return np.asarray(values_ND / np.linalg.norm(values_ND, axis=1, keepdims=True))


def as_norm(
    scores: np.ndarray, left: np.ndarray, right: np.ndarray, embeddings_ND: np.ndarray, cohort_SD: np.ndarray, top: int
) -> np.ndarray:
    """(P,) normalised scores: the mean over both sides of (score - mean) / deviation of the side's own top scores.

    Args:
        scores: (P,) cosines.
        left: (P,) rows of the embeddings.
        right: (P,) likewise.
        embeddings_ND: of the clips.
        cohort_SD: of the cohort's speakers, of length 1.
        top: how many of the cohort count, those most like the clip; all if there are fewer.

    Source: Matejka et al. 2017, "Analysis of score normalization in multilingual speaker recognition", AS-norm1.
    """
    unit_ND, top = unit(embeddings_ND), min(top, len(cohort_SD))
    blocks = (unit_ND[start : start + CLIPS_AT_ONCE] for start in range(0, len(unit_ND), CLIPS_AT_ONCE))
    best = [np.partition(block @ cohort_SD.T, -top, axis=1)[:, -top:] for block in blocks]
    mean_N = np.concatenate([part.mean(axis=1) for part in best])
    deviation_N = np.concatenate([part.std(axis=1) for part in best])
    return np.asarray(sum((scores - mean_N[side]) / deviation_N[side] for side in (left, right)) / 2)
