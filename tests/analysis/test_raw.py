"""Matrices without self-gain: what they say is worked by hand, and their intervals hold the truth."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.cltm import main
from analysis.compare import compare_sources
from analysis.raw import summarise_raw
from analysis.scores import RawMatrix
from analysis.sources import read_source
from analysis.verify import verify
from tests.analysis.factories import Folder, Truth, results, row, rows, truth
from tests.analysis.simulated import GAIN, SETTINGS, SeedNoise, simulate


def raw_folder(path, planted, draw=0, seeds=6):
    how = Folder(range(seeds), noise=0.01, draw=draw, grid={"mode": "list"})
    frame = rows(planted, how)
    return results(path, planted, how, frame[frame.role != "self"])


def raw_of(by_seed):
    by_seed = np.array(by_seed, dtype=float)
    codes = tuple(f"l{i}" for i in range(len(by_seed)))
    return RawMatrix(codes, tuple(range(by_seed.shape[-1])), "f1", False, True, by_seed)


def test_means_errors_and_counts_are_over_the_seeds_that_there_are():
    nan = np.nan
    raw = raw_of([[[nan] * 3, [1, 2, 6]], [[nan, 4, nan], [nan] * 3]])
    np.testing.assert_array_equal(raw.count, [[0, 3], [1, 0]])
    np.testing.assert_allclose(raw.values, [[nan, 3], [4, nan]])
    np.testing.assert_allclose(raw.se, [[nan, np.sqrt(7 / 3)], [nan, nan]])
    assert summarise_raw(raw).mean_interval is None


@pytest.mark.slow
def test_pairs_without_any_base_give_a_matrix_of_scores(tmp_path):
    planted = truth(3, seed=1)
    how = Folder(range(3), noise=0.0, draw=0, grid={"mode": "list"})
    frame = rows(planted, how)
    results(tmp_path / "r", planted, how, frame[frame.role == "cross"])
    assert main([str(tmp_path / "r"), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["values"] == "score of the target with the other language"
    cross = frame[frame.role == "cross"]
    assert found["mean"] == pytest.approx(cross[cross.primary].groupby(["language", "donor"]).value.mean().mean())


def coverage(kind, seeds, repeats, n):
    """How often the intervals of mean, median and asymmetry hold what they hold without noise."""
    hits = []
    for k in range(repeats):
        rng = np.random.default_rng(k)
        r = SETTINGS[kind](rng, n)
        scores = simulate(r, rng, SeedNoise(training=0.5), seeds)
        found = summarise_raw(raw_of(scores.cross - scores.base[:, None]))
        true = summarise_raw(raw_of(np.where(np.eye(n, dtype=bool), np.nan, GAIN * r)[..., None]))
        intervals = (found.mean_interval, found.median_interval, found.asymmetry_interval)
        values = (true.mean, true.median, true.asymmetry)
        hits.append([low <= one <= high for (low, high), one in zip(intervals, values, strict=True)])
    return np.mean(hits, axis=0)


def test_intervals_over_seeds_hold_the_truth():
    assert min(coverage("half", 6, 60, 10)) >= 0.88  # 60 draws; in full below


@pytest.mark.long
@pytest.mark.slow  # 6 x 2000 matrices
@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_over_seeds_hold_the_truth_in_full(kind, seeds):
    assert min(coverage(kind, seeds, 2000, 16)) >= 0.92


@pytest.mark.slow
def test_the_report_has_the_intervals_and_verifies(tmp_path, capsys):
    folder = raw_folder(tmp_path / "r", truth(4))
    assert main([str(folder)]) == 0
    summary = json.loads((folder / "analysis" / "summary.json").read_text())
    for name in ("mean", "median"):
        low, high = summary[f"{name}_interval"]
        assert low < summary[name] < high
    assert "without noise 95 %" in capsys.readouterr().out
    assert verify(folder / "analysis") == []


def test_two_raw_matrices_have_a_noise_ceiling_and_one_planted_difference(tmp_path):
    one = truth(6, seed=1)
    other = Truth(one.codes, one.r.copy(), one.base, one.gain)
    other.r[0, 1] += 2
    paths = [raw_folder(tmp_path / name, planted, k) for k, (name, planted) in enumerate((("a", one), ("b", other)))]
    (pair,) = compare_sources(paths).pairs
    assert 0.8 < pair.ceiling <= 1
    assert min((cell for cell in pair.cells if cell.p is not None), key=lambda cell: cell.p).target == one.codes[0]
    assert all(row.lower <= row.difference <= row.upper for row in pair.corrected)


def zero_shot(path, by_cell, seeds=3):
    """Models of one language each, and of twice as much, scored on all; `by_cell` (L, L): row heard, column source."""
    codes, how, frame = truth(len(by_cell)).codes, Folder(range(seeds), metric="bleu", grid={"mode": "list"}), []
    for seed in how.seeds:
        for (i, j), value in np.ndenumerate(by_cell):
            role, donor = ("base", "") if i == j else ("zero", codes[j])
            frame.append(row(codes[j], role, codes[i], donor, seed, value + 0.01 * seed, how))
            frame.append({**row(f"{codes[j]}2", "self" if i == j else "zero", codes[i], codes[j], seed, 0.9, how),
                          "samples": 20})  # fmt: skip
        frame.append(row("", "untouched", codes[0], "", seed, 0.05, how))
    table = pd.DataFrame(frame)
    return results(path, truth(len(by_cell)), how, table[table.role != "self"])


def test_models_of_one_language_alone_are_a_matrix_of_which_source_serves_which_target(tmp_path):
    cells = np.array([[0.5, 0.2, 0.1], [0.3, 0.6, 0.1], [0.4, 0.2, 0.7]])
    raw = read_source([zero_shot(tmp_path / "r", cells)]).content
    assert not raw.gains
    assert raw.values == pytest.approx(cells + 0.01), "with the block of P(i) alone, not with twice as much"
    lines = summarise_raw(raw).lines
    assert [line.as_donor for line in lines] == pytest.approx([0.36, 0.21, 0.11])
    assert [line.as_target for line in lines] == pytest.approx([0.16, 0.21, 0.31])
    assert [line.as_donor_se for line in lines] == pytest.approx([0.01 / np.sqrt(3)] * 3)
    assert (
        summarise_raw(read_source([zero_shot(tmp_path / "one", cells, seeds=1)]).content).lines[0].as_donor_se is None
    )


def test_two_matrices_of_sources_are_compared_cell_by_cell(tmp_path):
    cells = np.array([[0.5, 0.2, 0.1], [0.3, 0.6, 0.1], [0.4, 0.2, 0.7]])
    folders = [zero_shot(tmp_path / "zh", cells), zero_shot(tmp_path / "en", cells + 0.05 * np.eye(3)[[1, 2, 0]])]
    (pair,) = compare_sources(folders).pairs
    assert pair.shared_cells == 6
    moved = {(c.target, c.donor): c.other - c.one for c in pair.cells if abs(c.difference) > 1e-9}
    one, two, three = truth(3).codes
    assert moved == pytest.approx({(one, two): 0.05, (two, three): 0.05, (three, one): 0.05})
