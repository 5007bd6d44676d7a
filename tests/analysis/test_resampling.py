"""Errors of aggregates: against the delta method, by hand, and absent where nothing is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import diagnostics
from analysis.baselines import family_test, language_interval, row_correlation, take
from analysis.beside import BESIDE, Beside, evidence
from analysis.cltm import main
from analysis.matrix import from_values
from analysis.resampling import (
    Linear,
    asymmetry_floor,
    asymmetry_square,
    linear,
    resample,
    rfd_floor,
    rfd_square,
    without,
)
from analysis.summary import beside_text, summary
from tests.analysis.factories import Folder, results, truth
from tests.analysis.simulated import SeedNoise, matrix, simulate, spread, with_diagonal


def test_parts_square_and_add_up_to_the_delta_methods_variance():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 6), np.random.default_rng(1)))
    one = linear(m.scores, m.used)
    np.testing.assert_allclose(one.r, m.r)
    np.testing.assert_allclose(one.variance, m.se**2, rtol=1e-9)


def test_parts_of_two_directions_hold_the_covariance_of_one_training():
    """Both scores of a training share its noise; over many draws the covariance is found again."""
    rng, n = np.random.default_rng(2), 3
    noise, r = SeedNoise(0.1, training=0.8), with_diagonal(np.full((n, n), 0.5))
    drawn = [matrix(simulate(r, rng, noise)) for _ in range(3000)]
    estimates = np.array([(m.r[0, 1], m.r[1, 0]) for m in drawn])
    parts = [linear(m.scores, m.used).parts for m in drawn[:500]]
    found = np.mean([(one[0, 1] * one[1, 0]).sum() for one in parts])
    assert found == pytest.approx(np.cov(estimates.T)[0, 1], rel=0.1)


def test_the_floor_of_rfd_is_the_formula_of_the_method():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 5), np.random.default_rng(1)))
    s = m.scores
    difference = s.cross - s.self_[:, None]
    var0 = difference.var(axis=-1, ddof=1) / len(s.seeds) / m.self_gain[:, None] ** 2
    expected = np.sqrt(var0[m.off_diagonal].sum()) / m.n
    assert rfd_floor(linear(s, m.used, agnostic=True)) == pytest.approx(expected)
    assert evidence_of(m, "rfd").floor == pytest.approx(expected)


@pytest.mark.parametrize(("other", "variance"), [(1, 0.0), (0, 1.0), (-1, 4.0)])
def test_noise_that_two_directions_share_makes_no_asymmetry(other, variance):
    parts = np.zeros((2, 2, 1))
    parts[0, 1], parts[1, 0] = 0.1, 0.1 * other
    one = Linear(np.ones((2, 2)), parts, ~np.eye(2, dtype=bool))
    square = 1 + 0.01 * (1 + other**2) / 2
    assert asymmetry_floor(one) == pytest.approx(np.sqrt(0.01 * variance / (square + 1)))
    assert asymmetry_square(one) == pytest.approx(-0.01 * variance / (3 - square))


def test_the_corrected_square_is_the_square_less_the_squared_errors():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 5), np.random.default_rng(1)))
    expected = diagnostics.rfd(m) ** 2 - (m.se[m.off_diagonal] ** 2).sum() / m.n**2
    beside = evidence_of(m, "rfd")
    assert beside.corrected_square == pytest.approx(expected)
    assert beside.corrected == pytest.approx(np.sqrt(expected))
    assert beside.lower < beside.corrected < beside.upper


def test_a_negative_square_is_kept_and_its_root_is_zero():
    for draw in range(50):
        m = matrix(simulate(np.ones((6, 6)), np.random.default_rng(draw)))
        beside = evidence_of(m, "rfd")
        if beside.corrected_square < 0:
            assert beside.corrected == beside.lower == 0.0
            return
    pytest.fail("an agnostic matrix never gave a negative square")


def test_without_noise_every_correction_is_nothing_and_every_interval_has_width_zero():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 6), np.random.default_rng(1), SeedNoise(0.0)))
    for value in summary(m):
        beside = value.beside
        if beside.corrected is not None:
            assert [beside.corrected, beside.lower, beside.upper] == pytest.approx([value.value] * 3, abs=1e-6)
    assert evidence_of(m, "relative_asymmetry").floor == pytest.approx(0, abs=1e-9)
    assert evidence_of(m, "average_row_cosine").floor == pytest.approx(1)
    assert evidence_of(m, "average_row_cosine").ceiling == pytest.approx(1)
    assert evidence_of(m, "row_correlation").ceiling == pytest.approx(1)


def test_below_five_seeds_no_aggregate_has_an_interval():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 8), np.random.default_rng(1), seeds=4))
    values = summary(m)
    assert all(value.beside.lower is value.beside.upper is None for value in values)
    assert evidence_of(m, "rfd").floor > 0
    one_short = simulate(with_diagonal(np.full((8, 8), 0.5)), np.random.default_rng(1), seeds=6)
    one_short.cross[0, 1, 4:] = np.nan
    assert evidence_of(matrix(one_short), "rfd").lower is None


def test_one_seed_and_a_bare_matrix_have_nothing_beside_but_chance():
    single = matrix(simulate(with_diagonal(np.full((4, 4), 0.5)), np.random.default_rng(1), seeds=1))
    bare = from_values(single.languages, single.values, single.families)
    for m in (single, bare):
        assert resample(m) is None
        for value in summary(m):
            assert {*value.beside.known()} <= {"chance", "chance_p"}, value.aggregate.key


def test_missing_cells_and_unequal_seeds_leave_floors_and_intervals():
    scores = simulate(spread(0.5, 0.3)(np.random.default_rng(0), 9), np.random.default_rng(1))
    scores.cross[0, 1] = np.nan
    scores.cross[2, 3, 7:] = np.nan
    m = matrix(scores)
    one = linear(scores, m.used)
    assert one.variance[2, 3] == pytest.approx(m.se[2, 3] ** 2, rel=0.25)
    beside = evidence_of(m, "relative_asymmetry")
    assert beside.lower < beside.upper
    assert np.isfinite(rfd_square(one))


def test_leaving_out_a_seed_leaves_out_that_seed_everywhere():
    scores = simulate(np.ones((3, 3)), np.random.default_rng(0), seeds=4)
    fewer = without(scores, 2)
    assert fewer.seeds == (0, 1, 3)
    np.testing.assert_array_equal(fewer.base, scores.base[:, [0, 1, 3]])
    np.testing.assert_array_equal(fewer.cross, scores.cross[..., [0, 1, 3]])


def test_the_row_cosine_of_noisy_equal_rows_is_corrected_to_one():
    found = [evidence_of(matrix(simulate(np.ones((20, 20)), np.random.default_rng(k))), "average_row_cosine")
             for k in range(10)]  # fmt: skip
    assert np.mean([beside.corrected for beside in found]) == pytest.approx(1, abs=0.002)
    assert np.mean([beside.floor for beside in found]) < 0.992


def test_row_correlation_worked_by_hand_and_deaf_to_levels():
    r = with_diagonal(np.tile(np.array([0.1, 0.4, 0.2, 0.9, 0.5]), (5, 1)))
    shifted = with_diagonal(r * np.arange(1, 6)[:, None] + np.arange(5)[:, None])
    assert row_correlation(bare(shifted)) == pytest.approx(1)
    rng = np.random.default_rng(0)
    r = with_diagonal(rng.normal(size=(5, 5)))
    expected = []
    for i in range(5):
        for k in range(5):
            others = [j for j in range(5) if j not in (i, k)]
            expected += [] if i == k else [np.corrcoef(r[i, others], r[k, others])[0, 1]]
    assert row_correlation(bare(r)) == pytest.approx(np.mean(expected))


def test_family_permutation_finds_a_planted_family_and_leaves_chance_alone():
    families = tuple("aabbccdd")
    planted = with_diagonal(np.where(np.array(list(families))[:, None] == np.array(list(families)), 2.0, 0.1))
    test = family_test(from_values([f"l{i}" for i in range(8)], planted, families))
    assert test.p < 0.02
    assert test.observed == pytest.approx(16 / (16 + 48 * 0.1))
    even = family_test(from_values([f"l{i}" for i in range(8)], np.ones((8, 8)), families))
    assert [even.observed, even.chance] == pytest.approx([8 / 56, 8 / 56])
    assert even.p == 1.0
    assert family_test(from_values(["a", "b"], np.ones((2, 2)), ("", ""))) is None
    assert family_test(from_values(["a", "b"], np.ones((2, 2)), ("x", "y"))) is None


def test_the_test_of_families_and_the_aggregate_measure_the_same_share():
    m = bare(with_diagonal(np.random.default_rng(1).normal(size=(9, 9))))
    assert family_test(m).observed == pytest.approx(diagnostics.intra_family_positive_mass(m))


def test_taking_languages_twice_leaves_their_own_cells_out():
    m = bare(with_diagonal(np.arange(9.0).reshape(3, 3)))
    taken = take(m, np.array([0, 2, 2]))
    assert taken.used.tolist() == [[False, True, True], [True, False, False], [True, False, False]]
    assert taken.r[0, 1] == m.r[0, 2]


def test_intervals_over_languages_need_forty_and_are_asked_for():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 40), np.random.default_rng(1), seeds=5))
    lower, upper = language_interval(m, diagnostics.rfd, draws=50)
    assert lower < diagnostics.rfd(m) < upper
    assert language_interval(take(m, np.arange(39)), diagnostics.rfd, draws=50) is None
    with_draws = {value.aggregate.key: value.beside for value in summary(m, language_draws=50)}
    assert with_draws["rfd"].language_lower == pytest.approx(lower)
    assert with_draws["prop_positive"].language_lower is None
    assert all(value.beside.language_lower is None for value in summary(m))


def test_the_profile_paper_is_the_published_numbers_alone():
    m = matrix(simulate(spread(0.5, 0.3)(np.random.default_rng(0), 6), np.random.default_rng(1)))
    paper, full = summary(m, "paper"), {value.aggregate.key: value for value in summary(m)}
    assert [value.aggregate.key for value in paper] == [one.key for one in diagnostics.AGGREGATES]
    assert all(value.beside == Beside() for value in paper)
    assert all(full[value.aggregate.key].value == value.value for value in paper)
    assert "95 %" in beside_text(full["rfd"])
    assert beside_text(paper[0]) == ""


def test_everything_beside_names_an_aggregate():
    m = matrix(simulate(np.ones((4, 4)), np.random.default_rng(0)))
    assert {*BESIDE} <= {value.aggregate.key for value in summary(m)}


def test_affine_scores_change_nothing():
    scores = simulate(spread(0.5, 0.3)(np.random.default_rng(0), 6), np.random.default_rng(1))
    other = replace(scores, base=3 * scores.base + 1, self_=3 * scores.self_ + 1, cross=3 * scores.cross + 1)
    for one, two in zip(summary(matrix(scores)), summary(matrix(other)), strict=True):
        assert one.beside.known() == pytest.approx(two.beside.known(), rel=1e-6, abs=1e-9), one.aggregate.key


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["paper", "recommended"])
def test_the_command_writes_tests_and_what_stands_beside_unless_the_paper_is_asked_for(tmp_path, capsys, profile):
    folder = results(tmp_path, truth(4), Folder(seeds=range(6), noise=0.01))
    assert main([str(folder), "--out", str(tmp_path / "o"), "--profile", profile]) == 0
    found = json.loads((tmp_path / "o" / "summary.json").read_text())
    cells = pd.read_parquet(tmp_path / "o" / "cells.parquet")
    assert {one.key for one in diagnostics.AGGREGATES} <= found.keys()
    assert found["profile"] == profile
    if profile == "paper":
        assert found["beside"] == {}
        assert not {"p_gain", "class"} & {*cells.columns}
        assert "without noise" not in capsys.readouterr().out
        return
    assert found["beside"]["rfd"].keys() >= {"floor", "corrected_square", "corrected", "lower", "upper"}
    assert found["positive_cells"] + found["negative_cells"] + found["undecided_cells"] == 12
    assert {*cells["class"]} <= {"positive", "negative", "undecided", "untested"}
    assert (cells.loc[cells["target"] == cells["donor"], "q_gain"]).isna().all()
    assert cells.loc[cells["target"] != cells["donor"], ["p_gain", "q_gain", "p_self", "q_self"]].notna().all(axis=None)
    assert "without noise" in capsys.readouterr().out


def bare(values):
    return from_values([f"l{i}" for i in range(len(values))], values, [f"f{i % 3}" for i in range(len(values))])


def evidence_of(m, key):
    return BESIDE[key](evidence(m))
