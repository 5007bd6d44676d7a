"""What the experiments of the documentation say is what their grids scored."""

from pathlib import Path

import numpy as np
import pytest

from grids.mixture import Mixture
from tasks.toy import ToyOptions, planted_score
from tests.experiments import OFF, Interval, draw, markdown, run, scores

GRID = (
    'task = "toy"\ncorpus = "synthetic"\nlanguages = ["ca", "es"]\nseeds = [2, 0, 1]\nsamples = 4\nevaluate = "all"\n'
)
NOISE = ToyOptions().noise


def test_scores_are_by_mixture_and_language_in_the_order_of_seeds(tmp_path: Path) -> None:
    found = scores(run(tmp_path / "toy.toml", GRID + OFF), "score")
    planted = [planted_score(Mixture.of({"ca": 4}), "es", seed, NOISE) for seed in (0, 1, 2)]
    assert len({*planted}) == 3
    assert found["ca", "es", ""].tolist() == pytest.approx(planted)


def test_an_interval_is_students() -> None:
    """Seeds 1, 2, 3: deviation 1, quantile 4.303 of two degrees of freedom."""
    assert Interval.of(np.array([1.0, 2.0, 3.0])).half == pytest.approx(4.302653 / np.sqrt(3), abs=1e-4)
    assert str(Interval.of(np.array([0.5, 0.5]))) == "50.0 ± 0.0"


def test_a_table_has_a_row_a_place_and_a_column_a_series(tmp_path: Path) -> None:
    lines = {"on es": [Interval(0.1, 0.01), Interval(0.2, 0.0)], "on eu": [Interval(0.3, 0.0), Interval(0.4, 0.0)]}
    assert markdown("", ["a", "b"], lines).splitlines() == [
        "|  | on es | on eu |", "|---|---|---|", "| a | 10.0 ± 1.0 | 30.0 ± 0.0 |", "| b | 20.0 ± 0.0 | 40.0 ± 0.0 |",
    ]  # fmt: skip
    draw(tmp_path / "a.png", "%", ["a", "b"], lines)
    assert (tmp_path / "a.png").stat().st_size > 1000
