"""Reading a results folder: what is used, what is a hole, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.analyse import analyse
from analysis.folders import COLUMNS, read_folders, read_plan
from analysis.scores import Hole, Scores
from engine.store import SCORES_SCHEMA
from grids.errors import UserError
from tests.analysis.factories import Folder, results, row, rows, truth

FAMILIES = Path(__file__).parents[1] / "data" / "families.csv"


def read(folder: Path, metric: str | None = None):
    source = read_folders([folder], metric)
    assert isinstance(source.content, Scores)
    return source.content, source.provenance


def test_holes_are_listed_and_nothing_is_filled_in(tmp_path):
    planted = truth(3)
    a, b, c = planted.codes
    frame = rows(planted, Folder())
    gone = (
        ((frame.role == "cross") & (frame.language == a) & (frame.donor == b) & (frame.seed == 1))
        | ((frame.role == "base") & (frame.language == c) & (frame.seed == 0))
        | ((frame.role == "self") & (frame.language == b) & (frame.seed == 2))
    )
    folder = results(tmp_path, planted, Folder(grid={"seeds": [0, 1, 2, 7]}), frame[~gone])
    found = read_folders([folder]).holes
    expected = {Hole("cross", a, b, 1), Hole("base", c, "", 0), Hole("self", b, b, 2)}
    expected |= {Hole("base", code, "", 7) for code in planted.codes}
    expected |= {Hole("self", code, code, 7) for code in planted.codes}
    expected |= {Hole("cross", one, other, 7) for one in planted.codes for other in planted.codes if one != other}
    assert set(found) == expected
    assert len(found) == len(expected)
    counts = analyse(folder, FAMILIES).cltm.moments.count
    assert counts[0, 1].tolist() == [2, 3, 3]  # cross, base, self of (a, b)


def test_a_complete_folder_has_no_hole(tmp_path):
    folder = results(tmp_path, truth(3))
    assert read_folders([folder]).holes == ()


def test_a_language_without_any_score_is_all_holes_and_its_cells_are_missing(tmp_path):
    planted = truth(3)
    folder = results(tmp_path, planted, Folder(seeds=[4], grid={"languages": [*planted.codes, "eu"]}))
    analysis = analyse(folder, FAMILIES)
    assert len(analysis.holes) == 1 + 1 + 3 + 3
    assert analysis.cltm.languages[-1] == "eu"
    assert (analysis.cltm.status[-1] == "missing").all()


def test_seeds_beyond_the_grid_are_used_and_said(tmp_path):
    analysis = analyse(results(tmp_path, truth(2), Folder(seeds=range(5), grid={"seeds": 3})), FAMILIES)
    assert analysis.cltm.scores is not None
    assert analysis.cltm.scores.seeds == (0, 1, 2, 3, 4)
    assert any("Seeds 3, 4" in note for note in analysis.notes)


def test_languages_outside_the_grid_or_excluded_by_it_are_left_out(tmp_path):
    planted = truth(4)
    plan = {"languages": list(planted.codes[:3]), "exclude": {planted.codes[2]: "too few speakers"}}
    analysis = analyse(results(tmp_path, planted, Folder(grid=plan)), FAMILIES)
    assert analysis.cltm.languages == planted.codes[:2]
    assert analysis.plan.exclude[0].reason == "too few speakers"
    assert analysis.holes == ()


@pytest.mark.parametrize("grid", [{}, None, {"mode": "list"}])
def test_other_roles_and_conditions_are_no_part_of_the_matrix(tmp_path, grid):
    planted, how = truth(2), Folder(grid=grid)
    a, b = planted.codes
    further = [row(a, "zero", b, a, 0, 0.1, how), row("", "untouched", a, "", 0, 0.1, how),
               {**row(a, "base", a, "", 0, 0.1, how), "condition": "noisy"},
               {**row(a, "base", a, "", 0, 0.1, how), "metric": "eer", "primary": False}]  # fmt: skip
    frame = pd.concat([rows(planted, how), pd.DataFrame(further)])
    scores, _ = read(results(tmp_path, planted, how, frame))
    assert scores.base[scores.languages.index(a)].tolist() == [planted.base[0]] * 3


def test_another_metric_can_be_asked_for(tmp_path):
    planted, how = truth(2), Folder()
    second = rows(planted, Folder(metric="eer", higher_is_better=False)).assign(primary=False)
    folder = results(tmp_path, planted, how, pd.concat([rows(planted, how), second]))
    assert read(folder)[0].metric == "score"
    eer = read(folder, "eer")[0]
    assert (eer.metric, eer.inverted) == ("eer", True)
    assert eer.base[0, 0] == pytest.approx(planted.base[0])
    with pytest.raises(UserError, match=r"unknown metric 'err' .did you mean 'eer'"):
        read(folder, "err")


def test_the_scores_under_a_condition_can_be_asked_for(tmp_path):
    """Translation: BLEU into another language, and the transcription's error rate, which is no primary metric."""
    planted, noisy, heard = truth(2, seed=0), truth(2, seed=1), truth(2, seed=2)
    bleu, wer = Folder(metric="bleu"), Folder(metric="wer", higher_is_better=False)
    frames = [rows(planted, bleu), rows(noisy, bleu).assign(condition="to en"),
              rows(heard, wer).assign(condition="to source", primary=False)]  # fmt: skip
    untouched = [row("", "untouched", planted.codes[0], "", 0, value, bleu) | {"condition": condition}
                 for condition, value in (("", 0.1), ("to en", 0.2))]  # fmt: skip
    folder = results(tmp_path, planted, bleu, pd.concat([*frames, pd.DataFrame(untouched)]))
    asked = {"": None, "to en": None, "to source": "wer"}
    found = {condition: read_folders([folder], metric, condition) for condition, metric in asked.items()}
    for (condition, source), one in zip(found.items(), (planted, noisy, heard), strict=True):
        assert source.content.base[:, 0] == pytest.approx(one.base)
        assert source.content.cross[0, 1, 0] == pytest.approx(one.base[0] + one.r[0, 1] * one.gain[0])
        assert source.provenance.condition == condition
        assert source.holes == ()
    assert (found["to source"].content.metric, found["to source"].content.inverted) == ("wer", True)
    assert [source.untouched.get(planted.codes[0]) for source in found.values()] == [0.1, 0.2, None]
    with pytest.raises(UserError, match=r"unknown condition 'to em' .did you mean 'to en'.*allowed: to en, to source"):
        read_folders([folder], condition="to em")
    with pytest.raises(UserError, match=r"unknown metric 'wer'"):
        read_folders([folder], "wer", "to en")
    with pytest.raises(UserError, match=r"0 primary metrics; choose one with --metric: wer"):
        read_folders([folder], condition="to source")


def test_a_folder_without_a_grid_takes_the_languages_it_finds(tmp_path):
    planted = truth(3)
    folder = results(tmp_path / "mine", planted, Folder(grid=None))
    scores, _ = read(folder)
    assert scores.languages == tuple(sorted(planted.codes))
    assert read_plan(folder).name == "mine"
    assert read_folders([folder]).holes == ()


def test_a_grid_that_lists_mixtures_expects_no_matrix(tmp_path):
    folder = results(tmp_path, truth(2), Folder(seeds=[0], grid={"mode": "list", "seeds": [0, 1, 2]}))
    assert read_folders([folder]).holes == ()


def test_the_columns_read_are_columns_that_the_store_writes():
    assert set(COLUMNS) <= set(SCORES_SCHEMA.names)


def test_hashes_versions_and_sizes_are_kept(tmp_path):
    _, provenance = read(results(tmp_path, truth(2)))
    assert provenance.config_sha == ("c0ffee",)
    assert provenance.data_sha == ("da7a",)
    assert provenance.n_test == (500, 500)
    assert len(provenance.sha256) == 64


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: pd.concat([f, f.iloc[:1]]), "more than once"),
        (lambda f: f.assign(value=float("nan")), "no finite number"),
        (lambda f: f.assign(higher_is_better=[i % 2 == 0 for i in range(len(f))]), "both as higher and as lower"),
        (lambda f: f.drop(columns=["donor", "seed"]), "lacks the columns donor, seed"),
        (lambda f: f.iloc[:0], "nothing to analyse yet"),
        (lambda f: f.assign(primary=False), "0 primary metrics"),
        (lambda f: f.assign(language="fr"), "no score of the grid's languages"),
    ],
)
def test_scores_without_a_meaning_are_refused(tmp_path, spoil, message):
    planted = truth(2)
    folder = results(tmp_path, planted, frame=spoil(rows(planted, Folder())))
    with pytest.raises(UserError, match=message):
        read(folder)


def test_a_file_that_is_no_parquet_or_no_toml_is_refused(tmp_path):
    folder = results(tmp_path, truth(2))
    (folder / "grid.toml").write_text("languages = [")
    with pytest.raises(UserError, match="is not TOML"):
        read_plan(folder)
    (folder / "scores.parquet").write_text("trial,seed")
    (folder / "grid.toml").unlink()
    with pytest.raises(UserError, match="cannot read"):
        read(folder)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_untouched_model_stands_beside_the_matrix_and_in_no_cell(tmp_path, higher_is_better):
    planted, how = truth(2), Folder(higher_is_better=higher_is_better)
    untouched = [row("", "untouched", planted.codes[0], "", seed, 0.25 + 0.25 * seed, how) for seed in how.seeds]
    plain = read_folders([results(tmp_path / "plain", planted, how)])
    source = read_folders(
        [results(tmp_path / "r", planted, frame=pd.concat([rows(planted, how), pd.DataFrame(untouched)]))]
    )
    assert source.untouched == {planted.codes[0]: pytest.approx(0.5)}
    assert np.array_equal(source.content.base, plain.content.base)
    assert np.array_equal(source.content.cross, plain.content.cross, equal_nan=True)
    only = results(tmp_path / "only", planted, frame=pd.DataFrame(untouched))
    with pytest.raises(UserError, match="no score of a base, self or cross trial; nothing to analyse yet"):
        read_folders([only])
