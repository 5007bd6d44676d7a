"""Learning curves: gains of doublings, usable N, fits, the published rule. Worked by hand, and with simulated truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.curves import (
    Curves,
    Doublings,
    choose,
    doublings,
    fit,
    logistic,
    paper_choice,
    paper_index,
    points,
    power,
)

SIZES = (30, 60, 120, 240, 480)


def curves(values: np.ndarray, sizes: tuple[int, ...] = SIZES) -> Curves:
    n, _, seeds = values.shape
    return Curves(tuple(f"l{i}" for i in range(n)), sizes, tuple(range(seeds)), "f1", inverted=False, values=values)


def test_a_doubling_worked_by_hand():
    values = np.array([[[0.50, 0.52, 0.54], [0.58, 0.62, 0.66]]])  # gains 0.08, 0.10, 0.12
    found = doublings(curves(values, (30, 60)))
    assert found.sizes == (30,)
    assert found.gain[0, 0] == pytest.approx(0.10)
    assert found.se[0, 0] == pytest.approx(0.02 / np.sqrt(3))
    assert found.g[0, 0] == pytest.approx((4.302652729911275 * 0.02 / np.sqrt(3) / 0.10) ** 2)
    assert found.usable[0, 0] == (found.g[0, 0] <= 0.25)
    assert found.usable[0, 0]


def test_pairing_matters_noise_that_the_seeds_share_costs_nothing():
    shared = np.array([-0.2, 0.0, 0.2])
    values = np.stack([0.5 + shared, 0.6 + shared + [0.0, 0.001, -0.001]])[None]
    assert doublings(curves(values, (30, 60))).usable.all()


@pytest.mark.parametrize(
    "values",
    [
        [[0.6, 0.6, 0.6], [0.5, 0.5, 0.5]],  # more data hurts, without any noise
        [[0.5, 0.6, 0.7], [0.7, 0.6, 0.8]],  # a gain that can't be told from 0
        [[0.5, np.nan, np.nan], [0.6, np.nan, np.nan]],  # one seed
        [[np.nan] * 3, [0.6, 0.6, 0.6]],  # nothing to compare with
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],  # no gain, no noise
    ],
)
def test_what_is_not_usable(values):
    assert not doublings(curves(np.array([values]), (30, 60))).usable.any()


def test_sizes_without_their_double_are_not_judged_and_unequal_seeds_are():
    values = np.full((1, 4, 4), np.nan)
    values[0, :, :3] = [[0.4, 0.41, 0.42], [0.5, 0.52, 0.51], [0.6, 0.61, 0.62], [0.61, 0.63, 0.62]]
    values[0, 0, 3] = 0.41
    found = doublings(curves(values, (30, 60, 100, 120)))
    assert found.sizes == (30, 60)
    assert found.usable.all()
    assert np.isfinite(found.g).all()


def test_points_have_students_interval_and_none_with_one_seed():
    values = np.array([[[0.4, 0.5, 0.6], [0.5, np.nan, np.nan]]])
    found = points(curves(values, (30, 60)))
    half = 4.302652729911275 * 0.1 / np.sqrt(3)
    assert (found.lower[0, 0], found.upper[0, 0]) == pytest.approx((0.5 - half, 0.5 + half))
    assert np.isnan([found.sd[0, 1], found.lower[0, 1]]).all()
    assert found.count.tolist() == [[3, 1]]


def test_the_published_index_worked_by_hand():
    index = paper_index(*map(np.array, ([0.5, 0.5, 0.5], [0.01, 0.1, 0.01], [0.6, 0.6, 0.4], [0.01, 0.1, 0.01])))
    ratios = (0.1 / (0.05 * 0.5), 0.1 / (1.3 * np.sqrt(0.02)), 0.1 / np.log(2) / 0.05)
    assert index == pytest.approx([ratios[2], ratios[1], 0.0])


def found_with(paper: list[list[float]], usable: list[list[bool]] | None = None) -> Doublings:
    index = np.array(paper)
    nothing = np.zeros_like(index)
    good = nothing.astype(bool) if usable is None else np.array(usable)
    return Doublings(SIZES[: index.shape[1]], nothing, nothing, nothing, good, index)


def test_the_published_rule_takes_the_median_over_languages_and_the_largest_smoothed_one():
    found = paper_choice(found_with([[0.5, 1.5, 1.0, 0.2], [0.7, 1.7, 1.2, 0.0], [9.0, 1.6, 1.1, 0.1]]))
    assert found.medians == pytest.approx((0.7, 1.6, 1.1, 0.1))
    assert (found.size, found.outliers) == (60, ())


def test_the_published_rule_leaves_a_far_median_out_of_the_smoothing():
    found = paper_choice(found_with([[20.0, 0.6, 0.9, 0.7, 0.5]]))
    assert found.outliers == (30,)
    assert found.size == 120
    assert paper_choice(found_with([[np.nan, np.nan]])).size is None


def test_the_choice_serves_most_and_is_the_smallest_of_equals():
    found = found_with([[0.0] * 3] * 3, [[False, True, True], [True, True, True], [False, False, False]])
    choice = choose(("ca", "es", "no"), found)
    assert (choice.size, choice.served, choice.failed) == (60, ("ca", "es"), ("no",))
    nothing = choose(("ca",), found_with([[0.0]]))
    assert (nothing.size, nothing.failed) == (None, ("ca",))


@pytest.mark.parametrize("kind", ["power", "logistic"])
def test_a_curve_without_noise_is_found(kind):
    truth = {"power": (0.92, 2.1, 0.6), "logistic": (0.9, 1.1, 3.2)}[kind]
    shape = {"power": power, "logistic": logistic}[kind]
    sizes = np.array(SIZES, dtype=float)
    found = fit(kind, SIZES, shape(sizes, *truth), np.full(5, 0.01))
    assert found is not None
    assert found.parameters == pytest.approx(truth, rel=1e-3)
    assert found.r2 == pytest.approx(1.0)
    assert not found.at_bound
    np.testing.assert_allclose(found(sizes), shape(sizes, *truth), atol=1e-6)


def test_what_cannot_be_fitted_is_none():
    sizes, flat = (30, 60, 120, 240), np.full(4, 0.5)
    assert fit("power", sizes, flat, flat) is None
    assert fit("power", sizes, np.array([0.4, 0.5, np.nan, 0.6]), flat) is None
    assert fit("logistic", (), np.array([]), np.array([])) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2, 3), min_size=5, max_size=5), st.sampled_from(["power", "logistic"]))
def test_a_fit_of_any_means_is_finite_or_none(means, kind):
    found = fit(kind, SIZES, np.array(means), np.full(5, np.nan))
    assert found is None or (np.isfinite(found.parameters).all() and np.isfinite([found.r2, found.rmse]).all())


def test_simulated_curves_are_usable_where_their_true_gain_is_large_and_seldom_where_it_is_none():
    """400 languages a kind, 5 seeds of sd 0.01: d = 0.1 is 16 standard errors of it, d = 0 none."""
    rng = np.random.default_rng(1)
    rise = np.array([0.3, 0.4, 0.5, 0.6, 0.7])[None, :, None] + rng.normal(0, 0.01, (400, 5, 5))
    flat = 0.7 + rng.normal(0, 0.01, (400, 5, 5))
    assert doublings(curves(rise)).usable.mean() > 0.99
    # d > 0 and g <= 1/4 is t > 2 q: a one-sided 5 % quantile doubled, P(t_4 > 5.55) = 0.0026
    assert doublings(curves(flat)).usable.mean() < 0.008


def test_simulated_power_laws_are_recovered_within_their_errors():
    rng = np.random.default_rng(2)
    sizes = np.array(SIZES, dtype=float)
    near = []
    for _ in range(60):
        values = power(sizes, 0.9, 3.0, 0.7)[None, :, None] + rng.normal(0, 0.01, (1, 5, 10))
        p = points(curves(values))
        found = fit("power", SIZES, p.mean[0], p.sd[0] / np.sqrt(10))
        assert found is not None
        near.append(abs(float(found(np.array(960.0))) - power(np.array(960.0), 0.9, 3.0, 0.7)))
    assert np.median(near) < 0.01
