"""Mantel tests: exact statistics, uniform p-values under the null, families kept together, honest gaps."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from analysis.distances import (
    Distance,
    distance_tests,
    family_orders,
    free_orders,
    known_distances,
    mantel,
    permutation_p,
    read_distance,
)  # fmt: skip
from analysis.families import families_of
from analysis.matrix_csv import matrix_text, read_matrix
from analysis.structure import decompose
from grids.errors import UserError
from grids.languages import language

DATA = Path(__file__).parents[1] / "data"


def points(n: int, rng: np.random.Generator) -> np.ndarray:
    place = rng.normal(0, 1, (n, 2))
    return np.linalg.norm(place[:, None] - place[None], axis=-1)


def names(n: int) -> tuple[str, ...]:
    return tuple(f"l{i}" for i in range(n))


@pytest.mark.parametrize("holes", [False, True])
def test_permuting_residuals_is_recomputing_them(holes):
    rng = np.random.default_rng(0)
    values, distance = rng.normal(0, 1, (7, 7)), points(7, rng)
    if holes:
        values[0, 3] = values[5] = np.nan
    orders = free_orders(7, 20, rng)
    observed, found = mantel(decompose(values).residual, distance, orders)
    for order, r in zip([np.arange(7), *orders], [observed, *found], strict=True):
        e = decompose(values[np.ix_(order, order)]).residual
        seen = np.isfinite(e)
        assert r == pytest.approx(np.corrcoef(e[seen], distance[seen])[0, 1])


def null_p(repeats: int, n: int, family: np.ndarray, family_effect: float, strict: bool) -> np.ndarray:
    """p-values where the distance has no effect of its own, but may share families with the matrix."""
    rng = np.random.default_rng(repeats)
    labels = [str(one) for one in family]
    found = []
    for _ in range(repeats):
        centre = rng.normal(0, 3, (family.max() + 1, 2))
        place = centre[family] + rng.normal(0, 1, (n, 2)) if family_effect else rng.normal(0, 1, (n, 2))
        distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
        rows = rng.normal(0, 1, (n, 1)) * np.exp(rng.normal(0, 0.7, (n, 1)))  # targets differ in level and in noise
        values = rows + np.exp(rng.normal(0, 0.5, (n, 1))) * rng.normal(0, 1, (n, n))
        values += family_effect * (family[:, None] == family[None, :])
        (test,) = distance_tests(values, names(n), labels, [Distance("d", "", "", distance)], 99)
        found.append(test.p_strict if strict else test.p)
    return np.array(found)


def uniform(p: np.ndarray) -> bool:
    """Whether p-values on the grid 0.01, 0.02, ... look uniform."""
    spread = p - np.random.default_rng(0).uniform(0, 0.01, len(p))
    return bool(kstest(spread, "uniform").pvalue > 0.01)


@pytest.mark.slow
def test_p_is_uniform_under_the_null():
    family = np.repeat(np.arange(4), 3)
    assert uniform(null_p(400, 12, family, 0.0, strict=False))
    assert uniform(null_p(400, 12, family, 0.0, strict=True))


def test_what_a_family_has_in_common_fools_the_free_test_but_not_the_strict_one():
    family = np.repeat(np.arange(4), 3)
    assert (null_p(200, 12, family, 2.0, strict=False) <= 0.05).mean() > 0.3
    strict = null_p(200, 12, family, 2.0, strict=True)
    assert (strict <= 0.05).mean() <= 0.09


@pytest.mark.long
@pytest.mark.slow  # 3 x 2000 tests: half a minute
def test_p_is_uniform_under_the_null_in_full():
    family = np.repeat(np.arange(6), 4)
    assert uniform(null_p(2000, 24, family, 0.0, strict=False))
    assert uniform(null_p(2000, 24, family, 0.0, strict=True))
    assert uniform(null_p(2000, 24, family, 2.0, strict=True))


def test_family_orders_map_families_onto_families_and_reach_every_such_order():
    families = ["a", "b", "b", "", "c", "c", "d", "d", "d"]
    orders = family_orders(families, 500, np.random.default_rng(1))
    same = np.array([[(a == b and a != "") or i == j for j, b in enumerate(families)] for i, a in enumerate(families)])
    for order in orders:
        np.testing.assert_array_equal(same[np.ix_(order, order)], same)
    assert len({tuple(order) for order in orders}) == 2 * 8 * 6  # singles, the two pairs, members of three


def test_permutation_p_counts_the_observed_one():
    assert permutation_p(0.9, np.array([0.1, -0.95, 0.2, 0.9])) == pytest.approx(3 / 5)
    assert permutation_p(np.nan, np.array([0.1])) is None


def test_a_planted_distance_is_found_in_spite_of_targets_and_donors_and_the_sign_says_nearer_helps():
    rng = np.random.default_rng(2)
    distance = points(20, rng)
    values = rng.normal(0, 5, (20, 1)) + rng.normal(0, 5, (1, 20)) - 0.3 * distance + rng.normal(0, 0.3, (20, 20))
    tests = distance_tests(
        values, names(20), [""] * 20, [Distance("near", "", "", distance), Distance("other", "", "", points(20, rng))]
    )
    assert tests[0].p == 0.001
    assert tests[0].correlation < -0.4
    assert tests[0].p_adjusted == 0.002
    assert tests[1].p > 0.05


def test_languages_without_a_distance_are_named_and_small_matrices_have_reasons():
    rng = np.random.default_rng(3)
    distance = points(6, rng)
    distance[2] = distance[:, 2] = np.nan
    values = rng.normal(0, 1, (6, 6))
    (test,) = distance_tests(values, names(6), [""] * 6, [Distance("d", "", "", distance)])
    assert test.left_out == ("l2",)
    assert test.languages == 5
    for n, words in ((2, "4 are needed"), (3, "4 are needed"), (4, "")):
        (test,) = distance_tests(values[:n, :n], names(n), [""] * n, [Distance("d", "", "", points(n, rng))])
        assert words in test.reason
        assert (test.p is None) == bool(words)
    (test,) = distance_tests(values, names(6), [""] * 6, [Distance("d", "", "", np.ones((6, 6)))])
    assert "does not tell pairs apart" in test.reason
    assert test.p is None
    nothing = np.full((4, 4), np.nan)
    (test,) = distance_tests(nothing, names(4), [""] * 4, [Distance("d", "", "", points(4, rng))])
    assert test.p is None
    assert test.languages == 0


def test_a_distance_that_is_the_family_itself_has_no_strict_test():
    rng = np.random.default_rng(4)
    family = np.repeat(np.arange(3), 2)
    distance = (family[:, None] != family[None, :]).astype(float)
    labels = [str(one) for one in family]
    (test,) = distance_tests(rng.normal(0, 1, (6, 6)), names(6), labels, [Distance("family", "", "", distance)])
    assert test.p is not None
    assert test.p_strict is None
    assert "strict" in test.reason


def test_published_matrices_go_with_genus_also_within_families():
    for name in ("sv", "gender"):
        languages, values = read_matrix(DATA / f"{name}_mhubert.csv")
        families = [language(code).family for code in languages]
        tests = {one.name: one for one in distance_tests(values, languages, families, known_distances(languages))}
        assert list(tests) == ["family", "genus", "script", "geography", "phones"]
        assert tests["genus"].correlation < 0
        assert tests["genus"].p_strict <= 0.01
        assert "eo" in tests["geography"].left_out


def test_a_distance_file_is_read_by_code_and_mistakes_are_named(tmp_path):
    values = np.array([[0, 2.0, 5], [2, 0, 1], [5, 1, 0]])
    (tmp_path / "d.csv").write_text(matrix_text(("es", "no", "ca"), values))
    found = read_distance(f"syntax={tmp_path / 'd.csv'}", ("no", "xx", "es"))
    assert found.name == "syntax"
    assert found.values[0, 2] == 2
    assert np.isnan(found.values[1, [0, 2]]).all()
    with pytest.raises(UserError, match="name=file"):
        read_distance("syntax.csv", ("no",))
    (tmp_path / "n.csv").write_text(matrix_text(("es", "no", "ca"), -values))
    with pytest.raises(UserError, match="none can be below 0"):
        read_distance(f"x={tmp_path / 'n.csv'}", ("no",))


def test_147_languages_take_seconds():
    from time import perf_counter

    rng = np.random.default_rng(5)
    distances = [Distance(str(k), "", "", points(147, rng)) for k in range(5)]
    start = perf_counter()
    distance_tests(rng.normal(0, 1, (147, 147)), names(147), families_of(names(147)), distances)
    assert perf_counter() - start < 8
