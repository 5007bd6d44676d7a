"""Adaptive s-norm by hand, and where its cohort comes from."""

import numpy as np
import pytest

from grids.errors import UserError
from grids.grid import Model, Train
from tasks.base import Tests
from tasks.speaker.mhubert import IdentificationOptions, SpeakerIdentification
from tasks.speaker.score_norm import as_norm, speaker_means
from tasks.speaker.verification import CosineOptions, cosine_scores, draw_pairs, score_embeddings
from tests.engine.learners import learner_of
from tests.tasks.waves import make_clips

CLIPS, TRAINING = make_clips("no", "test", speakers=6), make_clips("no", "train", speakers=4)


def test_by_hand() -> None:
    """Both sides hold the score against their own two best of three cohort speakers."""
    cohort = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    sides = np.array([[1.0, 0.0], [0.6, 0.8]])
    # Left: best 1 and 0, so mean 0.5 and deviation 0.5; right: 0.8 and 0.6, so 0.7 and 0.1.
    found = as_norm(np.array([0.6]), np.array([0]), np.array([1]), sides, cohort, top=2)
    assert found == pytest.approx(((0.6 - 0.5) / 0.5 + (0.6 - 0.7) / 0.1) / 2)


def test_a_cohort_smaller_than_asked_for_is_used_whole() -> None:
    rng = np.random.default_rng(0)
    embeddings, cohort = rng.normal(size=(5, 4)), np.eye(4)
    left, right, scores = np.array([0, 1]), np.array([2, 3]), np.array([0.1, 0.9])
    assert np.array_equal(*(as_norm(scores, left, right, embeddings, cohort, top) for top in (4, 100)))


def test_the_cohort_is_the_mean_of_each_training_speaker() -> None:
    embeddings = np.repeat([[3.0, 0, 0], [0, 2.0, 0], [0, 0, 1.0], [1.0, 1.0, 0]], 4, axis=0)
    means = speaker_means(Tests(TRAINING, tuple({"embedding": row} for row in embeddings)))
    assert np.allclose(means, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [np.sqrt(0.5), np.sqrt(0.5), 0]])
    with pytest.raises(UserError, match="two training speakers"):
        speaker_means(Tests(TRAINING[:4], tuple({"embedding": row} for row in embeddings[:4])))


def test_the_training_clips_go_along_only_if_asked_for() -> None:
    for norm in ("none", "as-norm"):
        task = SpeakerIdentification(IdentificationOptions(score_norm=norm), Model(backbone="tiny"))  # type: ignore
        found = learner_of(task, TRAINING, Train()).evaluate({"no": CLIPS}, TRAINING)
        assert found is not None
        cohort = found["no"].cohort
        assert (cohort.clips if cohort else None) == (TRAINING if norm == "as-norm" else None)


def test_normalised_scores_are_scored_and_the_untouched_model_has_plain_ones() -> None:
    rng = np.random.default_rng(0)
    test, cohort = (
        Tests(clips, tuple({"embedding": row} for row in rng.normal(size=(len(clips), 5))))
        for clips in (CLIPS, TRAINING)
    )
    pairs, options = draw_pairs(CLIPS), CosineOptions(score_norm="as-norm", cohort=3)
    plain = cosine_scores(test.stack("embedding"), pairs)
    assert np.array_equal(score_embeddings({"no": test}, options=options).predictions["score"], plain)
    found = score_embeddings({"no": Tests(test.clips, test.outputs, cohort)}, options=options).predictions["score"]
    expected = as_norm(plain, pairs.left, pairs.right, test.stack("embedding"), speaker_means(cohort), 3)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, plain)
