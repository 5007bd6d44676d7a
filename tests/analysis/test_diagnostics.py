"""Aggregates: a matrix worked by hand, the published matrices to the printed digit, and matrices with holes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import diagnostics
from analysis.analyse import analyse
from analysis.diagnostics import AGGREGATES, entropy, gini, language_rows, summarise
from analysis.matrix import CLTM, from_values

DATA = Path(__file__).parents[1] / "data"
HAND = np.array([[1, 0.5, -0.5], [1, 1, 0], [2, -1, 1]])

# What the published matrices give: decimals, and the number to that many (shares in percent).
PRINTED = {
    "rfd": (3, 0.162, 2.970, 0.639),
    "relative_asymmetry": (3, 0.175, 1.084, 0.146),
    "average_row_cosine": (3, 0.990, 0.615, 0.615),
    "prop_positive": (2, 99.97, 8.93, 90.28),
    "reciprocity_positive": (2, 99.93, 1.69, 83.33),
    "intra_family_positive_mass": (2, 4.99, 41.60, 19.93),
    "intra_family_positive_cells": (2, 4.89, 15.38, 12.31),
    "intra_family_positive_rate": (1, 100.0, 22.8, 100.0),
    "rms": (3, 0.933, 2.270, 0.510),
}


def bare(values: np.ndarray, families: tuple[str, ...] = ("x", "x", "y")) -> CLTM:
    return from_values([f"l{i}" for i in range(len(values))], values.astype(float), families)


def summary(cltm: CLTM) -> dict[str, float | None]:
    return {value.aggregate.key: value.value for value in summarise(cltm)}


def test_aggregates_of_a_matrix_worked_by_hand():
    found = summary(bare(HAND))
    assert found["rfd"] == pytest.approx(math.sqrt(0.25 + 2.25 + 1 + 1 + 4) / 3)
    assert found["relative_asymmetry"] == pytest.approx(math.sqrt(2 * (0.25 + 6.25 + 1) / 9.5))
    assert found["average_row_cosine"] == pytest.approx((1.5 / math.sqrt(3) + 1 / 3 + 1 / math.sqrt(12)) / 3)
    assert found["prop_positive"] == pytest.approx(3 / 6)
    assert found["prop_negative"] == pytest.approx(2 / 6)
    assert found["prop_above_one"] == pytest.approx(1 / 6)
    assert found["reciprocity_positive"] == pytest.approx(1 / 3)
    assert found["intra_family_positive_mass"] == pytest.approx(1.5 / 3.5)
    assert found["intra_family_positive_cells"] == pytest.approx(2 / 3)
    assert found["intra_family_positive_rate"] == pytest.approx(1.0)
    assert found["intra_family_chance"] == pytest.approx(2 / 6)
    assert found["rms"] == pytest.approx(math.sqrt(6.5 / 6))
    assert found["missing_cells"] == 0
    assert found["median_se"] is found["mean_se"] is found["undefined_cells"] is None


def test_language_rows_of_a_matrix_worked_by_hand():
    first, second, third = language_rows(bare(HAND))
    assert [row.incoming for row in (first, second, third)] == pytest.approx([0.5, 1, 2])
    assert [row.outgoing for row in (first, second, third)] == pytest.approx([3, 0.5, 0])
    assert first.gini_in == pytest.approx(0.5)  # cells 0.5 and 0
    assert first.entropy_in == pytest.approx(0.0)
    assert first.entropy_out == pytest.approx(-(1 / 3) * math.log(1 / 3) - (2 / 3) * math.log(2 / 3))
    assert third.entropy_out is third.gini_out is None  # nothing positive
    assert first.self_gain is first.base is None  # a bare matrix


def test_entropy_and_gini_of_even_and_single_donors():
    assert entropy(np.ones(4)) == pytest.approx(math.log(4))
    assert gini(np.ones(4)) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 5.0])) == pytest.approx(0.75)


def test_spectral_numbers_of_all_ones_and_of_the_identity():
    found = summary(bare(np.ones((3, 3))))
    assert found["spectral_radius"] == pytest.approx(3.0)
    assert found["condition_number"] is None  # singular
    assert found["pca_components"] is None  # no variance
    assert summary(bare(np.eye(3)))["condition_number"] == pytest.approx(1.0)
    assert summary(bare(np.eye(3)))["pca_components"] == 2


@pytest.mark.parametrize(("position", "name"), [(0, "gender"), (1, "sv"), (2, "asr")])
def test_published_matrices_give_the_printed_numbers(position, name):
    analysis = analyse(DATA / f"{name}_mhubert.csv", DATA / "families.csv")
    found = {value.aggregate.key: (value.aggregate, value.value) for value in analysis.values}
    assert analysis.cltm.n == (54, 44, 9)[position]
    for key, (decimals, *expected) in PRINTED.items():
        aggregate, value = found[key]
        assert f"{value * (100 if aggregate.percent else 1):.{decimals}f}" == f"{expected[position]:.{decimals}f}", key


def test_a_missing_cell_is_kept_out_and_the_diagonal_keeps_its_weight():
    values = HAND.astype(float)
    values[0, 2] = np.nan
    found = summary(bare(values))
    assert found["missing_cells"] == 1
    assert found["used_cells"] == 5
    assert found["rfd"] == pytest.approx(math.sqrt(2 / 3 * (0.25 + 0 + 1 + 1 + 4) / 5))
    assert found["rms"] == pytest.approx(math.sqrt((0.25 + 1 + 0 + 4 + 1) / 5))
    assert found["prop_positive"] == pytest.approx(3 / 5)
    assert found["reciprocity_positive"] == pytest.approx(1 / 2)
    # Pairs (0, 1) and (1, 2): differences 0.5 and 1, squares 0.25, 1, 0, 1.
    assert found["relative_asymmetry"] == pytest.approx(math.sqrt(2 * (1.25 / 2) / (2 * (2.25 / 4) + 1)))
    # Row 0 is (1, 0.5, -): its cosines are over the first two columns.
    cosines = (1.5 / math.sqrt(1.25 * 2), 1.5 / math.sqrt(1.25 * 5), 1 / math.sqrt(12))
    assert found["average_row_cosine"] == pytest.approx(sum(cosines) / 3)
    assert found["pca_components"] is found["spectral_radius"] is found["condition_number"] is None


@given(st.integers(0, 10_000), st.integers(2, 7))
def test_formulas_with_and_without_holes_agree_on_a_full_matrix(draw, n):
    values = np.random.default_rng(draw).normal(0, 2, (n, n))
    np.fill_diagonal(values, 1.0)
    found = summary(bare(values, ("",) * n))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert found["rfd"] == pytest.approx(np.linalg.norm(values - 1) / n)
    assert found["relative_asymmetry"] == pytest.approx(np.linalg.norm(values - values.T) / np.linalg.norm(values))
    assert found["average_row_cosine"] == pytest.approx((cosine.sum() - n) / (n * (n - 1)))


def test_a_language_without_any_used_cell_changes_no_mean_over_the_others():
    values = np.full((4, 4), np.nan)
    values[:3, :3] = HAND
    np.fill_diagonal(values, 1.0)
    with_empty, without = summary(bare(values, ("x", "x", "y", "y"))), summary(bare(HAND))
    keys = ("rms", "prop_positive", "reciprocity_positive", "intra_family_positive_mass", "average_row_cosine")
    for key in keys:
        assert with_empty[key] == pytest.approx(without[key]), key


def test_two_unknown_families_are_never_the_same_one():
    found = summary(bare(HAND, ("", "", "y")))
    assert found["intra_family_positive_mass"] == 0.0
    assert found["intra_family_positive_rate"] is None  # no cell lies inside a family
    nothing_known = summary(bare(HAND, ("", "", "")))
    assert nothing_known["intra_family_positive_mass"] is nothing_known["intra_family_chance"] is None


def test_a_single_language_and_an_empty_matrix_have_no_aggregate():
    for cltm in (bare(np.ones((1, 1)), ("x",)), bare(np.where(np.eye(3), 1.0, np.nan))):
        found = summary(cltm)
        counts = ("used_cells", "missing_cells")
        assert all(value is None for key, value in found.items() if key not in counts), found
        assert found["used_cells"] == 0


def test_every_aggregate_has_a_key_of_its_own_and_a_function_of_that_name():
    keys = [aggregate.key for aggregate in AGGREGATES]
    assert len(set(keys)) == len(keys)
    for aggregate in AGGREGATES:
        assert getattr(diagnostics, aggregate.key) is aggregate.of
        assert aggregate.meaning.endswith(".")


def test_standard_errors_are_summarised_over_used_cells():
    cltm = bare(HAND)
    se = np.array([[0, 0.1, 0.2], [0.3, 0, 0.4], [0.9, np.nan, 0]])
    found = summary(replace(cltm, se=se))
    assert found["median_se"] == pytest.approx(0.3)
    assert found["mean_se"] == pytest.approx(1.9 / 5)
