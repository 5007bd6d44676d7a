"""A part of a grid: what belongs to it, and what it says when asked for what is not there."""

from pathlib import Path
from typing import Any

import pytest

from engine.job import settle
from engine.plan import Selection, make_plan
from engine.train import run_trial
from grids.errors import UserError
from grids.grid import load
from tests.engine.jobs import toy_grid, toy_job

GRID = toy_grid(languages=["ca", "no", "zh-CN", "eu"], seeds=[0, 1, 2, 3, 7])


def chosen(**asked: Any) -> list[tuple[str, int]]:
    part = Selection.parse(GRID, **asked)
    return [(t.mixture.text(8), t.seed) for t in GRID.trials() if part.holds(t, GRID.samples)]


def test_languages_keep_trials_all_of_whose_languages_are_among_them() -> None:
    assert {text for text, _ in chosen(languages="ca,zh-CN")} == {"ca", "ca+ca", "zh-CN", "zh-CN+zh-CN", "ca+zh-CN"}


def test_seeds_are_numbers_and_ranges() -> None:
    assert {seed for _, seed in chosen(seeds="1-2,7")} == {1, 2, 7}
    assert {seed for _, seed in chosen(seeds="2-7")} == {2, 3, 7}


@pytest.mark.parametrize(("only", "count"), [("base", 4), ("self", 4), ("cross", 6), ("base,cross", 10)])
def test_only_keeps_kinds(only: str, count: int) -> None:
    assert len({text for text, _ in chosen(kinds=only)}) == count


def test_a_part_is_what_all_conditions_leave_in_the_order_of_the_grid() -> None:
    asked = chosen(languages="zh-CN,ca", seeds="3", kinds="cross, base")
    assert asked == [("ca", 3), ("zh-CN", 3), ("ca+zh-CN", 3)]
    assert len(chosen()) == len(GRID.trials())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"languages": "ca,zh-cn"}, "unknown language 'zh-cn' .did you mean 'zh-CN'"),
        ({"seeds": "0-5"}, r"unknown seed 5 \(the nearest is 7|unknown seed 5 \(the nearest is 3"),
        ({"seeds": "9"}, "unknown seed 9 .the nearest is 7"),
        ({"seeds": "3-1"}, "ends before it begins"),
        ({"seeds": "0:3"}, "--seeds has '0:3'; allowed: numbers and ranges such as 0-3,7"),
        ({"kinds": "crossed"}, "unknown kind of trial 'crossed' .did you mean 'cross'"),
        ({"languages": "ca", "kinds": "cross"}, "no trial of the grid"),
    ],
)
def test_each_mistake_is_one_clear_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Selection.parse(GRID, **asked)


def test_parts_add_up_to_the_grid_and_leave_its_file_whole(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    for kind in ("cross", "base", "self"):
        for item in make_plan(job, Selection(kinds=(kind,))).pending:
            result = run_trial(job, item)
            assert result is not None
            job.store.write(result)
    assert make_plan(job).pending == ()
    assert load(tmp_path / "grid.toml").trials() == toy_grid().trials()


def test_fewer_seeds_for_pairs_are_planned_kept_and_can_grow(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path, seeds={"base": 5, "self": 5, "cross": 2}))
    assert make_plan(job).trials == 5 * 4 + 2
    kept = load(tmp_path / "grid.toml")
    assert kept.seeds == job.grid.seeds
    grown = settle(toy_job(tmp_path, seeds={"base": 5, "self": 5, "cross": 3}))
    assert make_plan(grown).trials == 5 * 4 + 3
    settle(toy_job(tmp_path, seeds=1))
    assert load(tmp_path / "grid.toml").seeds == grown.grid.seeds
