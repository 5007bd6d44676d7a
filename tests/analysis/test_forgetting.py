"""Forgetting against gain: after minus before and before minus after, each seed by itself."""

from pathlib import Path

import pytest

from analysis.forgetting import main, point_of
from engine.store import Pass, Result, Store
from grids.errors import UserError
from grids.mixture import Mixture, Trial
from tasks.base import Metric

BLEU = Metric("bleu", primary=True)
GRID = """
task = "translation"
corpus = "synthetic"
languages = ["ca", "a"]
seeds = 2
samples = 8
mode = "list"
mixtures = ["", "ca"]
"""


def folder_of(place: Path, after: dict[int, tuple[float, float]]) -> Path:
    """A results folder: before 0.1 into Chinese and 0.5 into English; `after` by seed."""
    place.mkdir()
    store = Store(place)
    store.grid_path.write_text(GRID, encoding="utf-8")
    for seed, values in after.items():
        for mixture, (gained, kept) in ((Mixture(), (0.1, 0.5)), (Mixture.of({"ca": 8}), values)):
            scores = (BLEU.score("ca", gained, 9), BLEU.score("ca", kept, 9, "to en"), BLEU.score("a", 0.9, 9))
            ran = Pass(("a", "ca"), {"train": 1.0}, "cpu", {}, "0", "2026-01-01T00:00:00+00:00", 0)
            store.write(Result(Trial(mixture, seed), scores, (ran,), 8, 1, "c", "d", {}))
    return place


def test_gain_and_forgetting_are_means_over_seeds_of_the_languages_trained_on(tmp_path: Path) -> None:
    point = point_of(folder_of(tmp_path / "ewc", {0: (0.3, 0.4), 1: (0.4, 0.2)}), "bleu", "to en")
    assert (point.name, point.seeds) == ("ewc", 2)
    assert point.gain == pytest.approx(0.25)
    assert point.forgetting == pytest.approx(0.2)
    assert point.gain_error == pytest.approx(12.706 * 0.05, rel=1e-3)  # Student's t with one degree of freedom


@pytest.mark.slow
def test_the_command_writes_a_row_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = folder_of(tmp_path / "one", {0: (0.3, 0.5)})
    assert main([str(one), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == (tmp_path / "out" / "forgetting.csv").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "forgetting_1col.png").stat().st_size > 1000


def test_a_folder_without_before_or_condition_is_refused(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "one", {0: (0.3, 0.5)})
    with pytest.raises(UserError, match="to fr"):
        point_of(one, "bleu", "to fr")
    with pytest.raises(UserError, match="no results folder"):
        point_of(tmp_path, "bleu", "to en")
