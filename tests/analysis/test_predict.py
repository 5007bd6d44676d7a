"""Does one matrix predict another: correlation, interval, permutation p, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.matrix_csv import matrix_text
from analysis.predict import interval, main, spearman

CODES = ("no", "zh-CN", "fy-NL", "cmn_hans_cn", "ca", "es", "eu", "tr")


def pair(n: int, rho: float, dependence: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two matrices whose cells share what is their row's and their column's own."""
    rows, columns = random.normal(size=(2, 2, n)) * dependence
    x = rows[0][:, None] + columns[0][None, :] + random.normal(size=(n, n))
    other = rows[1][:, None] + columns[1][None, :] + random.normal(size=(n, n))
    return x, rho * x + np.sqrt(1 - rho**2) * other


@pytest.mark.parametrize(("n", "rho", "dependence"), [(6, 0.0, 0.7), (12, 0.6, 0.7), (12, 0.6, 0.0)])
def test_the_interval_covers_at_least_what_it_says(n: int, rho: float, dependence: float) -> None:
    random = np.random.default_rng(0)
    off = ~np.eye(n, dtype=bool)
    truth = spearman(*pair(500, rho, dependence, random), ~np.eye(500, dtype=bool))
    assert truth is not None
    found = [interval(*pair(n, rho, dependence, random), off) for _ in range(120)]
    covered = [lower <= truth <= upper for lower, upper in found if lower is not None and upper is not None]
    assert np.mean(covered) >= 0.92
    assert len(covered) == 120


def test_a_rank_correlation_is_blind_to_scale_and_diagonal() -> None:
    x, off = np.random.default_rng(1).normal(size=(5, 5)), ~np.eye(5, dtype=bool)
    assert spearman(x, np.exp(3 * x) + 99 * np.eye(5), off) == pytest.approx(1)
    assert spearman(x, -x, off) == pytest.approx(-1)
    assert spearman(x, np.zeros((5, 5)), off) is None


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "significant"), [(0.95, True), (0.0, False)])
def test_the_command_writes_numbers_and_figure(
    rho: float, significant: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, values in zip(("retrieval", "transfer"), pair(8, rho, 0.0, np.random.default_rng(2)), strict=True):
        np.fill_diagonal(values, 1.0)
        (tmp_path / f"{name}.csv").write_text(matrix_text(CODES, values), encoding="utf-8")
    out = tmp_path / "out"
    assert main([str(tmp_path / "retrieval.csv"), str(tmp_path / "transfer.csv"), "--out", str(out)]) == 0
    kept = json.loads((out / "predict.json").read_text(encoding="utf-8"))
    assert (kept["p"] < 0.05) == significant
    assert kept["lower"] < kept["spearman"] < kept["upper"]
    assert kept["cells"] == 56
    assert (out / "predict_1col.pdf").stat().st_size > 1000
    assert "56 cells of 8 languages" in capsys.readouterr().out
