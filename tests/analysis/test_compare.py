"""Comparing matrices: planted differences are found, equal truths are not told apart, files are whole."""

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import compare_sources, main, names
from analysis.comparison import STATISTICS, Side, compare, side
from analysis.matrix import from_scores
from analysis.matrix_csv import matrix_text
from analysis.scores import RawMatrix
from grids.errors import UserError
from tests.analysis.factories import Folder, Truth, results, truth
from tests.analysis.test_structure import codes, planted, scores_of

DATA = Path(__file__).parents[1] / "data"


def simulated(name: str, r: np.ndarray, rng: np.random.Generator, seeds: int = 10) -> Side:
    cltm = from_scores(scores_of(r, seeds, 1 / 3, rng), [""] * len(r))
    return side(name, cltm, cltm.families)


def folders(tmp_path: Path, n: int = 6, noise: float = 0.01) -> tuple[Path, Path]:
    one = truth(n, seed=1)
    other = Truth(one.codes, one.r.copy(), one.base, one.gain)
    other.r[0, 1] += 1.5
    a = results(tmp_path / "a", one, Folder(seeds=range(6), noise=noise, draw=1))
    return a, results(tmp_path / "b", other, Folder(seeds=range(6), noise=noise, draw=2))


@pytest.mark.slow
def test_a_planted_difference_is_the_surest_one_and_the_files_are_whole(tmp_path):
    a, b = folders(tmp_path)
    assert main([str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    (pair,) = found["pairs"]
    first = pair["differing_cells"][0]
    assert (first["target"], first["donor"]) == ("no", "zh-CN")
    assert first["difference"] == pytest.approx(-1.5, abs=0.4)
    assert 0 < pair["ceiling"] <= 1
    assert {row["key"] for row in pair["noise_corrected"]} == {one.key for one in STATISTICS}
    assert all(row["lower"] <= row["difference"] <= row["upper"] for row in pair["noise_corrected"])
    assert len(found["matrices"][0]["sha256"]) == 64
    with (tmp_path / "out" / "compare_cells.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 30
    for width in ("1col", "2col"):
        assert "<text" in (tmp_path / "out" / f"compare_{width}.svg").read_text()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.slow
def test_the_page_asks_for_nothing_and_escapes_names(tmp_path):
    a, b = folders(tmp_path, 4)
    hostile = b.rename(tmp_path / "<b>&x")
    main([str(a), str(hostile), "--out", str(tmp_path / "out")])
    text = (tmp_path / "out" / "compare.html").read_text()
    links: list[str] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag, attrs):
            links.extend(value or "" for name, value in attrs if name in ("src", "href"))

    Page().feed(text)
    assert all(link.startswith("data:") for link in links)
    assert "<b>&x" not in text
    assert "&lt;b&gt;&amp;x" in text


def test_bare_matrices_are_compared_without_ceiling_or_tests():
    (pair, *_) = compare_sources([DATA / "gender_mhubert.csv", DATA / "asr_mhubert.csv", DATA / "sv_mhubert.csv"]).pairs
    assert pair.ceiling is None
    assert pair.tested == 0
    assert pair.residual_correlation is not None
    assert 0 < pair.p <= 1
    assert all(row.lower is None for row in (*pair.plain, *pair.corrected))
    assert any("no scores over seeds" in note for note in pair.notes)


def test_only_shared_languages_are_compared_in_one_order(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (5, 5))
    np.fill_diagonal(values, 1)
    order = [3, 1, 0, 2]
    (tmp_path / "a.csv").write_text(matrix_text(codes(5), values))
    part = np.ix_(order, order)
    (tmp_path / "b.csv").write_text(matrix_text([codes(5)[i] for i in order], values[part]))
    found = compare_sources([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found.languages == codes(4)
    assert found.only == (("l0",), ())
    assert found.pairs[0].residual_correlation == pytest.approx(1)
    assert all(cell.difference == 0 for cell in found.pairs[0].cells)


@pytest.mark.slow
def test_two_languages_and_holes_give_nulls_not_errors(tmp_path):
    (tmp_path / "a.csv").write_text("target,ca,es\nca,1,0.5\nes,,1\n")
    (tmp_path / "b.csv").write_text("target,ca,es\nca,1,0.2\nes,0.1,1\n")
    assert main([str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(tmp_path / "out")]) == 0
    (pair,) = json.loads((tmp_path / "out" / "compare.json").read_text())["pairs"]
    assert pair["shared_cells"] == 1
    assert pair["residual_correlation"] is None


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main([str(DATA / "asr_mhubert.csv")]) == 2
    assert "nothing to be compared with" in capsys.readouterr().err
    assert main([str(DATA / "asr_mhubert.csv"), str(DATA / "asr_mhubert.csv")]) == 2
    assert "given twice" in capsys.readouterr().err
    (tmp_path / "c.csv").write_text("target,xx,yy\nxx,1,0.5\nyy,0.5,1\n")
    with pytest.raises(UserError, match="share 0 languages"):
        compare_sources([DATA / "asr_mhubert.csv", tmp_path / "c.csv"])


def test_equal_stems_get_their_folders_as_names(tmp_path):
    assert names([tmp_path / "x" / "m.csv", tmp_path / "y" / "m.csv"]) == ("x/m", "y/m")
    assert names([tmp_path / "x" / "m.csv", tmp_path / "y" / "k.csv"]) == ("m", "k")


def test_matrices_without_self_gain_are_compared_if_in_the_same_units():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.1, (5, 5))
    by_seed = values[..., None] + np.array([-0.01, 0, 0.01])
    raw = RawMatrix(codes(5), (0, 1, 2), "r1", False, True, by_seed)
    one, other = side("a", raw, [""] * 5), side("b", replace(raw, by_seed=by_seed + 0.2), [""] * 5)
    pair = compare(one, other)
    assert pair.tested == 20
    assert all(cell.differs for cell in pair.cells)
    assert pair.plain == ()
    mixed = compare(one, simulated("c", planted("half", 5, rng), rng))
    assert mixed.cells == ()
    assert mixed.residual_correlation is not None
    assert any("same units" in note for note in mixed.notes)


@pytest.mark.slow
def test_equal_truths_are_rarely_told_apart():
    rng = np.random.default_rng(2)
    pairs = [compare(simulated("a", np.ones((12, 12)), rng), simulated("b", np.ones((12, 12)), rng), 9)
             for _ in range(25)]  # fmt: skip
    assert np.mean([any(cell.differs for cell in pair.cells) for pair in pairs]) <= 0.08


def test_the_ceiling_is_the_correlation_that_noise_leaves_of_equal_residuals():
    rng = np.random.default_rng(3)
    r = 0.5 + rng.normal(0, 0.15, (25, 25))
    pairs = [compare(simulated("a", r, rng), simulated("b", r, rng), 9) for _ in range(10)]
    assert np.mean([pair.residual_correlation for pair in pairs]) < 0.9
    assert np.mean([pair.beyond_noise for pair in pairs]) == pytest.approx(1, abs=0.04)


def difference_coverage(kind: str, seeds: int, repeats: int, n: int) -> list[float]:
    """Coverage of the intervals of differences from a matrix near r = 0.5."""
    rng = np.random.default_rng(seeds)
    one, other = planted(kind, n, rng), planted("half", n, rng)
    off = np.where(np.eye(n, dtype=bool), np.nan, [one, other])
    expected = [float(np.diff(statistic.of(off[::-1]))[0]) for statistic in STATISTICS]
    hits = []
    for _ in range(repeats):
        rows = compare(simulated("a", one, rng, seeds), simulated("b", other, rng, seeds), 9).corrected
        hits.append([row.lower <= true <= row.upper for row, true in zip(rows, expected, strict=True)])
    return np.mean(hits, axis=0).tolist()


@pytest.mark.slow
def test_intervals_of_differences_cover_the_truth():
    assert min(difference_coverage("minus one", 10, 30, 8)) >= 0.86  # 30 draws; in full below


@pytest.mark.long
@pytest.mark.slow  # 6 x 300 pairs: a minute
@pytest.mark.parametrize("kind", ["agnostic", "half", "minus one"])
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_of_differences_cover_the_truth_in_full(kind, seeds):
    assert min(difference_coverage(kind, seeds, 300, 16)) >= 0.92
