"""The pairs of a test set: matched, byte-stable, and independent of everything but the clips."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from grids.errors import UserError
from tasks import metrics
from tasks.base import Tests
from tasks.data.clips import Clip
from tasks.speaker import verification
from tasks.speaker.verification import cosine_scores, draw_pairs, score_embeddings
from tests.tasks.waves import make_clips

CLIPS = make_clips("no", "test", speakers=10, clips_each=6)


def names(clips: tuple[Clip, ...]) -> set[tuple[frozenset[str], bool]]:
    pairs = draw_pairs(clips)
    sides = zip(pairs.left, pairs.right, pairs.same, strict=True)
    return {(frozenset((clips[a].name, clips[b].name)), bool(s)) for a, b, s in sides}


def test_all_same_speaker_pairs_and_as_many_different_ones_of_the_same_gender() -> None:
    pairs = draw_pairs(CLIPS)
    assert pairs.same.sum() == 10 * 15
    for gender in ("female", "male"):
        own = [n for n, clip in enumerate(CLIPS) if clip.gender == gender]
        kinds = Counter(s for a, s in zip(pairs.left, pairs.same, strict=True) if a in own)
        assert kinds[True] == kinds[False] == 75
    for a, b, s in zip(pairs.left, pairs.right, pairs.same, strict=True):
        assert CLIPS[a].gender == CLIPS[b].gender
        assert (CLIPS[a].speaker == CLIPS[b].speaker) == s
    assert len(names(CLIPS)) == len(pairs.left), "no pair twice, in either order"


def test_the_list_is_byte_stable() -> None:
    assert draw_pairs(CLIPS).sha == "8d3282408629adf38aa560fa9d56e5cfb652fe9da3265ff6bdcaac42de5af855"


def test_the_order_of_the_clips_does_not_matter() -> None:
    assert names(CLIPS) == names(CLIPS[::-1])


def test_at_most_so_many_same_speaker_pairs_a_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MAX_SAME_PER_SPEAKER", 4)
    pairs = draw_pairs(CLIPS)
    speakers = Counter(CLIPS[a].speaker for a, s in zip(pairs.left, pairs.same, strict=True) if s)
    assert set(speakers.values()) == {4}
    assert len(pairs.left) == 80


def test_too_few_different_pairs_are_all_taken() -> None:
    few = make_clips("no", "test", speakers=4, clips_each=1) + make_clips("ca", "test", speakers=2, clips_each=9)
    assert not draw_pairs(few).same.all()
    assert len(names(few)) == len(draw_pairs(few).left)


def test_a_test_set_that_gives_no_pairs_is_refused() -> None:
    one_each = make_clips("no", "test", speakers=6, clips_each=1)
    alone = tuple(replace(clip, speaker="one") for clip in CLIPS)
    for clips in (one_each, alone, ()):
        with pytest.raises(UserError, match="gives no pairs"):
            draw_pairs(clips)


def test_cosine_in_blocks_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, pairs = np.random.default_rng(0).normal(size=(len(CLIPS), 5)), draw_pairs(CLIPS)
    plain = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(embeddings[pairs.left], embeddings[pairs.right], strict=True)
    ]
    monkeypatch.setattr(verification, "PAIRS_AT_ONCE", 7)
    assert np.allclose(cosine_scores(embeddings, pairs), plain)


def test_scores_say_how_many_pairs_they_rest_on() -> None:
    outputs = tuple({"embedding": row} for row in np.random.default_rng(0).normal(size=(len(CLIPS), 5)))
    scored = score_embeddings({"no": Tests(CLIPS, outputs)})
    assert {score.n_test for score in scored.scores if not score.condition} == {300}
    assert {len(column) for column in scored.predictions.values()} == {300}


def test_scores_split_by_gender_and_pairs_are_labelled() -> None:
    embeddings = np.eye(10)[[int(clip.speaker.rsplit("-", 1)[1]) for clip in CLIPS]]
    male = np.array([clip.gender == "male" for clip in CLIPS])
    embeddings[male] = np.random.default_rng(0).normal(size=(male.sum(), 10))  # known are the women alone
    scored = score_embeddings({"no": Tests(CLIPS, tuple({"embedding": row} for row in embeddings))})
    auc = {s.condition: (s.value, s.n_test) for s in scored.scores if s.metric == "auc"}
    assert auc["female"] == (1.0, 150)
    assert auc["male"][0] < 0.8
    assert auc["male"][0] < auc[""][0] < 1.0
    assert set(auc) == {"", "female", "male"}
    sides = [{clip.gender for clip in CLIPS if clip.name in pair}
             for pair in zip(scored.predictions["left"], scored.predictions["right"], strict=True)]  # fmt: skip
    assert [{gender} for gender in scored.predictions["gender"]] == sides


def test_a_condition_without_pairs_of_both_kinds_has_no_score() -> None:
    lonely = tuple(clip for clip in CLIPS if clip.gender == "female") + tuple(
        clip for clip in CLIPS if clip.speaker == "no-test-1"
    )
    outputs = tuple({"embedding": row} for row in np.random.default_rng(0).normal(size=(len(lonely), 5)))
    assert {score.condition for score in score_embeddings({"no": Tests(lonely, outputs)}).scores} == {"", "female"}


def test_the_threshold_and_the_hash_of_the_list_go_with_the_predictions() -> None:
    outputs = tuple({"embedding": row} for row in np.random.default_rng(0).normal(size=(len(CLIPS), 5)))
    found = score_embeddings({"no": Tests(CLIPS, outputs)}).predictions
    assert set(found["pairs_sha"]) == {draw_pairs(CLIPS).sha}
    measured = metrics.verification(np.array(found["same"]), np.array(found["score"]))
    assert set(found["eer_threshold"]) == {measured.eer_threshold}
