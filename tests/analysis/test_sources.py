"""What the analysis can be given: folders that fill, folders merged, CSVs of scores, raw matrices."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w

from analysis.analyse import analyse
from analysis.cltm import main
from analysis.raw import summarise_raw
from analysis.scores import GivenMatrix, Hole, RawMatrix, Scores
from analysis.sources import read_source
from engine.store import Pass, Result, Store
from grids.errors import UserError
from grids.mixture import Mixture, Trial
from tasks.base import Score
from tests.analysis.factories import Folder, results, row, rows, truth

HEADER = "model_id,type,lang_src,lang_tgt,seed,f1"


def scores_of(*paths: Path) -> Scores:
    content = read_source(paths).content
    assert isinstance(content, Scores)
    return content


def csv_file(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


# --- folders -----------------------------------------------------------------------------------------------------


def stored(folder: Path, trial: Trial, value: float) -> None:
    scores = tuple(Score(code, "f1", value, 7, primary=True, higher_is_better=True) for code in trial.mixture.languages)
    ran = Pass(trial.mixture.languages, {"train": 1.0}, "cpu", {}, "v", "2026-01-01")
    Store(folder).write(Result(trial, scores, (ran,), 16, 4, "c", "d", {}))


def test_results_that_came_since_the_table_was_written_are_read(tmp_path):
    grid = {"name": "g", "task": "toy", "corpus": "synthetic", "languages": ["ca", "no"], "seeds": [0], "samples": 8}
    (tmp_path / "grid.toml").write_text(tomli_w.dumps(grid))
    stored(tmp_path, Trial(Mixture.of({"ca": 8}), 0), 0.5)
    assert scores_of(tmp_path).base[0, 0] == 0.5
    stored(tmp_path, Trial(Mixture.of({"ca": 16}), 0), 0.6)
    source = read_source([tmp_path])
    assert scores_of(tmp_path).self_[0, 0] == 0.6
    left = {
        Hole("base", "no", "", 0),
        Hole("self", "no", "no", 0),
        Hole("cross", "ca", "no", 0),
        Hole("cross", "no", "ca", 0),
    }
    assert {*source.holes} == left


def test_folders_of_different_seeds_merge_into_one(tmp_path):
    planted = truth(3)
    whole = results(tmp_path / "whole", planted, Folder(seeds=range(6), noise=0.01))
    frame = pd.read_parquet(whole / "scores.parquet")
    one = results(tmp_path / "one", planted, Folder(seeds=range(4)), frame[frame.seed < 4])
    two = results(tmp_path / "two", planted, Folder(seeds=range(2, 6)), frame[frame.seed >= 2])  # they share 2 and 3
    merged, single = analyse([one, two]), analyse(whole)
    np.testing.assert_array_equal(merged.cltm.r, single.cltm.r)
    assert merged.plan.seeds == tuple(range(6))
    assert merged.holes == ()
    assert [part.source for part in merged.provenance.parts] == [one, two]
    assert merged.provenance.sha256 not in (part.sha256 for part in merged.provenance.parts)


def test_folders_of_different_languages_merge_and_list_the_pairs_that_neither_has(tmp_path):
    planted = truth(4)
    frame = rows(planted, Folder(seeds=[0, 1]))
    a, b, c, d = planted.codes

    def part(name: str, codes: tuple[str, ...]) -> Path:
        inside = frame[frame.language.isin(codes) & frame.donor.isin([*codes, ""])]
        return results(tmp_path / name, planted, Folder(seeds=[0, 1], grid={"languages": list(codes)}), inside)

    source = read_source([part("one", (a, b, c)), part("two", (c, d))])
    assert source.plan.languages == (a, b, c, d)
    pairs = {(a, d), (b, d), (d, a), (d, b)}
    assert {*source.holes} == {Hole("cross", i, j, seed) for i, j in pairs for seed in (0, 1)}


@pytest.mark.parametrize(
    ("spoil", "grid", "message"),
    [
        (lambda f: f.assign(value=f.value + 0.1), {}, "has other scores in other folders"),
        (lambda f: f.assign(config_sha="other"), {}, "other configurations"),
        (lambda f: f.assign(data_sha="other"), {}, "results of other data"),
        (lambda f: f, {"samples": 20}, "samples is 10 in the first and 20 in the second"),
        (lambda f: f, {"task": "gender"}, "task is 'toy' in the first and 'gender' in the second"),
        (lambda f: f, {"exclude": {"no": "too few"}}, "no is a language of one and excluded by the other"),
        (lambda f: f.assign(metric="eer"), {}, "2 primary metrics"),
    ],
)
def test_folders_that_are_no_one_experiment_are_refused_with_the_reason(tmp_path, spoil, grid, message):
    planted = truth(2)
    one = results(tmp_path / "one", planted)
    two = results(tmp_path / "two", planted, Folder(grid=grid), spoil(rows(planted, Folder())))
    with pytest.raises(UserError, match=message):
        read_source([one, two])


def test_identities_are_compared_by_key_and_by_language(tmp_path):
    one, two = results(tmp_path / "one", truth(2)), results(tmp_path / "two", truth(2))
    (one / "identity.json").write_text(json.dumps({"config": {"train": {"epochs": 1}}, "data": {"no": "x"}}))
    (two / "identity.json").write_text(json.dumps({"config": {"train": {"epochs": 2}}, "data": {"no": "x"}}))
    with pytest.raises(UserError, match=r"train is {'epochs': 1} in the first and {'epochs': 2} in the second"):
        read_source([one, two])
    (two / "identity.json").write_text(json.dumps({"config": {"train": {"epochs": 1}}, "data": {"no": "y", "eu": "z"}}))
    with pytest.raises(UserError, match="the prepared clips of no differ"):
        read_source([one, two])
    (two / "identity.json").write_text("{")
    with pytest.raises(UserError, match=r"identity\.json is damaged"):
        read_source([one, two])


def test_a_folder_given_twice_a_file_among_folders_and_a_curve_are_refused(tmp_path):
    folder = results(tmp_path / "one", truth(2))
    with pytest.raises(UserError, match="more than once"):
        read_source([folder, folder])
    with pytest.raises(UserError, match="only results folders can be merged"):
        read_source([folder, csv_file(tmp_path / "s.csv", [])])
    curve = results(tmp_path / "curve", truth(2), Folder(grid={"mode": "curve", "sizes": [10]}))
    with pytest.raises(UserError, match=r"python -m analysis\.interval"):
        read_source([curve])


# --- scores CSV --------------------------------------------------------------------------------------------------


def test_in_a_scores_csv_lang_src_is_the_target_and_equal_languages_are_the_self_run(tmp_path):
    lines = ["m,single,ca,,0,0.5", "m,single,es,es,0,0.6", "m,dual,ca,ca,0,0.7", "m,dual,es,es,0,0.7",
             "m,dual,ca,es,0,0.6", "m,dual,es,ca,0,0.65"]  # fmt: skip
    analysis = analyse(csv_file(tmp_path / "s.csv", lines))
    assert analysis.cltm.languages == ("ca", "es")
    np.testing.assert_allclose(analysis.cltm.r, [[1, 0.5], [0.5, 1]])
    assert analysis.cltm.metric == "f1"


def test_errors_of_a_scores_csv_enter_as_one_minus_e(tmp_path):
    header = HEADER.replace("f1", "eer")
    lines = [
        "m,single,ca,,0,0.5",
        "m,dual,ca,ca,0,0.3",
        "m,dual,ca,es,0,0.4",
        "m,single,es,,0,0.5",
        "m,dual,es,es,0,0.4",
    ]
    source = read_source([csv_file(tmp_path / "s.csv", lines, header)])
    assert isinstance(source.content, Scores)
    assert source.content.inverted
    np.testing.assert_allclose(source.content.base[:, 0], [0.5, 0.5])
    np.testing.assert_allclose(source.content.self_[:, 0], [0.7, 0.6])
    assert np.isnan(source.content.cross[1, 0, 0])


def test_unequal_seed_counts_and_empty_scores_are_kept_as_they_are(tmp_path):
    lines = ["m,single,ca,,0,0.5", "m,single,ca,,1,0.6", "m,dual,ca,ca,0,0.7", "m,dual,ca,es,7,", "m,dual,ca,es,0,0.6"]
    source = read_source([csv_file(tmp_path / "s.csv", lines)])
    assert isinstance(source.content, Scores)
    assert source.content.seeds == (0, 1)
    assert source.holes == (Hole("cross", "ca", "es", 7),)
    assert np.isfinite(source.content.base[0]).sum() == 2


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["m,triple,ca,es,0,0.5"], HEADER, "line 2: type is 'triple'; allowed: single, dual"),
        (["m,single,ca,,0,87.3"], HEADER, "f1 is '87.3'; scores are fractions, no percentages"),
        (["m,single,ca,,0,good"], HEADER, "f1 is 'good'"),
        (["m,single,ca,,x,0.5"], HEADER, "seed is 'x'"),
        (["m,single,,,0,0.5"], HEADER, "lang_src is empty"),
        (["m,dual,ca,,0,0.5"], HEADER, "lang_tgt is empty"),
        (["m,single,ca,,0,0.5", "m,single,ca,,0,0.6"], HEADER, "is 0.6, and 0.5 further up"),
        (["m,single,ca,,0"], HEADER, "has 5 cells, the header names 6 columns"),
        (["m,single,ca,,0,"], HEADER, "has no f1 in any row"),
        (["m,single,ca,,0.5"], "model_id,type,lang_src,lang_tgt,f1", "lacks the column seed"),
        (["m,single,ca,,0,0.5"], HEADER.replace("f1", "bleu"), "has none of them"),
        (["m,single,ca,,0,0.5,0.1"], HEADER + ",eer", "choose one with --metric"),
        ([], HEADER, "no row of scores"),
        (["m,single,ca,,0,0.5,0"], HEADER + ",Seed", "column 'seed' is there more than once"),
    ],
)
def test_a_scores_csv_without_meaning_is_refused(tmp_path, lines, header, message):
    with pytest.raises(UserError, match=message):
        read_source([csv_file(tmp_path / "s.csv", lines, header)])


def test_the_three_kinds_of_source_are_told_apart_by_content(tmp_path):
    scores = csv_file(tmp_path / "a.csv", ["m,single,ca,,0,0.5"])
    matrix = csv_file(tmp_path / "b.csv", ["seed,1,0.5", "type,0.5,1"], "target,seed,typed".replace("typed", "type"))
    assert isinstance(read_source([scores]).content, Scores)
    with pytest.raises(UserError, match="of a scores CSV"):  # two languages named like columns: never guessed
        read_source([matrix])
    plain = csv_file(tmp_path / "c.csv", ["ca,1,0.5", "es,,1"], "target,ca,es")
    assert isinstance(read_source([plain]).content, GivenMatrix)
    with pytest.raises(UserError, match="does not exist"):
        read_source([tmp_path / "none"])
    (tmp_path / "bin.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="as a CSV"):
        read_source([tmp_path / "bin.csv"])


# --- raw matrices ------------------------------------------------------------------------------------------------


def raw_of(folder: Path) -> RawMatrix:
    content = read_source([folder]).content
    assert isinstance(content, RawMatrix)
    return content


def test_scores_without_any_self_run_are_raw_gains_and_no_r(tmp_path):
    planted, how = truth(3), Folder(noise=0.01, grid={"mode": "list"})
    frame = rows(planted, how)
    raw = raw_of(results(tmp_path, planted, how, frame[frame.role != "self"]))
    assert raw.gains
    base, cross = (frame[frame.role == role] for role in ("base", "cross"))
    a, b, _ = planted.codes
    by_seed = (cross[(cross.language == a) & (cross.donor == b)].value.to_numpy()
               - base[base.language == a].value.to_numpy())  # fmt: skip
    assert raw.values[0, 1] == pytest.approx(by_seed.mean())
    assert raw.se[0, 1] == pytest.approx(by_seed.std(ddof=1) / np.sqrt(3))
    assert np.isnan(np.diag(raw.values)).all()


def test_scores_under_the_condition_of_a_language_are_a_raw_matrix(tmp_path):
    planted, how = truth(2), Folder(metric="r1")
    a, b = planted.codes
    frame = pd.DataFrame([
        {**row("", "untouched", i, "", s, value + s / 100, how), "condition": j}
        for i, j, value in ((a, b, 0.2), (b, a, 0.4), (a, "noisy", 0.1)) for s in (0, 1)
    ])  # fmt: skip
    raw = raw_of(results(tmp_path, planted, Folder(seeds=[0, 1], grid={"mode": "list"}), frame))
    assert not raw.gains
    np.testing.assert_allclose(raw.values, [[np.nan, 0.205], [0.405, np.nan]])
    summary = summarise_raw(raw)
    assert summary.mean == pytest.approx(0.305)
    assert summary.asymmetry == pytest.approx(np.hypot(0.2, 0.2) / np.hypot(0.205, 0.405))
    assert summary.positive is None


def test_a_matrix_whose_self_runs_are_still_to_come_is_not_taken_for_a_raw_one(tmp_path):
    planted = truth(2)
    frame = rows(planted, Folder())
    assert isinstance(read_source([results(tmp_path, planted, frame=frame[frame.role == "base"])]).content, Scores)


@pytest.mark.slow
def test_the_command_says_that_a_raw_matrix_is_none_of_r_and_writes_its_summary(tmp_path, capsys):
    planted, how = truth(3), Folder(noise=0.01, grid={"mode": "list"})
    frame = rows(planted, how)
    folder = results(tmp_path, planted, how, frame[frame.role != "self"])
    assert main([str(folder)]) == 0
    assert "no self-gain" in capsys.readouterr().out
    names = {path.name for path in (folder / "analysis").iterdir()}
    assert {"summary.json", "matrix.csv", "report.html", "recipe.json", "heatmap_2col.svg"} <= names
    summary = json.loads((folder / "analysis" / "summary.json").read_text())
    assert (summary["kind"], summary["n"], summary["missing_cells"]) == ("raw", 3, 0)
    assert "rfd" not in summary
    with pytest.raises(UserError, match="no self-gain"):
        analyse(folder)


def test_a_raw_folder_without_any_pair_has_nothing_to_say(tmp_path):
    planted, how = truth(2), Folder(grid={"mode": "list"})
    frame = rows(planted, how)
    with pytest.raises(UserError, match="nothing to analyse yet"):
        read_source([results(tmp_path, planted, how, frame[frame.role == "base"])])


def test_a_file_has_no_conditions(tmp_path):
    file = csv_file(tmp_path / "a.csv", ["1,base,ca,,0,0.5"])
    with pytest.raises(UserError, match=r"--condition 'to en' needs results folders; .*a.csv is a file"):
        read_source([file], condition="to en")
