"""Decomposition, replicates, clusters and graph: hand-worked cases, known truths, calibrated intervals."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.clusters import tree
from analysis.graph import communities, edges, graph, pagerank, scaling
from analysis.matrix_csv import read_matrix
from analysis.replicates import MIN_SEEDS, Replicates, jackknife_se, pseudo_values, replicates, weighted
from analysis.scores import RawMatrix, Scores
from analysis.spectrum import spectrum
from analysis.structure import Structure, adjusted, complete_subset, decompose, similarity, structure

DATA = Path(__file__).parents[1] / "data"


def codes(n: int) -> tuple[str, ...]:
    return ("no", "zh-CN", "fy-NL", "cmn_hans_cn", *(f"l{i}" for i in range(n)))[:n]


def scores_of(r: np.ndarray, seeds: int, noise: float, rng: np.random.Generator) -> Scores:
    """Scores whose gains have the seed sd `noise`, in units of the self-gain."""
    n, sd = len(r), 0.1 * noise / np.sqrt(2)
    base, own = rng.normal(0.5, sd, (n, seeds)), rng.normal(0.6, sd, (n, seeds))
    cross = 0.5 + 0.1 * r[..., None] + rng.normal(0, sd, (n, n, seeds))
    return Scores(codes(n), tuple(range(seeds)), "f1", False, base, own, cross)


def known(r: np.ndarray, seeds: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, Replicates | None]:
    scores = scores_of(r, seeds, noise, rng)
    values = weighted(scores, np.ones((1, seeds)))[0]
    return values, replicates(scores, values, draws=30)


def planted(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "agnostic":
        return np.ones((n, n))
    level = {"half": 0.5, "minus one": -1.0}[kind]
    return level + rng.normal(0, 0.2, (n, 1)) + rng.normal(0, 0.15, (1, n)) + rng.normal(0, 0.2, (n, n))


def shares(found: Structure) -> dict[str, float]:
    return {part.name: part.share for part in found.parts}


def test_published_sv_matrix_is_explained_by_the_target_to_four_fifths_and_by_the_donor_to_one_twentieth():
    languages, values = read_matrix(DATA / "sv_mhubert.csv")
    found = shares(structure(values, languages))
    assert found["target"] == pytest.approx(0.80, abs=0.01)
    assert found["donor"] == pytest.approx(0.05, abs=0.01)
    assert found["target"] + found["donor_beyond_target"] + found["residual"] == pytest.approx(1)


def test_a_sum_of_effects_is_found_exactly_also_with_holes():
    rng = np.random.default_rng(0)
    target, donor = rng.normal(0, 1, 7), rng.normal(0, 1, 7)
    values = 2 + (target - target.mean())[:, None] + (donor - donor.mean())[None, :]
    values[rng.random((7, 7)) < 0.2] = np.nan
    fit = decompose(values)
    assert fit.mu == pytest.approx(2)
    np.testing.assert_allclose(fit.target, target - target.mean(), atol=1e-9)
    np.testing.assert_allclose(fit.donor, donor - donor.mean(), atol=1e-9)
    assert np.nanmax(np.abs(fit.residual)) < 1e-9


def test_three_languages_by_hand():
    values = np.array([[1, 3, 1], [1, 1, 1], [1, 1, 1]], dtype=float)  # one cell stands out by 2
    fit = decompose(values)  # the residual lies on the one free direction, +-1/6 of it around the hexagon of cells
    np.testing.assert_allclose(np.abs(fit.residual[~np.eye(3, dtype=bool)]), 1 / 3)
    assert fit.free == 1


def test_two_languages_have_no_comparable_effects_and_no_shares():
    found = structure(np.array([[1, 0.4], [0.7, 1]]), codes(2))
    assert found.parts == ()
    assert all(one.effect is None and one.rank is None for one in (*found.targets, *found.donors))


@given(seed=st.integers(0, 10_000), n=st.integers(3, 9), holes=st.floats(0, 0.4))
@settings(max_examples=60, deadline=None)
def test_residuals_are_the_least_squares_ones_and_permute_with_the_languages(seed, n, holes):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (n, n))
    values[rng.random((n, n)) < holes] = np.nan
    fit = decompose(values)
    seen = np.isfinite(values) & ~np.eye(n, dtype=bool)
    rows, columns = np.nonzero(seen)
    design = np.zeros((len(rows), 2 * n))
    design[np.arange(len(rows)), rows] = design[np.arange(len(rows)), n + columns] = 1
    best = design @ np.linalg.pinv(design) @ values[seen] if len(rows) else np.array([])
    np.testing.assert_allclose(fit.residual[seen], values[seen] - best, atol=1e-8)
    assert fit.free == len(rows) - np.linalg.matrix_rank(design)
    order = rng.permutation(n)
    again = decompose(values[np.ix_(order, order)])
    np.testing.assert_allclose(again.residual, fit.residual[np.ix_(order, order)], atol=1e-8)


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_shares_and_ranks_ignore_scale_and_shift(scale, shift, seed):
    values = np.random.default_rng(seed).normal(0, 1, (6, 6))
    one, other = structure(values, codes(6)), structure(shift + scale * values, codes(6))
    assert shares(one) == pytest.approx(shares(other), abs=1e-6)
    assert [score.rank for score in one.donors] == [score.rank for score in other.donors]


def test_a_matrix_without_self_gain_is_decomposed_from_its_gains():
    rng = np.random.default_rng(1)
    scores = scores_of(planted("half", 6, rng), 6, 0.1, rng)
    raw = RawMatrix(scores.languages, scores.seeds, "f1", False, True, scores.cross - scores.base[:, None])
    gains = weighted(raw, np.ones((1, 6)))[0]
    np.testing.assert_allclose(gains[0, 1], (scores.cross[0, 1] - scores.base[0]).mean())
    found = structure(gains, scores.languages, replicates(raw, gains))
    assert found.parts
    assert all(one.lower is not None for one in found.donors)


def test_replicates_leave_out_and_halve_whole_seeds():
    rng = np.random.default_rng(2)
    scores = scores_of(planted("half", 4, rng), 7, 0.2, rng)
    values = weighted(scores, np.ones((1, 7)))[0]
    values[0, 1] = np.nan
    found = replicates(scores, values)
    keep = np.arange(7) != 3
    expected = (scores.cross[1, 2] - scores.base[1])[keep].mean() / (scores.self_ - scores.base)[1, keep].mean()
    assert found.left_out[3, 1, 2] == pytest.approx(expected)
    assert np.isnan(found.left_out[:, 0, 1]).all()
    assert np.isnan(found.drawn[:, 0, 1]).all()
    assert not np.array_equal(found.halves[0], found.halves[1])


def test_below_five_seeds_nothing_has_an_interval():
    rng = np.random.default_rng(3)
    values, seeds = known(planted("half", 5, rng), MIN_SEEDS - 1, 0.1, rng)
    assert seeds is None
    found = structure(values, codes(5), seeds)
    assert all(one.lower is None and one.rank_low is None for one in found.donors)
    assert found.donor_stability is None
    assert all(part.noise is None for part in found.parts)
    assert all(one.support is None for one in tree(values, codes(5), seeds=seeds).clusters)


def test_pseudo_values_take_noise_out_of_a_square_exactly():
    draws = np.random.default_rng(4).normal(3, 1, 9)
    full = draws.mean() ** 2
    left_out = np.array([np.delete(draws, i).mean() ** 2 for i in range(9)])
    assert pseudo_values(full, left_out).mean() == pytest.approx(full - draws.var(ddof=1) / 9)


def test_the_jackknife_error_of_a_mean_is_its_standard_error():
    draws = np.random.default_rng(4).normal(3, 1, 9)
    left_out = np.array([np.delete(draws, i).mean() for i in range(9)])
    assert jackknife_se(left_out) == pytest.approx(draws.std(ddof=1) / 3)


def score_coverage(kind: str, seeds: int, repeats: int, n: int = 12) -> tuple[float, float, float]:
    """Coverage of donors' and targets' intervals, and of donors' rank bounds."""
    rng = np.random.default_rng(seeds)
    r = planted(kind, n, rng)
    truth = decompose(r)
    ranks = 1 + (truth.donor[None, :] > truth.donor[:, None] + 1e-9).sum(axis=1)
    hits: list[list[bool]] = [[], [], []]
    for _ in range(repeats):
        values, drawn = known(r, seeds, 1 / 3, rng)
        found = structure(values, codes(n), drawn)
        hits[0] += [one.lower <= truth.donor[i] <= one.upper for i, one in enumerate(found.donors)]
        hits[1] += [one.lower <= truth.target[i] <= one.upper for i, one in enumerate(found.targets)]
        hits[2] += [one.rank_low <= ranks[i] <= one.rank_high for i, one in enumerate(found.donors)]
    return tuple(float(np.mean(one)) for one in hits)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["agnostic", "half", "minus one"])
def test_intervals_of_donor_and_target_scores_cover_the_truth(kind):
    assert min(score_coverage(kind, 10, 25)) >= 0.91


@pytest.mark.long
@pytest.mark.slow  # 3 x 2 x 300 matrices: half a minute
@pytest.mark.parametrize("kind", ["agnostic", "half", "minus one"])
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_of_scores_cover_the_truth_in_full(kind, seeds):
    donor, target, rank = score_coverage(kind, seeds, 300, n=20)
    assert 0.93 <= donor <= 0.98
    assert 0.92 <= target <= 0.98
    assert rank >= 0.95


def test_noise_of_an_agnostic_matrix_fills_every_part_of_the_variance():
    rng = np.random.default_rng(5)
    values, seeds = known(np.ones((20, 20)), 10, 1 / 3, rng)
    for part in structure(values, codes(20), seeds).parts:
        if part.name != "donor_beyond_target":
            assert part.noise == pytest.approx(part.share, rel=0.6)


def test_adjusted_p_values_by_hand_with_a_hole():
    np.testing.assert_allclose(adjusted(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.04, np.nan, 0.04])


def test_complete_subset_drops_the_language_with_most_holes():
    square = np.ones((4, 4))
    square[2, :] = np.nan
    assert complete_subset(square).tolist() == [0, 1, 3]


def test_similarity_finds_who_profits_from_the_same_donors():
    rng = np.random.default_rng(6)
    taste = rng.normal(0, 1, (2, 12))
    values = taste[np.arange(12) % 2] + rng.normal(0, 3, (12, 1)) + rng.normal(0, 0.05, (12, 12))
    alike = similarity(decompose(values).residual, "targets")
    same = np.arange(12)[:, None] % 2 == np.arange(12)[None, :] % 2
    assert alike[same].min() > 0.8 > -0.8 > alike[~same].max()


def test_tree_finds_planted_clusters_with_full_support_and_orders_every_language():
    rng = np.random.default_rng(7)
    taste = rng.normal(0, 1, (2, 10))
    values, seeds = known(0.5 + taste[np.arange(10) % 2], 6, 0.05, rng)
    found = tree(values, codes(10), "targets", seeds)
    even = tuple(code for i, code in enumerate(codes(10)) if i % 2 == 0)
    clusters = {one.languages: one.support for one in found.clusters}
    assert clusters[even] == 1.0
    assert sorted(found.order) == list(range(10))
    assert len({i % 2 for i in found.order[:5]}) == 1
    assert found.clusters[-1].languages == codes(10)


def test_a_language_without_cells_is_named_and_comes_last_in_the_tree():
    values = np.random.default_rng(8).normal(0, 1, (6, 6))
    values[2] = values[:, 2] = np.nan
    found = tree(values, codes(6))
    assert found.left_out == ("fy-NL",)
    assert found.order[-1] == 2


@pytest.mark.parametrize("n", [2, 3])
def test_small_matrices_give_reasons_instead_of_trees_and_maps(n):
    values = np.random.default_rng(9).normal(0, 1, (n, n))
    network = graph(values, codes(n))
    assert len(network.nodes) == n
    if n == 2:
        assert tree(values, codes(n)).reason
        assert network.stress is None
        assert network.left_off


def test_edges_point_from_donor_to_target_and_only_where_the_donor_helps():
    values = np.array([[1, 0.5, -2], [np.nan, 1, 0.2], [0.1, 0, 1]])
    edge = edges(values)
    assert edge.tolist() == [[0, 0.5, 0], [0, 0, 0.2], [0.1, 0, 0]]
    nodes = graph(values, codes(3)).nodes
    assert [(node.helped_by, node.helps) for node in nodes] == [(1, 1), (1, 1), (1, 1)]
    assert nodes[0].incoming == 0.5
    assert nodes[1].outgoing == 0.5
    only = np.zeros((3, 3), dtype=bool)
    only[0, 1] = True
    assert (edges(values, only) > 0).sum() == 1


def test_pagerank_agrees_with_networkx():
    import networkx as nx

    edge = edges(np.random.default_rng(10).normal(0, 1, (8, 8)))
    edge[:, 3] = 0  # a language that helps nobody
    network = nx.DiGraph()
    network.add_nodes_from(range(8))
    network.add_weighted_edges_from((int(j), int(i), edge[i, j]) for i, j in np.argwhere(edge > 0))
    expected = nx.pagerank(network, tol=1e-12, max_iter=1000)
    np.testing.assert_allclose(pagerank(edge), [expected[i] for i in range(8)], atol=1e-9)
    assert np.isnan(pagerank(np.zeros((3, 3)))).all()


def test_louvain_finds_planted_communities_and_repeats_itself():
    rng = np.random.default_rng(11)
    block = np.arange(12) // 6
    values = np.where(block[:, None] == block[None, :], 1.0, -0.5)
    seen, modularity = communities(edges(values))
    assert seen == tuple(block)
    assert modularity == pytest.approx(0.5)
    _, seeds = known(values, 6, 0.1, rng)
    nodes = graph(values, codes(12), seeds).nodes
    assert all(node.support == 1.0 for node in nodes)
    assert communities(np.zeros((3, 3)))[1] is None


def test_scaling_recovers_a_plane_and_ignores_the_order_of_languages():
    place = np.random.default_rng(12).normal(0, 1, (9, 2))
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
    found, stress = scaling(apart)
    assert stress < 1e-3
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), apart, atol=1e-2)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(scaling(apart[np.ix_(order, order)])[0], found[order], atol=1e-6)


def test_spectrum_of_a_matrix_of_rank_one_and_of_none():
    row = np.array([1.0, 0.5, 0.2, 0.7])
    found = spectrum(np.outer(row, [1, 2, 3, 4]))
    assert found.components == 1
    assert found.shares[0] == pytest.approx(1)
    assert spectrum(np.ones((4, 4))) is None
    assert spectrum(np.full((5, 5), np.nan)) is None


@pytest.mark.slow  # 147 languages with seeds: some six seconds
def test_147_languages_take_seconds():
    from time import perf_counter

    rng = np.random.default_rng(13)
    n = 147
    scores = scores_of(planted("half", n, rng), 10, 1 / 3, rng)
    values = weighted(scores, np.ones((1, 10)))[0]
    seeds = replicates(scores, values)
    for run, most in ((structure, 5), (lambda *a: tree(a[0], a[1], "both", a[2]), 10), (graph, 25)):
        start = perf_counter()
        run(values, codes(n), seeds)
        assert perf_counter() - start < most
