"""Parts and pilots of a grid through Ray: what their exit status and messages speak of."""

import re
from pathlib import Path

import pytest

from tests.engine.runs import engine, gender_grid, write_grid
from tests.tasks.data.hostile import plain_release

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOY = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "no", "zh-CN"], "samples": 8}


@pytest.mark.long
def test_a_part_then_the_grid_trains_each_trial_once(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "toy.toml", **TOY, seeds={"base": 3, "self": 3, "cross": 2})
    results = tmp_path / "toy"
    part = engine("run", grid, "--results", results, "--only", "base,self", "--languages", "ca,no")
    assert part.returncode == 0, part.stdout + part.stderr
    assert "0 of 12 trials of the part asked for are finished" in part.stdout
    assert "the part asked for is complete; 12 trials of the grid are missing" in part.stdout
    assert engine("status", results).returncode == 1
    whole = engine("run", grid, "--results", results)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "12 of 24 trials are finished" in whole.stdout
    assert "complete: no trial is missing" in whole.stdout


def test_a_part_that_fails_is_not_complete(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "fail.toml", **TOY, seeds=1, options={"fail": ["no"]})
    part = engine("run", grid, "--results", tmp_path / "fail", "--only", "base")
    assert part.returncode == 1
    assert "1 trials of the part asked for are missing" in part.stdout
    assert "1 failed: RuntimeError: the toy was told to fail on 'no'" in part.stdout


@pytest.mark.long
def test_a_pilot_trains_trials_of_the_grid_and_says_what_the_rest_takes(tmp_path: Path) -> None:
    grid = gender_grid(tmp_path / "small.toml", plain_release(tmp_path, ("no", "zh-CN")))
    results = tmp_path / "pilot"
    pilot = engine("plan", grid, "--pilot", "--results", results, "--seeds", "0-1", cache=tmp_path / "cache")
    assert pilot.returncode == 0, pilot.stdout + pilot.stderr
    assert re.search(r"trials +15, 10 of them finished", pilot.stdout)
    assert re.search(r"time .* core-hours; .* hours on this machine, \d+ at once; from 10 finished", pilot.stdout)
    assert re.search(r"phases .*train .*evaluate", pilot.stdout)
    assert "smallest effect" in pilot.stdout
    again = engine("plan", grid, "--results", results, cache=tmp_path / "cache")
    assert "from 10 finished trials" in again.stdout
    assert len(list((results / "trials").iterdir())) == 10
