"""The command of learning curves: from a folder to a recommendation."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.interval import intervals, main
from tests.analysis.factories import Folder, results, row, truth

SIZES = (30, 60, 120, 240)
HOW = Folder(seeds=range(4))


def curve_rows(mean, noise=0.004, seeds=4):
    """Rows of a curve grid: `mean(language, size)`."""
    rng = np.random.default_rng(0)
    return pd.DataFrame([
        {**row(f"{size}*{code}", "base", code, "", s, mean(code, size) + rng.normal(0, noise), HOW), "samples": size}
        for code in ("no", "zh-CN", "eu") for size in SIZES for s in range(seeds)
    ])  # fmt: skip


def curve_folder(path, frame, **grid):
    values = {"mode": "curve", "sizes": list(SIZES), "samples": 0, "languages": ["no", "zh-CN", "eu"], **grid}
    return results(path, truth(2), Folder(seeds=range(4), grid=values), frame)


def mean(code: str, size: int) -> float:
    """`eu` never gains; `zh-CN` stops gaining at 120; `no` gains throughout."""
    return {"eu": 0.6, "zh-CN": 0.1 * np.log2(min(size, 120) / 15), "no": 0.1 * np.log2(size / 15)}[code]


@pytest.mark.slow
def test_a_curve_folder_gives_usable_sizes_and_names_who_fails(tmp_path, capsys):
    folder = curve_folder(tmp_path, curve_rows(mean))
    found = intervals([folder])
    assert [found.usable(i) for i in range(3)] == [(30, 60, 120), (30, 60), ()]
    assert (found.choice.size, found.choice.failed, found.failed) == (30, ("eu",), ("eu",))
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "No N serves all; N = 30 serves 2 of 3, the most. It fails eu." in out
    written = {path.name for path in (folder / "interval").iterdir()}
    assert written >= {"interval.json", "interval.html"} | {f"interval_2col.{s}" for s in ("pdf", "svg", "png")}


@pytest.mark.slow
def test_the_json_is_valid_and_says_null_where_nothing_is_known(tmp_path):
    frame = curve_rows(mean)
    frame = frame[~((frame.language == "eu") & (frame.samples > 60)) & ~((frame.seed > 0) & (frame.samples == 30))]
    folder = curve_folder(tmp_path, frame)
    assert main([str(folder), "--out", str(tmp_path / "o")]) == 0
    document = json.loads((tmp_path / "o" / "interval.json").read_text(), parse_constant=pytest.fail)
    eu = document["languages"][2]
    assert eu["fits"] == {"power": None, "logistic": None}
    assert eu["points"][3] == {"n": 240, "mean": None, "sd": None, "seeds": 0, "lower": None, "upper": None}
    assert len(document["holes"]) == 3 * 3 + 2 * 4
    assert document["recommended"]["n"] == 60
    assert document["paper"]["n"] in SIZES
    page = (tmp_path / "o" / "interval.html").read_text()
    assert "http" not in page.replace("http-equiv", "")


def test_a_matrix_judges_its_own_n(tmp_path):
    planted = truth(3)
    planted.gain[2] = 0.0
    found = intervals([results(tmp_path, planted, Folder(seeds=range(4), noise=0.002))])
    assert found.curves.sizes == (10, 20)
    assert [found.usable(i) for i in range(3)] == [(10,), (10,), ()]
    assert found.holes == ()


def test_errors_enter_as_one_minus_e(tmp_path):
    frame = curve_rows(lambda code, size: 1 - mean("no", size)).assign(higher_is_better=False, metric="eer")
    found = intervals([curve_folder(tmp_path, frame)])
    assert found.curves.inverted
    assert found.choice.failed == ()


def test_scores_under_a_condition_are_no_part_of_the_curves(tmp_path):
    frame = curve_rows(mean)
    noisy = frame.assign(condition="noisy", value=0.1)
    plain, both = (intervals([curve_folder(tmp_path / name, rows)])
                   for name, rows in (("plain", frame), ("both", pd.concat([frame, noisy]))))  # fmt: skip
    assert np.array_equal(plain.curves.values, both.curves.values)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["none"], "is no results folder"), (["empty"], "has no scores.parquet")]
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
