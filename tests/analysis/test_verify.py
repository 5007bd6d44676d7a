"""Verifying a report: nothing differs where nothing was changed, and every change is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cltm import main as cltm
from analysis.cltm import parser as cltm_parser
from analysis.compare import main as compare
from analysis.interval import main as interval
from analysis.recipe import read_recipe, record
from analysis.verify import differences, main, verify
from tests.analysis.factories import Folder, results, rows, truth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    planted = truth(3)
    frame = rows(planted, Folder(seeds=range(4), noise=0.02))
    frame = frame[~((frame.role == "cross") & (frame.seed == 3) & (frame.language == planted.codes[0]))]
    folder = results(tmp_path_factory.mktemp("made"), planted, Folder(seeds=range(4)), frame)
    assert cltm([str(folder)]) == 0
    return folder


@pytest.fixture
def report(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results") / "analysis"


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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"arguments": ["--profile=other", "--", "x"]}, "invalid choice: 'other'"),
        ({"arguments": ["--colour=red", "--", "x"]}, "--colour=red"),
        ({"arguments": []}, "SOURCE"),
        ({"arguments": ["--help"]}, "recipe.json"),
        ({"arguments": [1]}, "arguments"),
        ({"arguments": None}, "arguments"),
        ({"arguments": ["--", "gone"]}, "gone"),
        ({"command": "rm"}, "'rm'"),
        ({"command": None}, "command"),
        ({"files": 3}, "files"),
    ],
)
def test_a_damaged_recipe_is_told_in_one_line(report, capsys, damage, said):
    path = report / "recipe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    capsys.readouterr()
    assert main([str(report)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"source": [{"path": "x"}], "metric": null}'])
def test_a_recipe_of_another_kind_is_told_in_one_line(report, capsys, text):
    (report / "recipe.json").write_text(text)
    capsys.readouterr()
    assert main([str(report)]) == 2
    assert "recipe.json is damaged, or of another version" in capsys.readouterr().err


def test_every_option_of_the_command_comes_back_from_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["a/b", "c d", "--families", "f.csv", "--metric", "eer", "--profile", "paper", "--resample-languages", "60",
             "--distance", "x=d.csv", "--distance", "y=e=1.csv", "--no-structure", "--no-test-noise",
             "--languages", "ca,es", "--order", "name", "--condition", "to en"]  # fmt: skip
    options = cltm_parser().parse_args(given)
    left_out = ("out", "wandb")  # where to, and what is done with it: both change no number
    assert all(
        value != cltm_parser().get_default(name) for name, value in vars(options).items() if name not in left_out
    )
    out = tmp_path / "deep" / "report"
    out.mkdir(parents=True)
    record(cltm_parser(), options, out, [])
    again = read_recipe(out).options(cltm_parser())

    def whole(value):
        if isinstance(value, list | tuple):
            return [whole(one) for one in value]
        return value.resolve() if isinstance(value, Path) else value

    assert {name: whole(value) for name, value in vars(again).items()} == {
        name: whole(value) for name, value in vars(options).items()
    }


def test_files_of_an_earlier_run_go_and_a_users_stay(report, tmp_path):
    kept = {"notes.txt": "mine", "own.csv": "a,b", "tables/own.tex": "mine"}
    for name, text in kept.items():
        (report / name).write_text(text)
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    recipe = json.loads((report / "recipe.json").read_text())
    assert {"structure.json", "tables/matrix.tex", "heatmap.svg", "report.html"} <= {*recipe["files"]}
    (report / "map_2col.svg").write_text("of an earlier run")
    recipe["files"] += ["map_2col.svg", "../outside.json", str(outside), "../../outside.json", "notes.txt"]
    (report / "recipe.json").write_text(json.dumps(recipe))
    assert cltm([str(report.parent), "--profile", "paper"]) == 0
    assert not (report / "structure.json").exists()
    assert not (report / "map_2col.svg").exists()
    assert outside.exists()
    assert {name: (report / name).read_text() for name in kept} == kept
    written = json.loads((report / "recipe.json").read_text())["files"]
    there = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert there == {*written, *kept, "recipe.json"}
    assert verify(report) == []


def test_another_commands_files_in_the_same_folder_stay(report):
    assert interval([str(report.parent), "--out", str(report)]) == 0
    assert (report / "summary.json").exists()
    assert cltm([str(report.parent)]) == 0
    assert (report / "interval.json").exists()


def test_reports_of_the_other_commands_verify_and_their_changes_are_told(report, tmp_path):
    folder = report.parent
    other = results(tmp_path / "other", truth(3, seed=1), Folder(seeds=range(4), noise=0.01))
    for command, out, table in ((interval, folder / "interval", "interval.json"),
                                (compare, folder / "compared", "compare.json")):  # fmt: skip
        assert command([str(folder), *([str(other)] if command is compare else []), "--out", str(out)]) == 0
        assert verify(out) == []
        text = (out / table).read_text()
        (out / table).write_text(text.replace('"seeds": [', '"seeds": [7,', 1).replace('"seeds": 4', '"seeds": 5', 1))
        assert verify(out)


def test_numbers_agree_within_rounding_and_nothing_else_does():
    assert list(differences({"a": [1.0, None, "x"]}, {"a": [1.0 + 1e-12, None, "x"]})) == []
    assert len(list(differences({"a": 1.0, "b": None}, {"a": 1.001, "b": 0.0}))) == 2
    assert len(list(differences({"a": [1]}, {"a": [1, 2]}))) == 1
    assert len(list(differences({"a": 1.0}, {"b": 1.0}))) == 2
