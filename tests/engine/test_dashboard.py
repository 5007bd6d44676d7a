"""Dashboards made by code: what they hold; saving them needs W&B's server."""

import json
import sys

import pytest

from engine.dashboard import panels, workspace
from grids.errors import UserError
from tests.engine.jobs import toy_grid


def test_without_the_extra_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"cltm-engine\[dashboards\]"):
        panels(toy_grid())


@pytest.mark.slow
@pytest.mark.parametrize(("granularity", "curve"), [("run", '"loss"'), ("row", '"^loss/"')])
def test_a_workspace_shows_matrix_curves_failures_and_throughput(granularity: str, curve: str) -> None:
    pytest.importorskip("wandb_workspaces", reason="the extra `dashboards` is not installed")
    grid = toy_grid(tracking={"granularity": granularity})
    made = json.dumps(json.loads(workspace(grid, "me", panels(grid))._to_model().model_dump_json()))
    for name in ("heatmap", "learning curves", "failures", "throughput", "cltm-toy", "samples_per_second"):
        assert name in made
    assert curve in made
