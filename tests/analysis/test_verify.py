"""Verifying a report: nothing differs where nothing was changed, and every change is told."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from analysis.cltm import main as cltm
from analysis.verify import differences, main, verify
from tests.analysis.factories import Folder, results, rows, truth


@pytest.fixture
def report(tmp_path):
    planted = truth(3)
    frame = rows(planted, Folder(seeds=range(4), noise=0.02))
    frame = frame[~((frame.role == "cross") & (frame.seed == 3) & (frame.language == planted.codes[0]))]
    folder = results(tmp_path / "results", planted, Folder(seeds=range(4)), frame)
    assert cltm([str(folder)]) == 0
    return folder / "analysis"


def test_an_untouched_report_agrees(report, capsys):
    assert main([str(report / "report.html")]) == 0
    assert "everything agrees" in capsys.readouterr().out


def test_a_report_moved_with_its_results_agrees_and_one_moved_alone_needs_the_source(report, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(report.parent, moved)
    assert verify(moved / "analysis") == []
    shutil.move(moved / "analysis", tmp_path / "alone")
    assert main([str(tmp_path / "alone")]) == 2
    assert verify(tmp_path / "alone", [moved]) == []


def test_each_changed_number_is_named(report, capsys):
    summary = json.loads((report / "summary.json").read_text())
    summary["rfd"] += 1e-6
    del summary["rms"]
    (report / "summary.json").write_text(json.dumps(summary))
    cells = pd.read_parquet(report / "cells.parquet")
    cells.loc[1, "status"] = "given"
    cells.loc[2, "lower"] = np.nan
    cells.to_parquet(report / "cells.parquet")
    (report / "matrix.csv").unlink()
    assert main([str(report)]) == 1
    out = capsys.readouterr().out
    for part in (
        "summary.json: rfd is",
        "rms is only recomputed",
        ".status is 'given'",
        ".lower is",
        "matrix.csv: is not",
    ):
        assert part in out


def test_a_changed_score_shows_in_the_report_made_of_it(report):
    path = report.parent / "scores.parquet"
    frame = pd.read_parquet(path)
    frame.loc[0, "value"] += 0.1
    frame.to_parquet(path)
    assert any("source.sha256" in line for line in verify(report))


def test_a_folder_that_is_no_report_is_a_users_mistake(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "has no recipe.json" in capsys.readouterr().err


def test_numbers_agree_within_rounding_and_nothing_else_does():
    assert list(differences({"a": [1.0, None, "x"]}, {"a": [1.0 + 1e-12, None, "x"]})) == []
    assert len(list(differences({"a": 1.0, "b": None}, {"a": 1.001, "b": 0.0}))) == 2
    assert len(list(differences({"a": [1]}, {"a": [1, 2]}))) == 1
    assert len(list(differences({"a": 1.0}, {"b": 1.0}))) == 2
