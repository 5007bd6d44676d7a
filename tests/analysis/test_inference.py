"""Tests of cells: limma's formulas worked by hand, the classes, and what a weak or negative self-gain may not do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import digamma, polygamma

from analysis.beside import evidence
from analysis.inference import (
    Call,
    Prior,
    cell_tests,
    fit_prior,
    gain_test,
    moderated,
    share_bounds,
    trigamma_inverse,
    true_discoveries,
)
from analysis.matrix import Status
from analysis.scores import Scores
from analysis.summary import summary
from analysis.uncertainty import moments
from tests.analysis.simulated import SeedNoise, matrix, simulate, with_diagonal


@given(st.floats(1e-5, 1e5))
def test_trigamma_inverse_is_the_inverse_of_trigamma(value):
    assert polygamma(1, trigamma_inverse(value)) == pytest.approx(value, rel=1e-6)


def test_the_prior_of_two_variances_worked_by_hand():
    variance, df = np.array([1.0, 9.0]), np.array([4, 4])
    e = np.log(variance) - digamma(2) + np.log(2)
    beyond = e.var(ddof=1) - polygamma(1, 2)
    prior = fit_prior(variance, df)
    assert polygamma(1, prior.df / 2) == pytest.approx(beyond)
    assert prior.variance == pytest.approx(np.exp(e.mean() + digamma(prior.df / 2) - np.log(prior.df / 2)))


def test_variances_that_agree_more_than_chance_are_pooled_whole():
    prior = fit_prior(np.full(50, 2.0), np.full(50, 9))
    assert prior.df == np.inf
    variance, df = moderated(np.full(3, 5.0), np.full(3, 9), prior, most=30.0)
    np.testing.assert_allclose(variance, prior.variance)
    np.testing.assert_array_equal(df, 30.0)


def test_a_moderated_variance_lies_between_its_own_and_the_common_one():
    variance, df = moderated(np.array([4.0]), np.array([2]), Prior(6.0, 1.0), most=100.0)
    assert variance[0] == pytest.approx((6 * 1 + 2 * 4) / 8)
    assert df[0] == 8


def test_the_prior_is_found_again_in_many_variances():
    rng = np.random.default_rng(0)
    true = 3.0 * 12 / rng.chisquare(12, 20_000)
    prior = fit_prior(true * rng.chisquare(9, true.size) / 9, np.full(true.size, 9))
    assert prior.df == pytest.approx(12, rel=0.1)
    assert prior.variance == pytest.approx(3.0, rel=0.03)


def test_with_unequal_counts_the_variance_of_one_score_is_moderated():
    # A has 3 seeds, B 5: one score's variance is s_xx / (1/3 + 1/5), and the moderated error is that of these counts.
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.6, 0.1, (4, 4, 6)), rng.normal(0.5, 0.1, (4, 4, 6))
    a[..., 3:], b[..., 5:] = np.nan, np.nan
    test = gain_test(m := moments(a, b, b))
    sample, off = m.s_xx / (1 / 3 + 1 / 5), ~np.eye(4, dtype=bool)
    prior = fit_prior(sample[off], np.full(12, 2))
    expected, _ = moderated(sample, np.full((4, 4), 2), prior, most=8.0)
    np.testing.assert_allclose(test.se, np.sqrt(expected * (1 / 3 + 1 / 5)))


def test_a_huge_prior_makes_a_normal_test_and_none_a_plain_t():
    rng = np.random.default_rng(2)
    scores = simulate(np.ones((3, 3)), rng)
    gain = cell_tests(scores).gain
    expected = 2 * stats.t.sf(np.abs(gain.difference / gain.se), gain.df)
    np.testing.assert_allclose(gain.p, expected, rtol=1e-9)
    one_sided = stats.t.sf(gain.difference / gain.se, gain.df)
    np.testing.assert_allclose(gain.p_upper, one_sided, rtol=1e-9)


def test_q_is_benjamini_hochberg_over_the_off_diagonal_cells():
    tests = cell_tests(simulate(with_diagonal(np.full((5, 5), 0.2)), np.random.default_rng(3)))
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(tests.gain.q[off], stats.false_discovery_control(tests.gain.p[off]))
    assert np.isnan(np.diag(tests.gain.q)).all()
    assert np.isfinite(np.diag(tests.gain.p)).all()  # the self-gain's own test
    assert (np.diag(tests.gain.call) == Call.UNTESTED).all()


def test_large_effects_get_their_class_and_a_missing_cell_gets_none():
    r = with_diagonal(np.array([[1, 3, -3, 1], [3, 1, -3, 1], [3, -3, 1, 1], [3, -3, 3, 1]], dtype=float))
    scores = simulate(r, np.random.default_rng(4), SeedNoise(0.1))
    scores.cross[0, 3, 1:] = np.nan
    scores.cross[1, 3] = np.nan
    tests = cell_tests(scores)
    assert tests.gain.call[0].tolist() == ["untested", "positive", "negative", "untested"]
    assert tests.own.call[0].tolist() == ["untested", "positive", "negative", "untested"]
    assert tests.gain.call[1, 3] == Call.UNTESTED
    assert tests.gain.call[2, 3] == Call.POSITIVE
    assert tests.own.call[2, 3] == Call.UNDECIDED
    assert tests.gain.count(Call.UNTESTED) == 2


def test_scores_without_noise_decide_every_cell_that_differs():
    r = with_diagonal(np.array([[1, 2, 0], [-1, 1, 1], [0.5, 0.5, 1]]))
    tests = cell_tests(simulate(r, np.random.default_rng(5), SeedNoise(0.0)))
    assert tests.gain.call[0, 1] == tests.gain.call[1, 2] == Call.POSITIVE
    assert tests.gain.call[1, 0] == Call.NEGATIVE
    assert tests.gain.call[0, 2] == Call.UNDECIDED


def test_one_seed_tests_nothing_and_a_bare_matrix_has_no_tests():
    tests = cell_tests(simulate(np.ones((3, 3)), np.random.default_rng(0), seeds=1))
    assert np.isnan(tests.gain.p).all()
    assert (tests.own.call == Call.UNTESTED).all()


def test_cells_of_an_undefined_row_are_tested_all_the_same():
    scores = simulate(with_diagonal(np.full((4, 4), 3.0)), np.random.default_rng(6), SeedNoise(0.1))
    scores.self_[0] = scores.base[0] + np.random.default_rng(7).normal(0, 0.02, scores.self_[0].shape)
    m = matrix(scores)
    assert (m.status[0, 1:] == Status.UNDEFINED).all()
    assert (cell_tests(scores).gain.call[0, 1:] == Call.POSITIVE).all()


def test_a_significantly_negative_self_gain_is_flagged_and_flips_no_sign():
    r = with_diagonal(np.full((4, 4), 0.8))
    scores = simulate(r, np.random.default_rng(8), SeedNoise(0.1))
    worse: Scores = replace(scores, self_=np.concatenate([2 * scores.base[:1] - scores.self_[:1], scores.self_[1:]]))
    m = matrix(worse)
    assert (m.status[0] == Status.NEGATIVE).all()
    assert not m.used[0].any()
    assert np.isnan(m.values[0, 1:]).all()
    assert (cell_tests(worse).gain.call[0, 1:] == Call.POSITIVE).all()  # the donors help, whatever r would say
    found = {value.aggregate.key: value for value in summary(m)}
    assert found["prop_positive"].value == 1.0
    assert found["negative_self_gain_cells"].value == 3
    assert found["rfd"].beside.floor is not None


def test_no_finished_seed_is_dropped_whatever_its_score():
    """The public reference drops seeds until self-gains look positive; here a bad seed counts as any other."""
    rng = np.random.default_rng(9)
    scores = simulate(np.ones((4, 4)), rng)
    scores.self_[:, 0] -= 5.0
    scores.cross[..., 1] += 5.0
    m = matrix(scores)
    assert (m.moments.count == len(scores.seeds)).all()
    np.testing.assert_allclose(m.self_gain, (scores.self_ - scores.base).mean(axis=1))
    found = evidence(m)
    expected = (scores.cross - scores.base[:, None]).mean(axis=-1)
    off = m.off_diagonal
    np.testing.assert_allclose(found.tests.gain.difference[off], expected[off])


def test_true_discoveries_of_all_sets_is_what_the_shortcut_finds():
    """Closed testing spelt out: the largest set that Simes' test does not reject."""
    rng = np.random.default_rng(10)
    for _ in range(200):
        p = np.sort(rng.uniform(size=8) ** rng.choice([1, 4]))
        largest = 0
        for mask in range(1, 256):
            inside = p[[bool(mask >> k & 1) for k in range(8)]]
            if not (inside <= 0.1 * np.arange(1, inside.size + 1) / inside.size).any():
                largest = max(largest, inside.size)
        assert true_discoveries(p, 0.1) == 8 - largest


def test_share_bounds_hold_everything_where_nothing_is_known_and_little_where_all_is():
    assert share_bounds(np.full(20, 0.5), np.full(20, 0.5)) == (0.0, 1.0)
    sure = np.array([1e-9] * 15 + [1.0] * 5)
    assert share_bounds(sure, 1 - sure) == (0.75, 0.75) or share_bounds(sure, 1 - sure)[0] == 0.75
    assert share_bounds(np.array([]), np.array([])) is None
    assert share_bounds(np.array([0.1, np.nan]), np.array([0.9, np.nan])) is None
