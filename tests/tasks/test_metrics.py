"""Measures against cases worked by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tasks.metrics import accuracy, macro_f1, verification


def test_macro_f1_by_hand() -> None:
    # class 0: precision 2/3, recall 1; class 1: precision 1, recall 1/2
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 2) == pytest.approx((0.8 + 2 / 3) / 2)


def test_a_class_that_is_never_guessed_counts_0() -> None:
    assert macro_f1(np.array([0, 1]), np.array([0, 0]), 2) == pytest.approx((2 / 3) / 2)
    assert accuracy(np.array([0, 1]), np.array([0, 0])) == 0.5


def test_verification_by_hand() -> None:
    # Accepting at 0.5 and above: 1 of 4 targets missed, 1 of 4 others accepted, so EER 1/4.
    same = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1, 0.0])
    found = verification(same, scores)
    assert found.eer == pytest.approx(0.25)
    assert found.auc == pytest.approx(15 / 16)
    # The cheapest point for a prior of 0.01 accepts nothing false: misses 1/4, so 0.01 * 1/4 / 0.01.
    assert found.min_dcf[0.01] == pytest.approx(0.25)


def test_a_false_accept_costs_as_its_prior_says() -> None:
    # 1 of 100 others lies above both targets: accepting from 0.8 on misses none, so (1 - prior) * 1/100 / prior.
    found = verification(np.arange(102) < 2, np.array([0.9, 0.8, 0.95, *np.zeros(99)]))
    assert (found.min_dcf[0.01], found.min_dcf[0.05]) == (pytest.approx(0.99), pytest.approx(0.19))


def test_ties_count_half_and_eer_is_interpolated() -> None:
    found = verification(np.array([True, False]), np.array([0.5, 0.5]))
    assert found.auc == 0.5
    assert found.eer == pytest.approx(0.5)
    assert found.min_dcf[0.05] == 1.0


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5))).map(lambda rows: [*rows, (True, 0), (False, 1)]))
def test_affine_maps_change_nothing_and_reversal_mirrors(rows: list[tuple[bool, int]]) -> None:
    same, scores = np.array([a for a, _ in rows]), np.array([b for _, b in rows], dtype=float)
    one, scaled, mirrored = (verification(same, s) for s in (scores, 3 * scores + 1, -scores))
    assert one.auc == pytest.approx(roc_auc_score(same, scores))
    assert (scaled.auc, scaled.eer) == (pytest.approx(one.auc), pytest.approx(one.eer))
    assert mirrored.auc == pytest.approx(1 - one.auc)
    assert mirrored.eer == pytest.approx(1 - one.eer, abs=1e-9)
    assert 0 <= one.min_dcf[0.01] <= 1
