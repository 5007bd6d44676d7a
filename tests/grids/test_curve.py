"""Grids of learning curves: `mode = "curve"`."""

import pytest

from grids.errors import UserError
from grids.grid import Grid, parse
from grids.mixture import Mixture

MINIMAL = {"task": "toy", "corpus": "synthetic", "languages": ["no", "ca"], "seeds": 2}
CURVE = {**MINIMAL, "mode": "curve", "sizes": [120, 60]}


def grid(**changes: object) -> Grid:
    return parse({**CURVE, **changes}, "test")


def test_a_curve_trains_each_language_alone_at_each_size_small_blocks_first() -> None:
    trials = [(trial.mixture.total_samples, trial.seed) for trial in grid().trials()]
    sizes = [({code: size}, seed) for size in (60, 120) for code in ("ca", "no") for seed in (0, 1)]
    assert trials == sizes


def test_a_curves_double_block_is_the_self_run_of_a_matrix() -> None:
    matrix = parse({**MINIMAL, "samples": 60}, "matrix")
    assert {*grid().trials()} < {*matrix.trials()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "needs sizes"),
        ({"sizes": [60, 60]}, "sizes has 60 more than once"),
        ({"sizes": [60, 62]}, "an item of sizes is 62, no multiple of clips_per_speaker"),
        ({"sizes": [0]}, "an item of sizes is 0; allowed: >= 1"),
        ({"sizes": ["60"]}, "of type a string; expected an integer"),
        ({"samples": 60}, "samples is 60: mode = 'curve' has sizes"),
        ({"mixtures": ["ca+no"]}, "takes no mixtures"),
        ({"mode": "matrix", "samples": 60}, "sizes needs mode = 'curve'"),
        ({"mode": "matrix", "sizes": []}, "samples is 0; allowed: >= 1"),
    ],
)
def test_each_mistake_is_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        grid(**changes)


def test_in_a_curve_a_model_of_one_language_is_a_base_at_its_own_size() -> None:
    small, large = Mixture.of({"ca": 60}), Mixture.of({"ca": 120})
    assert [m.role("ca", 0) for m in (small, large)] == [("base", "")] * 2
    assert [m.role("no", 0) for m in (small, large)] == [("zero", "ca")] * 2
    assert [m.block(0) for m in (small, large, Mixture())] == [60, 120, 0]
    assert [m.block(60) for m in (small, large)] == [60, 60]
    assert (small.text(0), large.text(0), Mixture().text(0)) == ("60*ca", "120*ca", "")
    assert large.role("ca", 60) == ("self", "ca")
