"""The command: what it writes and prints, and that a user's mistake is one line."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cltm import main
from tests.analysis.factories import Folder, results, rows, truth

DATA = Path(__file__).parents[1] / "data"
FAMILIES = ["--families", str(DATA / "families.csv")]
CONTRACT = ("metric", "n", "rfd", "relative_asymmetry", "average_row_cosine", "prop_positive", "reciprocity_positive",
            "intra_family_positive_mass", "intra_family_positive_cells", "intra_family_positive_rate", "rms",
            "median_se", "mean_se", "undefined_cells", "missing_cells")  # fmt: skip
FILES = ("summary.json", "matrix.csv", "cells.parquet", "holes.csv", "heatmap.pdf", "heatmap.svg", "heatmap.png",
         "report.html", "recipe.json", "structure.json", "tables",
         *(f"{stem}_{width}.{suffix}" for stem in ("components", "heatmap", "map", "scores", "tree")
           for width in ("1col", "2col")
           for suffix in ("pdf", "svg", "png")))  # fmt: skip


@pytest.mark.slow
def test_a_results_folder_gives_every_file_beside_its_scores(tmp_path, capsys):
    planted = truth(4)
    assert main([str(results(tmp_path, planted, Folder(seeds=range(3)))), *FAMILIES]) == 0
    out = tmp_path / "analysis"
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    summary = json.loads((out / "summary.json").read_text())
    assert set(CONTRACT) <= summary.keys()
    assert (summary["metric"], summary["n"], summary["holes"]) == ("score", 4, 0)
    off = ~np.eye(4, dtype=bool)
    assert summary["prop_positive"] == pytest.approx((planted.r[off] > 0).mean())
    assert summary["rfd"] == pytest.approx(np.linalg.norm(planted.r - 1) / 4)
    assert summary["median_se"] == pytest.approx(0.0, abs=1e-9)
    printed = capsys.readouterr().out
    assert "toy" in printed
    assert str(out) in printed


@pytest.mark.slow
def test_cells_hold_every_cell_with_its_status_and_null_where_unknown(tmp_path):
    planted = truth(3)
    planted.gain[0] = 0.0
    assert main([str(results(tmp_path, planted, Folder(seeds=[5]))), *FAMILIES, "--out", str(tmp_path / "o")]) == 0
    cells = pd.read_parquet(tmp_path / "o" / "cells.parquet").set_index(["target", "donor"])
    assert len(cells) == 9
    first, second, third = planted.codes
    assert cells.loc[(first, second), "status"] == "undefined"
    assert cells.loc[(second, third), "status"] == "undetermined"
    assert cells.loc[(second, third), "r"] == pytest.approx(planted.r[1, 2])
    assert cells.loc[(second, third), ["se", "lower", "upper", "g"]].isna().all()
    assert cells.loc[(second, second), ["r", "se"]].tolist() == [1, 0]
    assert cells["used"].sum() == 4
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["undefined_cells"] == 2
    assert summary["median_se"] is None


@pytest.mark.slow
def test_a_bare_matrix_goes_into_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(DATA / "asr_mhubert.csv"), *FAMILIES]) == 0
    out = tmp_path / "asr_mhubert-analysis"
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metric"] is summary["median_se"] is summary["undefined_cells"] is None
    assert (summary["n"], summary["missing_cells"]) == (9, 0)
    assert f"{summary['rfd']:.3f}" == "0.639"


@pytest.mark.slow
def test_holes_are_written_and_nulls_are_valid_json(tmp_path):
    planted = truth(3)
    frame = rows(planted, Folder(seeds=[0]))
    frame = frame[frame.role != "cross"]
    assert main([str(results(tmp_path, planted, Folder(seeds=[0]), frame)), *FAMILIES]) == 0
    out = tmp_path / "analysis"
    assert len((out / "holes.csv").read_text().splitlines()) == 1 + 6
    summary = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["rfd"] is None
    assert summary["missing_cells"] == 6


@pytest.mark.slow
def test_running_twice_gives_the_same_files(tmp_path):
    folder = results(tmp_path, truth(3), Folder(noise=0.01))
    main([str(folder), *FAMILIES])
    first = {path.name: path.read_bytes() for path in (folder / "analysis").rglob("*.*")}
    main([str(folder), *FAMILIES])
    assert first == {path.name: path.read_bytes() for path in (folder / "analysis").rglob("*.*")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "'nowhere' does not exist"),
        (["empty"], "'empty' has no scores.parquet"),
        (["some/scores.parquet"], "give its folder"),
        (["bad.csv"], "not square"),
        (["good.csv", "--metric", "eer"], "--metric eer needs a results folder or a scores CSV"),
        (["good.csv", "--families", "none.csv"], "cannot read families file 'none.csv'"),
        (["good.csv", *FAMILIES, "--out", "bad.csv"], "cannot write to the folder 'bad.csv'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("bad.csv").write_text("target,a\na,1\nb,1\n")
    Path("good.csv").write_text("target,a,b\na,1,0.5\nb,0.5,1\n")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert message in captured.err


@pytest.mark.slow
def test_a_terminal_gets_a_table_with_the_same_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main([str(DATA / "asr_mhubert.csv"), *FAMILIES]) == 0
    printed = capsys.readouterr().out
    assert "0.639" in printed
    assert "90.28 %" in printed
    assert "report.html" in printed


@pytest.mark.slow
def test_help_is_quick_and_analysis_never_loads_ray_or_torch(tmp_path):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "analysis.cltm", "--help"], check=True, capture_output=True)
    assert time.perf_counter() - start < 1.0
    code = (
        "import sys; from analysis.cltm import main; main(sys.argv[1:]); "
        "print([name for name in ('ray', 'torch', 'transformers', 'matplotlib.pyplot') if name in sys.modules])"
    )
    arguments = [str(DATA / "asr_mhubert.csv"), *FAMILIES, "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
