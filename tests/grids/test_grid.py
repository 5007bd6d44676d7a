"""Grid files: what they may hold, what they stand for, and what each mistake says."""

from pathlib import Path

import pytest

from grids.errors import UserError
from grids.grid import Grid, load, parse
from grids.mixture import Mixture

MINIMAL = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "es", "no"], "seeds": 2, "samples": 60}
GRIDS = sorted(Path(__file__).parents[2].glob("grids/*.toml"))


def grid(**changes: object) -> Grid:
    return parse({**MINIMAL, **changes}, "test")


def test_number_of_trainings_is_the_shared_one() -> None:
    languages = [f"l{n:02}" for n in range(44)]
    assert len(grid(languages=languages, seeds=10).trials()) == 10_340


def test_denominators_come_first() -> None:
    texts = [trial.mixture.text(60) for trial in grid().trials()]
    assert texts[:12:2] == ["ca", "es", "no", "ca+ca", "es+es", "no+no"]


def test_every_trial_once_whatever_the_order_of_languages() -> None:
    assert set(grid(languages=["no", "ca", "es"]).trials()) == set(grid().trials())
    assert len(set(grid().trials())) == len(grid().trials()) == 2 * (3 + 3 + 3)


def test_evaluated_languages() -> None:
    pair = Mixture.parse("ca+es", 60)
    assert grid().evaluated(pair) == ("ca", "es")
    assert grid(evaluate="all").evaluated(pair) == ("ca", "es", "no")
    assert grid(evaluate=["fr"]).evaluated(pair) == ("ca", "es", "fr")
    assert grid(evaluate=["fr"]).all_languages() == ("ca", "es", "fr", "no")


def test_untouched_model_is_scored_on_the_whole_grid() -> None:
    listed = grid(mode="list", mixtures=[""])
    assert [trial.mixture for trial in listed.trials()] == [Mixture()] * 2
    assert listed.evaluated(Mixture()) == ("ca", "es", "no")


def test_excluded_languages_are_left_out_and_kept_with_their_reason() -> None:
    left = grid(exclude={"es": "no test clips"})
    assert left.languages == ("ca", "no")
    assert left.exclude == {"es": "no test clips"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learningrate": 1}, "unknown key 'learningrate'.*valid keys"),
        ({"train": {"learningrate": 1}}, r"unknown key 'learningrate' in \[train\].*did you mean 'learning_rate'"),
        ({"samples": "60"}, "samples is '60', of type a string; expected an integer"),
        ({"samples": True}, "expected an integer"),
        ({"samples": 62}, "no multiple of clips_per_speaker"),
        ({"seeds": 0}, "seeds is empty"),
        ({"seeds": [1, 1]}, "seeds has 1 more than once"),
        ({"seeds": 2.5}, "seeds is 2.5; allowed: a number"),
        ({"languages": []}, "languages is empty"),
        ({"languages": "ca"}, "expected a list"),
        ({"languages": ["ca", "ca"]}, "languages has ca more than once"),
        ({"blocks": "per-seed"}, "did you mean 'per_seed'"),
        ({"evaluate": "everything"}, "evaluate"),
        ({"keep": ["prediction"]}, "did you mean 'predictions'"),
        ({"model": {"backbon": "tiny"}}, "did you mean 'backbone'"),
        ({"train": {"precision": "fp8"}}, "allowed: 'fp32', 'tf32', 'bf16', 'fp16'"),
        ({"train": {"evaluation_precision": "fp23"}}, "did you mean 'fp32'.*allowed: '', 'fp32', 'tf32'"),
        ({"resources": {"gpus_per_trial": 1.5}}, "gpus_per_trial is 1.5"),
        ({"resources": {"length_ladder": 0.6}}, r"length_ladder in \[resources\] is 0.6; allowed: 0 to 0.5"),
        ({"resources": {"length_ladder": -0.1}}, "length_ladder in .* is -0.1"),
        ({"resources": {"sharing": "msp"}}, "did you mean 'mps'"),
        ({"resources": {"sharing": "mps"}}, "sharing = 'mps' in .* needs 0 < gpus_per_trial < 1 .*; got 0 and 1"),
        ({"resources": {"sharing": "mps", "gpus_per_trial": 1.0}}, "needs .*; got 1 and 1"),
        ({"resources": {"sharing": "mps", "gpus_per_trial": 0.5, "workers_per_trial": 2}}, "needs .*; got 0.5 and 2"),
        ({"mixtures": ["ca+0.01*es"]}, "no whole number"),
        ({"mixtures": ["ca+0.05*es"]}, "no multiple of clips_per_speaker"),
        ({"mode": "list"}, "needs mixtures"),
        ({"exclude": {"ca": 1}}, "exclude"),
        ({"exclude": {"cs": "typo"}}, "exclude names 'cs', which languages does not list"),
        ({"exclude": {"ca": "r"}, "mixtures": ["ca>es"]}, "exclude names ca, which mixtures or evaluate ask for"),
        ({"exclude": {"ca": "r"}, "evaluate": ["ca"]}, "exclude names ca"),
        ({"name": "../../elsewhere"}, "name is"),
        ({"name": ""}, "name is"),
        ({"seeds": [2**64]}, "seeds has"),
        ({"seeds": "2"}, "seeds is '2'; allowed: a number"),
        ({"train": {"learning_rate": float("inf")}}, "expected a finite number"),
        ({"resources": {"gpus_per_trial": float("inf")}}, "expected a finite number"),
    ],
)
def test_each_mistake_is_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        grid(**changes)
    assert "\n" not in str(error.value)


def test_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="key 'task' is missing"):
        parse({key: value for key, value in MINIMAL.items() if key != "task"}, "test")


def test_file_that_is_no_toml_and_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("task = \n")
    with pytest.raises(UserError, match="is not TOML"):
        load(tmp_path / "bad.toml")
    with pytest.raises(UserError, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'task = "\xff"')
    with pytest.raises(UserError, match="is not TOML"):
        load(tmp_path / "latin.toml")


def test_task_name_beside_a_table_of_that_name_is_explained(tmp_path: Path) -> None:
    (tmp_path / "both.toml").write_text('task = "gender"\n[task]\nlayers = 4\n')
    with pytest.raises(UserError, match=r"options are the table \[options\]"):
        load(tmp_path / "both.toml")


def test_the_language_code_no_is_a_string() -> None:
    assert "no" in grid().languages


def test_the_group_names_the_backbone_if_there_is_one() -> None:
    assert grid(task="speaker/siamese", model={"backbone": "a/folder/tiny"}).group == "speaker/siamese/tiny"
    assert grid(task="speaker/siamese", model={"backbone": "none"}).group == "speaker/siamese"


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_shipped_grid_loads(path: Path) -> None:
    if path.stem in ("languages", "typology"):
        pytest.skip("a table of languages is no grid")
    assert load(path).trials()


def test_grids_are_shipped() -> None:
    assert len(GRIDS) >= 5


def test_a_ladder_of_lengths_is_for_gpus() -> None:
    assert grid(resources={"length_ladder": 0.1}).resources.padding_share == 0
    assert grid(resources={"length_ladder": 0.1, "gpus_per_trial": 0.25}).resources.padding_share == 0.1
