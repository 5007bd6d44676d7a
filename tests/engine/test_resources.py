"""What a trial asks of a machine, against what the machine has."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.run import _concurrent_trials
from grids.errors import UserError
from grids.resources import Resources
from tests.engine.jobs import toy_job

MACHINE = {"CPU": 4.0, "GPU": 2.0}


def test_gpus_that_no_training_uses_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy = toy_job(tmp_path)
    gender = replace(toy, grid=replace(toy.grid, task="gender"), backbone="tiny")
    on_gpus = replace(gender, grid=replace(gender.grid, resources=Resources(gpus_per_trial=0.5)))
    assert [_concurrent_trials(job, MACHINE) for job in (toy, on_gpus)] == [4, 4]
    assert caplog.text == ""
    assert _concurrent_trials(gender, MACHINE) == 4
    assert "no trial uses the 2 GPUs that are here: gpus_per_trial in [resources] is 0" in caplog.text


def test_a_machine_that_fits_no_trial_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    job = toy_job(tmp_path, resources={"workers_per_trial": 3, "gpus_per_trial": 1.0})
    with pytest.raises(UserError, match=r"needs 3 GPUs \(gpus_per_trial = 1, workers_per_trial = 3 .*, but Ray has 2"):
        _concurrent_trials(job, MACHINE)
