"""Seeds of a grid: a number, a list, or a table with fewer for pairs."""

from typing import Any

import pytest

from grids.errors import UserError
from grids.grid import parse
from grids.mixture import Mixture
from grids.seeds import Seeds

MINIMAL = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "es", "no"], "samples": 60}
TABLE = {"base": 12, "self": 12, "cross": 4}


def seeds_of(text: str, **changes: Any) -> list[int]:
    """The seeds that a grid trains a mixture with."""
    trials = parse({**MINIMAL, "seeds": TABLE, **changes}, "test").trials()
    return [trial.seed for trial in trials if trial.mixture == Mixture.parse(text, 60)]


def test_a_number_and_a_list_are_the_same_for_all() -> None:
    assert Seeds.parse(3) == Seeds.parse([0, 1, 2]) == Seeds((0, 1, 2), (0, 1, 2), (0, 1, 2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TABLE, Seeds(tuple(range(12)), tuple(range(12)), (0, 1, 2, 3))),
        ({"base": [9, 5, 7], "self": 2, "cross": [7]}, Seeds((9, 5, 7), (9, 5), (7,))),
    ],
)
def test_a_number_in_a_table_stands_for_the_first_seeds_of_base(value: Any, expected: Seeds) -> None:
    assert Seeds.parse(value) == expected


def test_pairs_have_the_first_seeds_of_their_bases_and_denominators_come_first() -> None:
    assert (seeds_of("ca"), seeds_of("ca+ca")) == (list(range(12)), list(range(12)))
    assert seeds_of("ca+es") == [0, 1, 2, 3]
    trials = parse({**MINIMAL, "seeds": TABLE}, "test").trials()
    assert len(trials) == 12 * 6 + 4 * 3
    assert [t.mixture.kind(60) for t in trials] == ["base"] * 36 + ["self"] * 36 + ["cross"] * 12


def test_listed_mixtures_and_curves_have_the_largest_set() -> None:
    mixtures = ["ca+0.2*es", "ca>es", "", "es+no"]
    assert all(seeds_of(text, mixtures=mixtures) == list(range(12)) for text in mixtures)
    curve = parse({**MINIMAL, "samples": 0, "mode": "curve", "sizes": [8, 16], "seeds": TABLE}, "test")
    assert len(curve.trials()) == 12 * 3 * 2


@pytest.mark.parametrize("value", [3, [4, 2], TABLE, {"base": [9, 5], "self": [9, 5], "cross": [5]}])
def test_seeds_come_back_from_a_grid_file(value: Any) -> None:
    assert Seeds.parse(Seeds.parse(value).as_toml()) == Seeds.parse(value)


def test_joined_seeds_keep_every_seed_of_each_kind() -> None:
    joined = Seeds.parse(TABLE).joined(Seeds.parse([20]))
    assert (joined.base, joined.cross) == ((*range(12), 20), (0, 1, 2, 3, 20))
    assert Seeds.parse(joined.as_toml()) == joined


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"base": 4, "self": 4}, "seeds lacks cross; write it like"),
        ({**TABLE, "crss": 1}, "unknown key of seeds 'crss' .did you mean 'cross'"),
        ({**TABLE, "cross": 13}, "seeds has 13 for cross and 12 for base; allowed: at most as many as base"),
        ({**TABLE, "self": [3, 40]}, "seeds has 40 for self, which base lacks"),
        ({**TABLE, "cross": 0}, "cross of seeds is empty"),
        ({**TABLE, "cross": -2}, "cross of seeds is empty"),
        ({**TABLE, "base": {"base": 1}}, "base of seeds is {'base': 1}; allowed"),
        ({**TABLE, "cross": [1, 1]}, "cross of seeds has 1 more than once"),
        ([True], "seeds has True; allowed: integers"),
        ([-1], "seeds has -1; allowed: integers"),
    ],
)
def test_each_mistake_is_one_clear_line(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Seeds.parse(value)


def test_seeds_are_required() -> None:
    with pytest.raises(UserError, match="key 'seeds' is missing"):
        parse(MINIMAL, "test")
