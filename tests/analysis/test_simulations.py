"""Simulations with a known truth: what the intervals, corrections and tests of a matrix promise.

Each runs short every time and in full under the marker `long`; the short runs have the tolerance of their size.
"""

from collections.abc import Callable

import numpy as np
import pytest

from analysis import diagnostics
from analysis.baselines import FEWEST_LANGUAGES, language_interval
from analysis.beside import BESIDE, evidence
from analysis.inference import Call, cell_tests
from analysis.matrix import CLTM, Status, from_values
from analysis.summary import OVER_LANGUAGES
from analysis.uncertainty import fieller, moments
from tests.analysis.simulated import FAMILIES, SETTINGS, SeedNoise, agnostic, matrix, simulate, spread

HARDER = {**SETTINGS, "around_zero": spread(0.0, 0.3)}
INTERVALS = ("rfd", "relative_asymmetry", "rms", "average_row_cosine", "prop_positive", "prop_negative",
             "prop_above_one", "reciprocity_positive")  # fmt: skip
ROUNDING = 1e-9


def runs(short: int, full: int) -> pytest.MarkDecorator:
    """Both sizes of a simulation."""
    return pytest.mark.parametrize("size", [short, pytest.param(full, marks=[pytest.mark.slow, pytest.mark.long])])


@runs(2000, 40_000)
@pytest.mark.parametrize(("seeds", "errors"), [(3, 10), (5, 4), (5, 10), (10, 4), (10, 10)])
@pytest.mark.parametrize("r", [-1.0, 0.0, 0.5, 1.0])
def test_fieller_covers_at_its_nominal_rate(size, seeds, errors, r):
    """Self-gains of so many of their standard errors; unbounded intervals are left out, as in the matrix."""
    rng = np.random.default_rng(seeds * 100 + errors)
    gain = errors * np.sqrt(2 / seeds)
    shared = rng.normal(size=(size, seeds))
    a, b, c = (added + shared + rng.normal(size=(size, seeds)) for added in (r * gain, 0.0, gain))
    m = moments(a, b, c)
    interval = fieller(m)
    bounded = (interval.g < 1) & (m.y > 0)
    covered = ((interval.lower <= r) & (r <= interval.upper))[bounded].mean()
    slack = 3 * np.sqrt(0.05 * 0.95 / bounded.sum()) if size < 10_000 else 0.0
    assert 0.93 - slack <= covered <= 0.98 + slack


@runs(25, 200)
def test_an_agnostic_matrix_has_no_corrected_distance_and_no_false_calls(size):
    rng = np.random.default_rng(0)
    matrices = [matrix(simulate(agnostic(rng), rng)) for _ in range(size)]
    found = [BESIDE["rfd"](evidence(m)) for m in matrices]
    calls = [cell_tests(m.scores).own for m in matrices]
    false = np.mean([test.count(Call.POSITIVE) + test.count(Call.NEGATIVE) > 0 for test in calls])
    raw = np.array([diagnostics.rfd(m) for m in matrices])
    assert raw.mean() == pytest.approx(0.155, abs=0.01)
    assert np.mean([beside.floor for beside in found]) == pytest.approx(raw.mean(), abs=0.01)
    assert abs(np.mean([beside.corrected_square for beside in found])) < 0.002
    assert false <= 0.08


@runs(25, 200)
@pytest.mark.parametrize("noise", [SeedNoise(), SeedNoise(paired=1 / 3, training=0.6)], ids=["plain", "shared"])
def test_pure_noise_leaves_rows_undefined_and_cells_undecided(size, noise):
    rng = np.random.default_rng(1)
    matrices = [matrix(simulate(agnostic(rng), rng, noise, gain=0.0)) for _ in range(size)]
    undefined = np.mean([(np.diag(m.status) == Status.UNDEFINED).mean() for m in matrices])
    calls = [cell_tests(m.scores).gain for m in matrices]
    false = np.mean([test.count(Call.POSITIVE) + test.count(Call.NEGATIVE) > 0 for test in calls])
    assert undefined >= 0.93
    assert false <= 0.08


@runs(200, 1000)
@pytest.mark.parametrize(("n", "seeds"), [(2, 10), (3, 2), (4, 3)])
def test_few_languages_and_few_seeds_call_no_more_in_error(size, n, seeds):
    rng = np.random.default_rng(n)
    tests = [cell_tests(simulate(agnostic(rng, n), rng, seeds=seeds)).own for _ in range(size)]
    assert np.mean([test.count(Call.POSITIVE) + test.count(Call.NEGATIVE) > 0 for test in tests]) <= 0.08


@pytest.mark.slow
@runs(20, 200)
@pytest.mark.parametrize("setting", HARDER)
@pytest.mark.parametrize("seeds", [5, 10])
def test_every_interval_of_an_aggregate_covers_the_truth(size, setting, seeds):
    """The truth is the aggregate of the cells used without noise."""
    rng = np.random.default_rng(2)
    hits: dict[str, list[bool]] = {key: [] for key in INTERVALS}
    for _ in range(size):
        r = HARDER[setting](rng)
        m = matrix(simulate(r, rng, seeds=seeds))
        found, truth = evidence(m), planted(r, m)
        for key in INTERVALS:
            beside = BESIDE[key](found)
            if beside.lower is not None:
                true = getattr(diagnostics, key)(truth)
                hits[key].append(beside.lower - ROUNDING <= true <= beside.upper + ROUNDING)
    needed = 0.92 if size >= 100 else 0.75
    covered = {key: float(np.mean(one)) for key, one in hits.items() if len(one) > size / 2}
    assert {*covered} >= {*INTERVALS} - {"average_row_cosine"}
    assert min(covered.values()) >= needed, covered


def test_every_interval_that_is_printed_is_simulated():
    m = matrix(simulate(spread(0.5, 0.2)(np.random.default_rng(0)), np.random.default_rng(1)))
    found = evidence(m)
    assert {key for key, of in BESIDE.items() if of(found).lower is not None} == {*INTERVALS}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_over_languages_cover_what_other_languages_would_have_given(setting):
    """The truth is the mean of the aggregate over many draws of languages, noise included."""
    rng = np.random.default_rng(3)
    matrices = [matrix(simulate(SETTINGS[setting](rng, FEWEST_LANGUAGES), rng)) for _ in range(400)]
    for key in OVER_LANGUAGES:
        of: Callable[[CLTM], float | None] = getattr(diagnostics, key)
        truth = np.mean([of(m) for m in matrices])
        bounds = [language_interval(m, of, draws=60, seed=k) for k, m in enumerate(matrices[:250])]
        assert np.mean([lower <= truth <= upper for lower, upper in bounds]) >= 0.92, key


@runs(150, 1000)
def test_the_permutation_of_families_is_uniform_where_they_mean_nothing(size):
    from analysis.baselines import family_test

    rng = np.random.default_rng(4)
    families = [f"f{i % FAMILIES}" for i in range(20)]
    codes = [f"l{i}" for i in range(20)]
    p = np.array([
        family_test(from_values(codes, rng.normal(size=(20, 20)), families), permutations=199, seed=k).p
        for k in range(size)
    ])  # fmt: skip
    for level in (0.1, 0.5, 0.9):
        assert (p <= level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / size))


def planted(r: np.ndarray, measured: CLTM) -> CLTM:
    """The truth of the cells that a measured matrix uses."""
    cells = np.where(measured.used | np.eye(measured.n, dtype=bool), r, np.nan)
    return from_values(measured.languages, cells, measured.families)
