"""The analysis as a W&B run."""

from pathlib import Path

import pytest

from analysis.cltm import main
from engine.job import settle
from engine.plan import make_plan
from engine.train import run_trial
from tests.engine.jobs import toy_job
from tests.engine.wandb_files import read_runs

pytestmark = pytest.mark.slow


def test_an_analysis_is_one_run_with_matrix_figures_page_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = settle(toy_job(tmp_path, tracking={"wandb": "offline"}))
    for item in make_plan(job).pending:
        result = run_trial(job, item)
        assert result is not None
        job.store.write(result)
    job.store.compact(job.grid.samples)
    assert main([str(tmp_path), "--wandb"]) == 0
    assert f"python -m engine sync {tmp_path}" in capsys.readouterr().out
    assert "wandb" not in (tmp_path / "analysis" / "recipe.json").read_text()
    (run,) = read_runs(tmp_path)
    assert (run.about.project, run.about.job_type, run.exit_code) == ("cltm-toy", "analysis", 0)
    logged = run.history[0]
    kinds = {"heatmap": "image-file", "cells": "table-file", "report": "html-file"}
    assert {name: logged[f"{name}/_type"] for name in kinds} == kinds
    assert logged["cells/nrows"] == 4
    assert run.summary["n"] == 2
    (artifact,) = (one for one in run.artifacts if one.type == "analysis")
    held = {entry.path for entry in artifact.manifest.contents}
    assert {"cells.parquet", "scores.parquet", "grid.toml", "report.html", "heatmap.pdf"} <= held


def test_a_matrix_without_a_results_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("target,ca,es\nca,1,0.5\nes,0.5,1\n")
    assert main([str(tmp_path / "m.csv"), "--out", str(tmp_path / "out"), "--wandb"]) == 2
    assert "--wandb needs a results folder" in capsys.readouterr().err
