"""What may change between two runs on one results folder, and what is refused."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.job import Job, _with_gpus, identifying, make_job, settle
from engine.plan import make_plan
from engine.store import Identity, Store
from engine.train import run_trial
from grids.errors import UserError
from grids.grid import load
from grids.schema import LATER, PLACE
from tasks import make_task
from tests.engine.jobs import toy_grid, toy_job


def run_all(results: Path, **changes: Any) -> int:
    """Runs a toy grid without Ray. Returns the number of trials that ran."""
    job = settle(toy_job(results, **changes))
    pending = make_plan(job).pending
    for item in pending:
        result = run_trial(job, item)
        assert result is not None
        job.store.write(result)
    job.store.compact(job.grid.samples)
    return len(pending)


def test_resume_runs_only_missing_trials(tmp_path: Path) -> None:
    assert run_all(tmp_path) == 15
    assert run_all(tmp_path) == 0
    next((tmp_path / "trials").iterdir()).unlink()
    assert run_all(tmp_path) == 1


@pytest.mark.parametrize(
    ("changes", "new"),
    [({"languages": ["ca", "no", "zh-CN"]}, 12), ({"seeds": 4}, 5), ({"seeds": [7]}, 5), ({"languages": ["no"]}, 0)],
)
def test_a_grown_grid_trains_what_is_new_and_leaves_the_rest(tmp_path: Path, changes: dict[str, Any], new: int) -> None:
    run_all(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "trials").iterdir()}
    assert run_all(tmp_path, **changes) == new
    after = {path.name: path.read_bytes() for path in (tmp_path / "trials").iterdir()}
    assert before.items() <= after.items()


def test_evaluate_all_scores_old_trials_on_a_new_language_and_keeps_old_scores(tmp_path: Path) -> None:
    run_all(tmp_path, evaluate="all")
    job = toy_job(tmp_path, evaluate="all", languages=["ca", "no", "zh-CN"])
    assert make_plan(job).by_kind == {"again": 15, "train": 12}
    run_all(tmp_path, evaluate="all", languages=["ca", "no", "zh-CN"])
    assert all(result.languages == {"ca", "no", "zh-CN"} for result in job.store.results())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"noise": 0.5}}, "options.noise is 0.01 there and 0.5 in the grid"),
        ({"train": {"epochs": 2}}, "train.epochs is 1 there and 2"),
        ({"samples": 16}, "samples is 8 there and 16"),
        ({"max_test_clips": 5}, "max_test_clips"),
        ({"blocks": "fixed"}, "blocks"),
    ],
)
def test_another_configuration_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run_all(tmp_path)
    with pytest.raises(UserError, match=message):
        settle(toy_job(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes", [{"resources": {"cpus_per_trial": 2}}, {"keep": ["predictions"]}, {"evaluate": "all"}]
)
def test_what_cannot_change_a_number_may_change(tmp_path: Path, changes: dict[str, Any]) -> None:
    run_all(tmp_path)
    settle(toy_job(tmp_path, **changes))


def test_asking_for_less_never_hides_a_finished_trial(tmp_path: Path) -> None:
    run_all(tmp_path)
    settle(toy_job(tmp_path, languages=["no"], seeds=1))
    kept = load(tmp_path / "grid.toml")
    assert (set(kept.languages), kept.seeds.all) == ({"ca", "no"}, (0, 1, 2))


def test_a_language_with_results_cannot_be_excluded_afterwards(tmp_path: Path) -> None:
    run_all(tmp_path)
    with pytest.raises(UserError, match=r"exclude names no.*declared before the run"):
        settle(toy_job(tmp_path, languages=["ca", "no", "eu"], exclude={"no": "I do not like its scores"}))


def test_a_list_never_hides_the_holes_of_a_matrix(tmp_path: Path) -> None:
    settle(toy_job(tmp_path))
    settle(toy_job(tmp_path, mode="list", mixtures=["ca"]))
    kept = load(tmp_path / "grid.toml")
    assert len(kept.trials()) == 15


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("mixture", ["fr"], ("fr",)),
        (["de"], ["fr"], ("de", "fr")),
        ("all", "mixture", "all"),
        ("all", ["fr"], ("ca", "fr", "no")),
    ],
)
def test_evaluated_languages_add_up(tmp_path: Path, first: Any, second: Any, kept: Any) -> None:
    settle(toy_job(tmp_path, evaluate=first))
    settle(toy_job(tmp_path, evaluate=second))
    assert load(tmp_path / "grid.toml").evaluate == kept


def test_a_job_keeps_the_data_of_languages_that_only_earlier_grids_had(tmp_path: Path) -> None:
    one = toy_job(tmp_path)
    settle(replace(one, identity=replace(one.identity, data={"ca": "1", "no": "2"})))
    other = settle(replace(one, identity=replace(one.identity, data={"no": "2", "eu": "3"})))
    assert other.identity.data == {"ca": "1", "no": "2", "eu": "3"}


def test_a_run_that_died_before_its_identity_was_written_leaves_no_trace(tmp_path: Path) -> None:
    settle(toy_job(tmp_path))
    (tmp_path / "identity.json").unlink()
    settle(toy_job(tmp_path, seeds=1))
    assert load(tmp_path / "grid.toml").seeds.all == (0,)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_results_folder_that_cannot_be_written_to(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the results folder"):
        settle(toy_job(tmp_path / place))


def test_resolved_grid_is_a_grid_file(tmp_path: Path) -> None:
    settle(toy_job(tmp_path, languages=["ca", "no", "eu"], exclude={"eu": "too few speakers"}))
    kept = load(tmp_path / "grid.toml")
    assert kept.trials() == toy_grid().trials()
    assert kept.exclude == {"eu": "too few speakers"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "gendre"}, "unknown task 'gendre' .did you mean 'gender'"),
        ({"options": {"nois": 1}}, r"unknown key 'nois' in \[options\].*did you mean 'noise'"),
        ({"train": {"learning_rate": -1.0}}, "learning_rate in .train. is -1.0"),
        ({"train": {"steps": 5}}, "it needs budget = 'steps'"),
        ({"task": "gender", "model": {"backbone": "/nowhere"}}, "backbone '/nowhere' is no folder"),
        ({"task": "gender", "model": {"backbone": "tiny"}, "corpus": "/nowhere"}, "/nowhere"),
    ],
)
def test_mistakes_that_only_a_task_can_know(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_job(toy_grid(**changes), tmp_path)


def test_a_checkpoint_without_a_result_is_not_trusted(tmp_path: Path) -> None:
    job = toy_job(tmp_path, evaluate="all")
    first = job.grid.trials()[0]
    path = job.store.kept_path("checkpoints", first, ".safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"left by a run that was killed before it stored its result")
    assert make_plan(job).pending[0].how == "train"


# What the toy's identity.json held before any key came later, and the hash of it.
FIRST: dict[str, Any] = {
    "task": "toy",
    "options": {"noise": 0.01, "seconds": 0.0, "fail": []},
    "weights_sha": "",
    "model": {"freeze_feature_encoder": False, "spec_augment": False, "layerdrop": 0.0},
    "train": {
        "learning_rate": 1e-05, "weight_decay": 0.0, "epochs": 1, "budget": "epochs", "steps": 0, "batch_size": 1,
        "batch_seconds": 0.0, "precision": "fp32", "gradient_clip": 1.0, "warmup": 0.0, "schedule": "constant",
        "select_by": "", "select_clips": 1000,
    },
    "data": {
        "max_train_clips": 20000, "min_seconds": 0.5, "max_seconds": 30.0, "max_broken_share": 0.2,
        "min_vote_margin": 0, "min_snr_db": 0.0,
    },
    "samples": 8, "clips_per_speaker": 4, "blocks": "per_seed", "max_test_clips": 0,
}  # fmt: skip
FIRST_SHA = "029a289c4b8a75fd"


def age(job: Job, config: Any) -> None:
    """Makes the job's folder one that was filled when no key had come later."""
    text = job.store.grid_path.read_text()
    assert 'evaluation_precision = ""\n' in text
    job.store.grid_path.write_text(text.replace('evaluation_precision = ""\n', ""))
    job.store.identity_path.write_text(json.dumps({"config": config, "data": dict(job.identity.data)}))


def test_a_folder_from_before_a_key_came_is_continued_under_the_same_hash(tmp_path: Path) -> None:
    assert run_all(tmp_path) == 15
    age(toy_job(tmp_path), FIRST)
    next((tmp_path / "trials").iterdir()).unlink()
    assert run_all(tmp_path, seeds=4) == 1 + 5
    store = Store(tmp_path)
    kept = store.identity()
    assert kept == Identity(FIRST, {})
    assert kept.config_sha == FIRST_SHA
    assert {result.config_sha for result in store.results()} == {FIRST_SHA}
    assert load(store.grid_path).train["evaluation_precision"] == ""


@pytest.mark.parametrize("first", ["", "bf16"])
def test_a_later_key_that_differs_is_refused_with_its_default_named(tmp_path: Path, first: str) -> None:
    values: list[dict[str, Any]] = [{"train": {"evaluation_precision": value}} for value in ("", "bf16")]
    before, now = values if first == "" else values[::-1]
    job = settle(toy_job(tmp_path, **before))
    if first == "":
        age(job, FIRST)
    there, here = ("''", "'bf16'") if first == "" else ("'bf16'", "''")
    with pytest.raises(UserError, match=f"ration: train.evaluation_precision is {there} there and {here} in the grid;"):
        settle(toy_job(tmp_path, **now))


def test_the_precision_of_the_training_is_one_with_none_of_evaluation(tmp_path: Path) -> None:
    alone = settle(toy_job(tmp_path))
    assert settle(toy_job(tmp_path, train={"evaluation_precision": "fp32"})).identity == alone.identity


def test_a_key_that_one_side_does_not_know_is_said_to_be_not_set(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    age(job, {**FIRST, "options": {"seconds": 0.0, "fail": [], "quiet": True}})
    changes = "options.noise is not set there and 0.01 in the grid; options.quiet is True there and not set in the grid"
    with pytest.raises(UserError, match=f"ration: {changes};"):
        settle(job)


@dataclass(frozen=True)
class Inside:
    """A table in a table."""

    old: int = 1
    late: tuple[str, ...] = field(default=("a",), metadata=LATER)


@dataclass(frozen=True)
class Outside:
    """A table of settings with all kinds of keys."""

    old: int = 1
    place: str = field(default="", metadata=PLACE)
    late: dict[str, int] = field(default_factory=dict, metadata=LATER)
    inside: Inside = Inside()


def test_a_later_key_identifies_only_where_it_is_not_at_its_default() -> None:
    assert identifying(Outside(place="/here")) == {"old": 1, "inside": {"old": 1}}
    assert identifying(Outside(late={"a": 1})) == {"old": 1, "late": {"a": 1}, "inside": {"old": 1}}
    assert identifying(Outside(inside=Inside(late=("b",))))["inside"] == {"old": 1, "late": ("b",)}


@pytest.mark.parametrize(
    ("gpus", "corpus", "resources", "expected"),
    [
        (0, "/cv", {}, 0.0),
        (2, "/cv", {}, 1.0),
        (2, "synthetic", {}, 0.0),
        (2, "/cv", {"gpus_per_trial": 0.0}, 0.0),
        (2, "synthetic", {"gpus_per_trial": 0.25}, 0.25),
        (1, "/cv", {"workers_per_trial": 2}, 0.0),
        (2, "/cv", {"workers_per_trial": 2}, 1.0),
    ],
)
def test_a_real_corpus_is_trained_on_the_gpus_that_are_here_unless_the_grid_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, gpus: int, corpus: str, resources: dict[str, float], expected: float
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    grid = toy_grid(corpus=corpus, task="gender", resources=resources)
    assert _with_gpus(grid, make_task(grid)).resources.gpus_per_trial == expected


def test_a_task_without_audio_takes_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    job = settle(toy_job(tmp_path / "results", corpus="/cv"))
    assert job.grid.resources.gpus_per_trial == 0
    assert load(job.store.grid_path).resources.gpus_per_trial == 0
