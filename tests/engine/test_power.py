"""What seeds can show: against simulations, and against the test that the analysis uses."""

import numpy as np
import pytest

from analysis.inference import cell_tests
from analysis.scores import Scores
from analysis.uncertainty import moments
from engine.power import Counts, best_counts, cell_variance, equal_counts, noise, smallest_gain

SD, DRAWS = 0.02, 400


def draw(rng: np.random.Generator, correlation: float, *shape: int) -> np.ndarray:
    """Scores of targets: (..., conditions, seeds) whose conditions share what a seed adds."""
    shared = rng.normal(0, SD * np.sqrt(correlation), (*shape[:-2], 1, shape[-1]))
    return shared + rng.normal(0, SD * np.sqrt(1 - correlation), shape)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_noise_finds_spread_and_correlation_and_its_interval_covers(correlation: float) -> None:
    rng = np.random.default_rng(1)
    means = np.array([0.5, 0.6, 0.52, 0.58])[:, None]  # of conditions: they must not matter
    found = [noise([means + one for one in draw(rng, correlation, 3, 4, 4)]) for _ in range(DRAWS)]
    assert all(one is not None for one in found)
    assert np.median([one.correlation for one in found if one]) == pytest.approx(correlation, abs=0.06)
    assert np.sqrt(np.mean([one.sd**2 for one in found if one])) == pytest.approx(SD, rel=0.05)
    covered = np.mean([one.low <= correlation <= one.high for one in found if one])
    assert 0.92 <= covered <= 0.98


def test_noise_is_unknown_without_two_seeds_or_without_variation() -> None:
    assert noise([]) is None
    assert noise([np.ones((4, 1))]) is None
    assert noise([np.ones((4, 5))]) is None


@pytest.mark.parametrize(
    ("counts", "correlation", "power"),
    [(Counts(8, 8, 8), 0.5, 0.8), (Counts(12, 12, 4), 0.0, 0.7)],  # unequal seeds: the analysis counts the fewest
)
def test_the_analysis_calls_the_smallest_gain_about_as_often_as_it_says(
    counts: Counts, correlation: float, power: float
) -> None:
    size, rng, called = 20, np.random.default_rng(2), []
    gain = smallest_gain(SD, correlation, counts, size)
    assert gain is not None
    for _ in range(20):
        scores = 0.5 + draw(rng, correlation, size, size + 2, counts.base)
        has = rng.permuted(np.arange(size * size).reshape(size, size) % 2 == 0)
        cross = scores[:, 2:] + gain * has[..., None]
        cross[np.eye(size, dtype=bool)] = np.nan
        cross[..., counts.cross :] = np.nan
        names, seeds = tuple(f"l{n}" for n in range(size)), tuple(range(counts.base))
        tests = cell_tests(Scores(names, seeds, "f1", False, scores[:, 0], scores[:, 1] + 5 * gain, cross))
        off = ~np.eye(size, dtype=bool)
        called.append((tests.gain.call == "positive")[has & off].mean())
    assert np.mean(called) == pytest.approx(power, abs=0.06)


def test_no_gain_can_be_called_with_one_seed() -> None:
    assert smallest_gain(SD, 0.3, Counts(1, 1, 1), 10) is None


@pytest.mark.parametrize("counts", [Counts(6, 6, 6), Counts(12, 12, 4), Counts(12, 8, 4)])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_cell_variance_is_that_of_simulated_cells(counts: Counts, correlation: float) -> None:
    gain, r, draws = 40 * SD, 0.7, 20_000
    scores = draw(np.random.default_rng(3), correlation, draws, 3, counts.base)
    base, own, cross = scores[:, 0], scores[:, 1] + gain, scores[:, 2] + r * gain
    own[:, counts.self_ :], cross[:, counts.cross :] = np.nan, np.nan
    m = moments(cross, base, own)
    expected = cell_variance(correlation, np.array([r]), counts) * (SD / gain) ** 2
    assert (m.x / m.y).var() == pytest.approx(expected, rel=0.05)


def test_which_division_is_best_turns_with_the_correlation() -> None:
    r, size = np.array([0.0]), 44
    budget = Counts(10, 10, 10).trainings(size)
    assert budget == 10_340
    assert equal_counts(size, budget) == Counts(10, 10, 10)
    low = best_counts(0.0, r, size, budget)
    assert low.base > low.cross
    assert low.trainings(size) <= budget
    gain = cell_variance(0.0, r, low) / cell_variance(0.0, r, Counts(10, 10, 10))
    assert 0.5 <= gain < 0.85
    assert best_counts(0.6, r, size, budget) == Counts(10, 10, 10)
