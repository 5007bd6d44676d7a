"""The matrix: planted values come back, each status by its rule, and the symmetries that r must have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.analyse import analyse
from analysis.diagnostics import summarise
from analysis.matrix import CLTM, Status, from_scores
from analysis.scores import Scores
from tests.analysis.factories import Folder, results, rows, truth

FAMILIES = Path(__file__).parents[1] / "data" / "families.csv"


def random_scores(n: int, seeds: int, draw: int, noise: float = 0.02) -> Scores:
    rng = np.random.default_rng(draw)
    base = 0.5 + rng.normal(0, noise, (n, seeds))
    self_ = base + rng.uniform(0.1, 0.2, (n, 1)) + rng.normal(0, noise, (n, seeds))
    cross = base[:, None] + rng.uniform(-0.2, 0.2, (n, n, 1)) + rng.normal(0, noise, (n, n, seeds))
    cross[np.arange(n), np.arange(n)] = np.nan
    return Scores(tuple(f"l{i}" for i in range(n)), tuple(range(seeds)), "f1", False, base, self_, cross)


def matrix(scores: Scores, families: tuple[str, ...] | None = None) -> CLTM:
    return from_scores(scores, families or ("",) * len(scores.languages))


def one_target(base: list[float], self_: list[float], cross: list[float]) -> CLTM:
    """A matrix of two languages, of which the first has these scores and the second plain ones."""
    seeds = len(base)
    plain = np.linspace(0.49, 0.51, seeds)
    grid = np.full((2, 2, seeds), np.nan)
    grid[0, 1], grid[1, 0] = cross, plain + 0.1
    return matrix(
        Scores(
            ("a", "b"), tuple(range(seeds)), "f1", False, np.array([base, plain]), np.array([self_, plain + 0.2]), grid
        )
    )


def test_a_two_by_two_matrix_worked_by_hand():
    cltm = one_target([0.5, 0.5, 0.5], [0.7, 0.7, 0.7], [0.60, 0.62, 0.64])
    np.testing.assert_allclose(cltm.r, [[1, 0.6], [0.5, 1]])
    np.testing.assert_allclose(cltm.se, [[0, 0.02 / np.sqrt(3) / 0.2], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(cltm.self_gain, [0.2, 0.2])
    np.testing.assert_allclose(cltm.moments.x[0, 1], 0.12)
    np.testing.assert_allclose(cltm.relative_gain, [[0.4, 0.24], [0.2, 0.4]])
    assert (cltm.status == Status.DEFINED).all()


def test_the_ratio_is_of_means_and_not_a_mean_of_ratios():
    cltm = one_target([0.5, 0.5, 0.5], [0.51, 0.6, 0.69], [0.6, 0.6, 0.6])
    assert cltm.r[0, 1] == pytest.approx(1.0)  # 0.1 / 0.1; the mean of 10, 1 and 0.53 would be 3.8


def test_planted_matrix_comes_back_from_noise_free_scores(tmp_path):
    planted = truth(6)
    cltm = analyse(results(tmp_path, planted), FAMILIES).cltm
    np.testing.assert_allclose(cltm.r, planted.r, atol=1e-9)
    np.testing.assert_allclose(cltm.self_gain, planted.gain)
    assert cltm.languages == planted.codes


def test_planted_matrix_lies_inside_the_intervals_of_noisy_scores(tmp_path):
    planted = truth(14, seed=3)
    planted = replace(planted, gain=np.full(14, 0.15))
    cltm = analyse(results(tmp_path, planted, Folder(seeds=range(6), noise=0.01)), FAMILIES).cltm
    inside = (cltm.lower <= planted.r) & (planted.r <= cltm.upper)
    assert (cltm.status == Status.DEFINED).all()
    assert inside[cltm.used].mean() > 0.9


def test_an_error_rate_gives_the_same_r_as_its_complement(tmp_path):
    planted, noisy = truth(4), Folder(noise=0.01)
    score = analyse(results(tmp_path / "score", planted, noisy), FAMILIES).cltm
    rate = analyse(results(tmp_path / "rate", planted, replace(noisy, metric="wer", higher_is_better=False)), FAMILIES)
    np.testing.assert_allclose(rate.cltm.r, score.r)
    np.testing.assert_allclose(rate.cltm.relative_gain, score.relative_gain)
    assert rate.cltm.scores is not None
    assert rate.cltm.scores.inverted


def test_a_self_gain_lost_in_noise_makes_its_row_undefined():
    cltm = one_target([0.5, 0.6, 0.4], [0.62, 0.49, 0.52], [0.6, 0.6, 0.6])
    assert cltm.g[0, 1] >= 1
    assert cltm.status[0, 1] == Status.UNDEFINED
    assert cltm.status[1, 0] == Status.DEFINED
    assert not cltm.used[0, 1]
    assert np.isnan(cltm.values[0, 1])
    assert cltm.values[0, 0] == 1


def test_own_data_that_hurts_makes_its_row_negative():
    cltm = one_target([0.50, 0.51, 0.52], [0.40, 0.41, 0.421], [0.6, 0.6, 0.6])
    assert cltm.g[0, 1] < 1
    assert cltm.status[0, 1] == Status.NEGATIVE
    assert not cltm.used[0, 1]


def test_one_seed_is_undetermined_with_a_positive_self_gain_and_undefined_without():
    assert one_target([0.5], [0.7], [0.6]).status[0, 1] == Status.UNDETERMINED
    assert one_target([0.5], [0.7], [0.6]).used[0, 1]
    assert one_target([0.5], [0.5], [0.6]).status[0, 1] == Status.UNDEFINED
    assert one_target([0.5], [0.4], [0.6]).status[0, 1] == Status.UNDEFINED


def test_a_cell_of_one_seed_in_an_undefined_row_is_undefined():
    nan = np.nan
    cltm = one_target([0.5, 0.6, 0.4], [0.62, 0.49, 0.52], [0.6, nan, nan])
    assert cltm.status[0, 1] == Status.UNDEFINED
    sound = one_target([0.5, 0.51, 0.52], [0.7, 0.71, 0.72], [0.6, nan, nan])
    assert sound.status[0, 1] == Status.UNDETERMINED
    assert sound.r[0, 1] == pytest.approx((0.6 - 0.51) / 0.2)


def test_a_cell_without_cross_scores_is_missing_and_has_no_number():
    nan = np.nan
    cltm = one_target([0.5, 0.5], [0.7, 0.7], [nan, nan])
    assert cltm.status[0, 1] == Status.MISSING
    assert np.isnan([cltm.r[0, 1], cltm.se[0, 1], cltm.lower[0, 1]]).all()


def test_a_gain_is_reported_where_the_self_score_is_missing():
    nan = np.nan
    cltm = one_target([0.5, 0.5], [nan, nan], [0.6, 0.6])
    assert cltm.status[0, 1] == Status.MISSING
    assert cltm.moments.x[0, 1] == pytest.approx(0.1)
    assert np.isnan(cltm.r[0, 1])
    assert cltm.gain_se[0, 1] == pytest.approx(0.0)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_diagonal_is_one_without_error(n, seeds, draw):
    cltm = matrix(random_scores(n, seeds, draw))
    np.testing.assert_array_equal(np.diag(cltm.r), np.ones(n))
    np.testing.assert_array_equal(np.diag(cltm.se), np.zeros(n))


@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-20, 20))
def test_r_and_its_error_do_not_change_under_a_linear_change_of_the_score(draw, slope, shift):
    scores = random_scores(4, 4, draw)
    moved = replace(scores, **{name: slope * getattr(scores, name) + shift for name in ("base", "self_", "cross")})
    one, other = matrix(scores), matrix(moved)
    for name in ("r", "se", "lower", "upper", "g"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(one.status, other.status)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_permuting_languages_permutes_the_matrix_and_leaves_the_aggregates(draw, order):
    families = ("x", "x", "", "y", "")
    scores = random_scores(5, 3, draw, noise=0.05)
    scores.cross[0, 1] = np.nan
    index = list(order)
    moved = replace(
        scores, languages=tuple(scores.languages[i] for i in index), base=scores.base[index], self_=scores.self_[index],
        cross=scores.cross[np.ix_(index, index)],
    )  # fmt: skip
    one, other = matrix(scores, families), matrix(moved, tuple(families[i] for i in index))
    np.testing.assert_allclose(other.r, one.r[np.ix_(index, index)])
    for before, after in zip(summarise(one), summarise(other), strict=True):
        assert after.value == pytest.approx(before.value), before.aggregate.key


def test_every_finished_seed_counts_whatever_its_score(tmp_path):
    planted = truth(3)
    frame = rows(planted, Folder(seeds=range(4)))
    frame.loc[(frame.role == "self") & (frame.seed == 3), "value"] = 0.0
    cltm = analyse(results(tmp_path, planted, Folder(seeds=range(4)), frame), FAMILIES).cltm
    assert (cltm.moments.count[cltm.off_diagonal] == 4).all()
    np.testing.assert_allclose(cltm.self_gain, 0.75 * (planted.base + planted.gain) - planted.base)
