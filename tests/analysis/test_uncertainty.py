"""Fieller's interval, the delta method and the moments below them, against hand-worked cases and a known truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.uncertainty import Moments, delta_se, fieller, moments, nearest_psd, t_quantile

T_2_DF = 4.302652729696142  # two-sided 95 % of Student's t, 2 degrees of freedom (any table)


def given_moments(x: float, y: float, s_xx: float, s_yy: float, s_xy: float, df: int) -> Moments:
    array = np.array
    return Moments(
        mean=np.zeros(3), count=np.full(3, df + 1), x=array(x), y=array(y), s_xx=array(s_xx), s_yy=array(s_yy),
        s_xy=array(s_xy), df=array(df), clipped=array(False),
    )  # fmt: skip


def test_a_case_worked_by_hand():
    # A - B = 0.10, 0.12, 0.14 with sd 0.02, so s_xx = 0.02^2 / 3; C - B = 0.2 without spread.
    m = moments(np.array([0.60, 0.62, 0.64]), np.full(3, 0.5), np.full(3, 0.7))
    interval = fieller(m)
    se = 0.02 / np.sqrt(3) / 0.2
    assert m.x == pytest.approx(0.12)
    assert m.y == pytest.approx(0.2)
    assert delta_se(m) == pytest.approx(se)
    assert interval.g == pytest.approx(0.0)
    assert interval.lower == pytest.approx(0.6 - T_2_DF * se)
    assert interval.upper == pytest.approx(0.6 + T_2_DF * se)


@given(st.floats(-3, 3), st.floats(0.5, 3), st.floats(0.001, 0.05), st.floats(0.001, 0.05), st.floats(-0.9, 0.9))
def test_fieller_is_the_quotient_form_without_its_division(x, y, s_xx, s_yy, correlation):
    s_xy, df = correlation * np.sqrt(s_xx * s_yy), 9
    q, r = t_quantile(np.array(df)), x / y
    g = q**2 * s_yy / y**2
    interval = fieller(given_moments(x, y, s_xx, s_yy, s_xy, df))
    if g >= 1:
        assert np.isnan(interval.lower)
        assert np.isnan(interval.upper)
        return
    root = np.sqrt(s_xx - 2 * r * s_xy + r**2 * s_yy - g * (s_xx - s_xy**2 / s_yy))
    expected = (r - g * s_xy / s_yy + np.array([-1, 1]) * q / y * root) / (1 - g)
    np.testing.assert_allclose([interval.lower, interval.upper], expected, rtol=1e-6, atol=1e-9)


def test_noise_free_scores_give_an_interval_of_width_zero():
    m = moments(np.full(5, 0.45), np.full(5, 0.5), np.full(5, 0.7))
    interval = fieller(m)
    assert interval.lower == pytest.approx(-0.25, abs=1e-12)
    assert interval.upper == pytest.approx(-0.25, abs=1e-12)
    assert delta_se(m) == pytest.approx(0.0, abs=1e-12)


def test_a_self_gain_of_exactly_zero_is_never_below_g_one():
    assert fieller(moments(np.full(5, 0.45), np.full(5, 0.5), np.full(5, 0.5))).g == np.inf


def test_one_seed_gives_a_ratio_and_nothing_about_its_error():
    m = moments(np.array([0.6]), np.array([0.5]), np.array([0.7]))
    interval = fieller(m)
    assert m.x / m.y == pytest.approx(0.5)
    assert m.df == 0
    assert np.isnan([interval.lower, interval.upper, interval.g, delta_se(m)]).all()


def test_equal_seeds_reduce_to_plain_pairs():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 7))
    m = moments(a, b, c)
    plain = np.cov(a - b, c - b) / 7
    np.testing.assert_allclose([[m.s_xx, m.s_xy], [m.s_xy, m.s_yy]], plain)
    assert m.df == 6
    assert not m.clipped


def test_unequal_seeds_follow_the_covariance_formula():
    nan = np.nan
    a = np.array([1.0, 2.0, 4.0, nan, nan])
    b = np.array([1.0, 3.0, 2.0, 5.0, 6.0])
    c = np.array([2.0, 5.0, 3.0, 8.0, 9.0])
    m = moments(a, b, c)
    a3, b3 = a[:3], b[:3]
    var_a, var_b = a3.var(ddof=1) / 3, b.var(ddof=1) / 5
    cov_ab = 3 * np.cov(a3, b3)[0, 1] / (3 * 5)
    assert m.x == pytest.approx(a3.mean() - b.mean())
    assert m.s_xx == pytest.approx(var_a + var_b - 2 * cov_ab)
    assert m.s_yy == pytest.approx((c - b).var(ddof=1) / 5)
    assert m.df == 2
    np.testing.assert_array_equal(m.count, [3, 5, 5])
    assert not m.clipped


def test_variance_of_unequal_seeds_is_right_over_many_draws():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(20_000, 6))
    a, b, c = (shared + 0.5 * rng.normal(size=shared.shape) for _ in range(3))
    a[:, :3] = np.nan
    m = moments(a, b, c)
    assert m.s_xx.mean() == pytest.approx(m.x.var(), rel=0.05)
    assert m.s_yy.mean() == pytest.approx(m.y.var(), rel=0.05)


def test_an_impossible_covariance_is_replaced_by_the_nearest_possible_one():
    impossible = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    fixed, clipped = nearest_psd(impossible[None], np.array([True]))
    assert clipped.all()
    assert np.linalg.eigvalsh(fixed[0]).min() >= -1e-12
    values, vectors = np.linalg.eigh(impossible)
    negative = values < 0
    np.testing.assert_allclose(
        fixed[0], impossible - (vectors[:, negative] * values[negative]) @ vectors[:, negative].T
    )
    possible, untouched = nearest_psd(np.eye(3)[None], np.array([True]))
    assert not untouched.any()
    np.testing.assert_array_equal(possible[0], np.eye(3))


def test_clipping_is_said_where_shared_seeds_contradict_the_variances():
    # B varies only in the two seeds that A has: Cov / sqrt(Var Var) of the means would be 1.29.
    a = np.array([0.0, 10.0, np.nan, np.nan, np.nan, np.nan])
    b = np.array([0.0, 10.0, 5.0, 5.0, 5.0, 5.0])
    c = np.array([10.0, 0.0, 5.0, 5.0, 5.0, 5.0])
    covariance = _mean_covariance(a, b, c)
    values, vectors = np.linalg.eigh(covariance)
    nearest = (vectors * np.maximum(values, 0)) @ vectors.T
    m = moments(a, b, c)
    assert values.min() < -0.1
    assert m.clipped
    assert m.s_xx == pytest.approx(nearest[0, 0] + nearest[1, 1] - 2 * nearest[0, 1])
    assert m.s_xx >= 0


def _mean_covariance(*arrays: np.ndarray) -> np.ndarray:
    """The formula of the method, one pair at a time."""
    out = np.empty((3, 3))
    for p, one in enumerate(arrays):
        for q, other in enumerate(arrays):
            both = np.isfinite(one) & np.isfinite(other)
            cov = np.cov(one[both], other[both])[0, 1]
            out[p, q] = both.sum() * cov / (np.isfinite(one).sum() * np.isfinite(other).sum())
    return out


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("r", [-1.0, 0.0, 0.8])
def test_fieller_covers_the_truth_at_its_nominal_rate(seeds, r):
    """Normal scores with a shared seed effect, a self-gain of ten seed deviations, 4,000 draws a case."""
    rng = np.random.default_rng(seeds * 100 + round(10 * r))
    draws, gain, sd = 4000, 0.2, 0.02
    shared = rng.normal(0, sd, (draws, seeds))
    a, b, c = (0.5 + added + shared + rng.normal(0, sd, (draws, seeds)) for added in (r * gain, 0.0, gain))
    interval = fieller(moments(a, b, c))
    bounded = interval.g < 1
    covered = (interval.lower <= r) & (r <= interval.upper)
    assert bounded.mean() > 0.95
    assert 0.93 <= covered[bounded].mean() <= 0.98
