"""Several metrics of the same scores: side by side in the page and in the summary, and no fault of one ends another."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.cltm import main
from analysis.matrix import from_scores, from_values
from analysis.metrics import Measured, agreements, metrics_of, stands_for
from analysis.scores import Scores
from analysis.verify import verify
from tests.analysis.factories import Folder, results, rows, truth


def two_metrics(path, second=None, seeds=6):
    """A folder whose `accuracy` comes first in the file and is not primary."""
    planted, how = truth(4), Folder(range(seeds), noise=0.01)
    other = rows(planted, Folder(range(seeds), noise=0.01, metric="accuracy", draw=1)).assign(primary=False)
    other = other if second is None else second(other)
    return results(path, planted, how, pd.concat([other, rows(planted, how)]))


@pytest.mark.slow
def test_every_metric_is_summarised_the_primary_one_first_and_the_report_verifies(tmp_path):
    folder = two_metrics(tmp_path / "r")
    assert metrics_of([folder]) == ("score", "accuracy")
    assert main([str(folder)]) == 0
    summary = json.loads((folder / "analysis" / "summary.json").read_text())
    first, second = summary["metrics"]
    assert (first["metric"], second["metric"]) == ("score", "accuracy")
    assert first["aggregates"]["rfd"] == summary["rfd"] != second["aggregates"]["rfd"]
    assert second["beside"]["rfd"]["lower"] <= second["beside"]["rfd"]["upper"]
    (pair,) = first["agreement"]
    assert pair["cells"] == 12
    assert 0.9 < pair["correlation"] < 1
    assert second["agreement"] == [pair]
    page = (folder / "analysis" / "report.html").read_text()
    assert "Metrics side by side" in page
    assert f"{pair['correlation']:.3f}" in page
    assert verify(folder / "analysis") == []
    assert main([str(folder), "--metric", "accuracy", "--out", str(tmp_path / "o")]) == 0
    other = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert other["rfd"] == pytest.approx(second["aggregates"]["rfd"])
    assert [one["aggregates"] for one in other["metrics"]] == [one["aggregates"] for one in summary["metrics"]]


@pytest.mark.slow
def test_the_report_of_a_condition_says_so_has_its_metrics_alone_and_verifies(tmp_path, capsys):
    how = Folder(range(6), noise=0.01)
    noisy = rows(truth(4, seed=1), how).assign(condition="noise 10 dB")
    second = rows(truth(4, seed=2), Folder(range(6), noise=0.01, metric="accuracy")).assign(primary=False)
    folder = results(tmp_path / "r", truth(4), how, pd.concat([rows(truth(4), how), second, noisy]))
    assert main([str(folder), "--condition", "noise 10 dB", "--no-structure"]) == 0
    summary = json.loads((folder / "analysis" / "summary.json").read_text())
    assert summary["condition"] == "noise 10 dB"
    assert summary["rfd"] == pytest.approx(np.linalg.norm(truth(4, seed=1).r - 1) / 4, rel=0.1)
    assert [one["metric"] for one in summary["metrics"]] == ["score"]
    assert "score \N{MIDDLE DOT} noise 10 dB" in capsys.readouterr().out
    assert "noise 10 dB" in (folder / "analysis" / "report.html").read_text()
    assert verify(folder / "analysis") == []
    assert main([str(folder), "--condition", "noise 1 dB"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: unknown condition 'noise 1 dB' (did you mean 'noise 10 dB'?)")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_one_metric_has_no_section_and_a_typo_names_those_that_there_are(tmp_path, capsys):
    folder = results(tmp_path / "r", truth(3))
    assert main([str(folder)]) == 0
    assert "side by side" not in (folder / "analysis" / "report.html").read_text()
    assert main([str(two_metrics(tmp_path / "two")), "--metric", "acuracy"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "accuracy" in error
    assert "score" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda frame: frame.assign(value=np.nan), "no finite number"),
        (lambda frame: frame[frame.role == "base"], ""),
    ],
)
def test_a_faulty_second_metric_is_told_and_ends_no_report(tmp_path, fault, said):
    folder = two_metrics(tmp_path / "r", fault)
    assert main([str(folder)]) == 0
    _, second = json.loads((folder / "analysis" / "summary.json").read_text())["metrics"]
    assert second["aggregates"].get("rfd") is None
    assert said in (second["problem"] or "")
    assert said in (folder / "analysis" / "report.html").read_text()


def test_agreement_is_of_the_cells_used_in_both_by_name_of_language():
    def measured(name, codes, values):
        return Measured(name, from_values(codes, np.array(values), [""] * 3))

    nan = np.nan
    one = measured("one", "abc", [[1, 1, 2], [3, 1, 4], [5, 6, 1]])
    other = measured("other", "cba", [[1, 12, 10], [8, 1, nan], [4, 2, 1]])  # twice as much, one cell unknown
    (pair,) = agreements([one, other, Measured("third", None, problem="why")])
    assert (pair.one, pair.other, pair.cells) == ("one", "other", 5)
    assert pair.correlation == pytest.approx(1)


def measured(name, base):
    """A metric with these scores of P(i), (L,), in one seed."""
    base = np.array(base, dtype=float)[:, None]
    n = len(base)
    scores = Scores(("ca", "es", "zh")[:n], (0,), name, True, base, base + 0.1, np.full((n, n, 1), 0.5))
    return Measured(name, from_scores(scores, ["x"] * n))


def test_a_metric_that_is_another_one_by_language_says_which():
    rate, wer, cer = measured("error_rate", [0.1, 0.2, 0.3]), measured("wer", [0.1, 0.2]), measured("cer", [0, 0, 0.3])
    assert stands_for(rate.cltm, [rate, wer, cer]) == "wer for ca, es and cer for zh"
    assert stands_for(wer.cltm, [rate, wer, cer]) == "error_rate"
    assert stands_for(rate.cltm, [rate, replace(rate, name="cer"), wer]) == "cer"
    assert stands_for(rate.cltm, [rate, replace(wer, cltm=None)]) == ""
    assert stands_for(rate.cltm, []) == ""
