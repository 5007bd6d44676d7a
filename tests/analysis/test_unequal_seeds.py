"""Twelve seeds for bases and self runs, four for pairs: planned, not holes; and the planted matrix comes back."""

from pathlib import Path

import numpy as np
import pytest

from analysis.cltm import main
from analysis.folders import read_folders
from analysis.matrix import from_scores
from analysis.merge import merged_plan
from analysis.scores import Hole, Plan
from grids.errors import UserError
from grids.seeds import Seeds
from tests.analysis.factories import Folder, results, rows, truth
from tests.analysis.simulated import simulate, with_diagonal

TABLE = {"base": 12, "self": 12, "cross": 4}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    how = Folder(seeds=range(12), noise=0.004, grid={"seeds": TABLE})
    frame = rows(truth(6), how)
    return results(tmp_path / "r", truth(6), how, frame[(frame.role != "cross") | (frame.seed < 4)])


def test_what_nobody_planned_is_no_hole(planted: Path) -> None:
    assert read_folders([planted]).holes == ()


def test_what_was_planned_and_is_missing_is_a_hole(tmp_path: Path) -> None:
    how = Folder(seeds=range(12), grid={"seeds": TABLE})
    frame, (a, b, _) = rows(truth(3), how), truth(3).codes
    gone = (frame.role == "cross") & (frame.language == a) & (frame.donor == b) & (frame.seed == 3)
    gone |= (frame.role == "base") & (frame.language == b) & (frame.seed == 11)
    folder = results(tmp_path / "r", truth(3), how, frame[~gone & ((frame.role != "cross") | (frame.seed < 4))])
    assert set(read_folders([folder]).holes) == {Hole("cross", a, b, 3), Hole("base", b, "", 11)}


def test_intervals_of_unequal_seeds_cover_the_truth() -> None:
    rng, covered = np.random.default_rng(5), []
    for _ in range(30):
        r = with_diagonal(rng.uniform(-0.5, 1.2, (8, 8)))
        scores = simulate(r, rng, seeds=12)
        scores.cross[..., 4:] = np.nan
        m = from_scores(scores, scores.languages)
        off = ~np.eye(8, dtype=bool) & np.isfinite(m.lower)
        covered.append(((m.lower <= r) & (r <= m.upper))[off].mean())
    assert np.mean(covered) >= 0.94


@pytest.mark.slow
def test_the_whole_report_is_made(planted: Path) -> None:
    assert main([str(planted)]) == 0
    assert (planted / "analysis" / "holes.csv").read_text().count("\n") == 1


def test_merged_plans_keep_every_seed_of_each_kind() -> None:
    plans = [Plan("a", draws=Seeds.parse(TABLE)), Plan("b", draws=Seeds.parse([20]))]
    assert merged_plan(plans).draws == Seeds((*range(12), 20), (*range(12), 20), (0, 1, 2, 3, 20))


def test_seeds_that_no_grid_may_have_are_refused_with_the_file(tmp_path: Path) -> None:
    folder = results(tmp_path, truth(2), Folder(grid={"seeds": {"base": 3, "self": 3, "cross": 9}}))
    with pytest.raises(UserError, match=r"grid.toml: seeds has 9 for cross"):
        read_folders([folder])
