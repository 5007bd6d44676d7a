"""Ranks, recall and reciprocal rank, by hand; and the interval's coverage."""

import numpy as np
import pytest

from tasks.ranking import interval, ranks


def test_ranks_by_hand() -> None:
    likeness = np.array([[0.9, 0.1, 0.5], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]])
    found = ranks(likeness, np.arange(3))
    assert found.above.tolist() == [0, 1, 2]
    assert found.recall(1).tolist() == [1, 0, 0]
    assert found.recall(2).tolist() == [1, 1, 0]
    assert found.reciprocal == pytest.approx([1, 1 / 2, 1 / 3])


def test_ties_count_as_a_random_order_would() -> None:
    found = ranks(np.zeros((4, 4)), np.arange(4))
    assert found.recall(1) == pytest.approx([0.25] * 4)
    assert found.recall(3) == pytest.approx([0.75] * 4)
    assert found.reciprocal == pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4] * 4)


def test_the_interval_covers_the_true_recall() -> None:
    random, covered = np.random.default_rng(0), 0
    speakers = [f"s{number // 4}" for number in range(160)]
    for _ in range(200):
        own = random.beta(6, 4, size=40).repeat(4)  # speakers differ: their queries are not independent
        lower, upper = interval((random.random(160) < own).astype(float), speakers)
        covered += lower <= 0.6 <= upper
    assert 0.89 <= covered / 200 <= 0.98


def test_queries_of_one_speaker_are_drawn_together() -> None:
    hits = np.repeat([0.0, 1.0], 50)
    together, alone = (interval(hits, names) for names in (["a"] * 50 + ["b"] * 50, [str(n) for n in range(100)]))
    assert together == (0.0, 1.0)
    assert 0.35 < alone[0] < alone[1] < 0.65
