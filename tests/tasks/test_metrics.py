"""Measures against cases worked by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from tasks.metrics import accuracy, cllr, det, macro_f1, min_cllr, verification


def test_macro_f1_by_hand() -> None:
    # class 0: precision 2/3, recall 1; class 1: precision 1, recall 1/2
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 2) == pytest.approx((0.8 + 2 / 3) / 2)


def test_a_class_that_is_never_guessed_counts_0() -> None:
    assert macro_f1(np.array([0, 1]), np.array([0, 0]), 2) == pytest.approx((2 / 3) / 2)
    assert macro_f1(np.array([0, 0]), np.array([0, 0]), 2) == pytest.approx(1 / 2), "a class that is not there counts 0"
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


SAME = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
SCORES = np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1, 0.0])


def test_det_points_by_hand() -> None:
    curve = det(np.array([1, 0, 1, 0], dtype=bool), np.array([0.9, 0.5, 0.5, 0.1]))
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.5, 0.1]
    assert curve.miss.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert curve.false_accept.tolist() == [0.0, 0.0, 0.5, 1.0]


def test_the_threshold_of_the_eer_has_nearly_equal_errors() -> None:
    threshold = verification(SAME, SCORES).eer_threshold
    assert threshold == 0.6
    assert (SCORES[SAME] < threshold).mean() == (SCORES[~SAME] >= threshold).mean() == 0.25
    assert verification(np.array([True, False]), np.array([0.5, 0.5])).eer_threshold == 0.5, "never inf"


def test_min_dcf_by_hand_with_ties() -> None:
    # Accepting the two at 0.9, one of each kind: misses 1/2, false accepts 1/4; all at 0.5 and above: 0 and 1/2.
    same = np.array([1, 0, 1, 0, 0, 0], dtype=bool)
    curve = det(same, np.array([0.9, 0.9, 0.5, 0.5, 0.1, 0.1]))
    assert curve.min_dcf(0.5) == pytest.approx((0.5 * 0 + 0.5 * 0.5) / 0.5)
    assert curve.min_dcf(0.01) == 1.0, "accepting nothing"


def test_cllr_by_hand() -> None:
    same = np.array([True, True, False, False])
    assert cllr(same, np.zeros(4)) == pytest.approx(1.0)
    assert cllr(same, np.array([np.inf, np.inf, -np.inf, -np.inf])) == 0.0
    # log2(1 + 1/3) and log2(1 + 3) for the same, log2(1 + 1/3) twice for the others
    bits = (np.log2(4 / 3) + 2 + 2 * np.log2(4 / 3)) / 4
    assert cllr(same, np.log([3, 1 / 3, 1 / 3, 1 / 3])) == pytest.approx(bits)


def test_min_cllr_by_hand_with_ties() -> None:
    assert min_cllr(np.array([True, False]), np.array([0.5, 0.5])) == pytest.approx(1.0)
    assert min_cllr(SAME, SAME * 1.0) == 0.0
    assert min_cllr(SAME, -SCORES) == pytest.approx(1.0), "no rising map makes a reversed system useful"
    # Three bins at best: 0 same of 3, 1 same of 2 (scores 0.3 and 0.6), 3 same of 3.
    assert min_cllr(SAME, SCORES) == pytest.approx((0.25 + 0.25) / 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4))).map(lambda rows: [*rows, (True, 0), (False, 1)]))
def test_min_cllr_is_the_cost_after_scikit_learns_isotonic_map_and_no_map_is_better(
    rows: list[tuple[bool, int]],
) -> None:
    same, scores = np.array([a for a, _ in rows]), np.array([b for _, b in rows], dtype=float)
    share = IsotonicRegression().fit_transform(scores, same)
    with np.errstate(divide="ignore"):
        ratios = np.log(share) - np.log1p(-share) - np.log(same.sum() / (~same).sum())
    found = min_cllr(same, scores)
    assert found == pytest.approx(cllr(same, ratios), abs=1e-6)
    assert found <= cllr(same, scores) + 1e-9
    assert found <= cllr(same, 0.3 * scores - 1) + 1e-9
    assert found <= 1 + 1e-9
