"""One trial on a real corpus: matched, disjoint data; further languages from a checkpoint; the full-size encoder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import HubertConfig, HubertModel

from engine.inputs import Waves
from engine.job import Job, make_job, settle
from engine.plan import Pending, make_plan
from engine.train import run_trial, trial_data
from grids.errors import UserError
from grids.grid import parse
from grids.mixture import Trial
from tasks import backbones
from tasks.base import Setup
from tasks.checkpoint import read
from tasks.data.store import open_language
from tasks.gender import Gender
from tasks.lid import Language
from tests.engine.test_job import FIRST, age
from tests.tasks.data.hostile import plain_release
from tests.tasks.test_backbones import SMALL

CODES = ("no", "zh-CN", "ca")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_release(tmp_path_factory.mktemp("corpus"), CODES, held_out_speakers=2)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    open_language.cache_clear()


def make(corpus: Path, results: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "task": "gender", "corpus": str(corpus), "languages": list(CODES), "seeds": 2, "samples": 4,
        "model": {"backbone": "tiny"}, "train": {"learning_rate": 1e-3, "batch_size": 4},
        "tracking": {"wandb": "off"},
    }  # fmt: skip
    return settle(make_job(parse({**values, **changes}, "test"), results))


def finish(job: Job, pending: Pending) -> None:
    result = run_trial(job, pending)
    assert result is not None
    job.store.write(result)


def test_budgets_match_and_speakers_are_disjoint(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path)
    for trial in job.grid.trials():
        data = trial_data(job, job.task, trial.mixture, trial.seed, CODES)
        blocks = 1 if trial.mixture.text(4).count("+") == 0 else 2
        assert len(data.training) == 2 * 4 * blocks
        genders = [clip.gender for clip in data.training]
        assert genders.count("female") == genders.count("male")
        held_out = {clip.speaker for test in data.tests.values() for clip in test}
        assert not held_out & {clip.speaker for clip in data.training}


class Switching(Gender):
    """A task that asks for clips of two languages."""

    needs = replace(Gender.needs, switched=True)


def test_clips_of_two_languages_follow_the_test_set_where_a_task_asks_for_them(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, evaluate="all")
    pair = next(trial for trial in job.grid.trials() if trial.mixture.text(4) == "ca+no")
    task = Switching(Gender.Options(), job.grid.model)
    plain = trial_data(job, job.task, pair.mixture, pair.seed, CODES).tests
    tests = trial_data(job, task, pair.mixture, pair.seed, CODES).tests
    assert tests["zh-CN"] == plain["zh-CN"], "the mixture has two languages, and a change is between them"
    for first, second in (("ca", "no"), ("no", "ca")):
        own, switched = tests[first][: len(plain[first])], tests[first][len(plain[first]) :]
        assert own == plain[first]
        assert {clip.condition for clip in own} == {""}
        assert {clip.condition for clip in switched} == {f"then {second}"}
        assert [clip.parts for clip in switched] == list(zip(plain[first], plain[second], strict=True))
        assert len({clip.sha for clip in (*own, *switched)}) == 2 * len(own)
        one = switched[0]
        assert job.corpus is not None
        whole, *parts = Waves(job.corpus).arrays([one, *one.parts])
        assert len(whole) == one.length
        assert np.array_equal(whole, np.concatenate(parts))


def test_a_seed_draws_the_same_block_in_every_mixture_and_fixed_blocks_ignore_it(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path)
    fixed = replace(job, grid=replace(job.grid, blocks="fixed"))
    mixtures = {m.text(4): m for m in job.grid.matrix_mixtures()}
    drawn = {s: set(trial_data(job, job.task, mixtures["no"], s, ()).training) for s in range(20)}
    for text in ("no+no", "no+zh-CN", "ca+no"):
        assert drawn[1] < set(trial_data(job, job.task, mixtures[text], 1, ()).training)
    assert len({frozenset(block) for block in drawn.values()}) > 1
    alike = {frozenset(trial_data(fixed, job.task, mixtures["no"], s, ()).training) for s in range(20)}
    assert len(alike) == 1


def test_a_trial_does_not_depend_on_the_languages_of_its_grid(corpus: Path, tmp_path: Path) -> None:
    small = make(corpus, tmp_path / "small", languages=["no", "zh-CN"])
    large = make(corpus, tmp_path / "large")
    item = Pending(small.grid.trials()[-1], ("no", "zh-CN"))
    one, other = run_trial(small, item), run_trial(large, item)
    assert one is not None
    assert other is not None
    assert (one.scores, one.data_sha, one.config_sha) == (other.scores, other.data_sha, other.config_sha)


@pytest.mark.parametrize(("keep", "how"), [(["checkpoints"], "checkpoint"), ([], "again")])
def test_a_new_language_is_scored_from_the_checkpoint_or_by_training_again(
    corpus: Path, tmp_path: Path, keep: list[str], how: str
) -> None:
    job = make(corpus, tmp_path, evaluate=["zh-CN"], keep=keep, languages=["no"])
    first = make_plan(job).pending[0]
    finish(job, first)
    before = job.store.read(first.trial)
    grown = make(corpus, tmp_path, evaluate=["zh-CN", "ca"], keep=keep, languages=["no"])
    item = next(item for item in make_plan(grown).pending if item.trial == first.trial)
    assert (item.how, item.languages) == (how, ("ca",))
    finish(grown, item)
    after = grown.store.read(first.trial)
    assert before is not None
    assert after is not None
    assert after.scores[: len(before.scores)] == before.scores
    assert after.languages == {"no", "zh-CN", "ca"}
    assert after.steps == before.steps > 0
    whole = make(corpus, tmp_path / "whole", evaluate=["zh-CN", "ca"], languages=["no"])
    once = run_trial(whole, Pending(first.trial, ("ca", "no", "zh-CN")))
    assert once is not None
    assert set(once.scores) == set(after.scores)
    assert once.data_sha == after.data_sha


def test_predictions_and_embeddings_are_kept_on_request(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, keep=["predictions", "embeddings"], evaluate="all")
    trial = job.grid.trials()[0]
    finish(job, Pending(trial, ("no",)))
    finish(job, Pending(trial, ("ca", "zh-CN"), "again"))
    predictions = pq.read_table(job.store.kept_path("predictions", trial, ".parquet")).to_pandas()
    assert set(predictions.language) == {"no", "ca", "zh-CN"}
    assert len(predictions) == 24
    embeddings = pq.read_table(job.store.kept_path("embeddings", trial, ".parquet")).to_pandas()
    assert {len(row) for row in embeddings.embedding} == {64}


@pytest.mark.parametrize(("learn", "rank", "least", "most"), [("all", 0, 1, 1), ("head", 0, 0, 0.05),
                                                              ("adapters", 2, 0.01, 0.05)])  # fmt: skip
def test_the_share_of_the_parameters_that_learns_is_stored_with_the_trial(
    learn: str, rank: int, least: float, most: float, corpus: Path, tmp_path: Path
) -> None:
    options = {"learn": learn, "rank": rank, "max_dropped_share": 1, "max_unknown_share": 1}
    job = make(corpus, tmp_path, task="asr/ctc", options=options, mode="list", mixtures=["no"], seeds=1)
    (pending,) = make_plan(job).pending
    finish(job, pending)
    result = job.store.read(pending.trial)
    assert result is not None
    assert least <= result.passes[0].trained_share <= most


def test_languages_are_identified_by_clip_length_with_a_network_that_is_kept(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, task="lid", options={"lengths": [0.1, 60]}, mode="list", mixtures=["no+zh-CN"],
               seeds=1, keep=["checkpoints"])  # fmt: skip
    (pending,) = make_plan(job).pending
    result = run_trial(job, pending)
    assert result is not None
    found = {(score.language, score.condition) for score in result.scores if score.metric == "recall"}
    assert found == {(code, condition) for code in ("no", "zh-CN") for condition in ("", "0.1 s")}, "no clip is so long"
    _, network = read(job.store.kept_path("checkpoints", pending.trial, ""), Language)
    assert network.names == ("no", "zh-CN")


@pytest.mark.parametrize("mixtures", [["no>zh-CN", "no+0.5*zh-CN", ""]])
def test_other_mixtures_run(corpus: Path, tmp_path: Path, mixtures: list[str]) -> None:
    job = make(corpus, tmp_path, mode="list", mixtures=mixtures, clips_per_speaker=2, seeds=1)
    for item in make_plan(job).pending:
        finish(job, item)
    steps = {result.trial.mixture.text(4): result.steps for result in job.store.results()}
    assert steps == {"no>zh-CN": 4, "no+0.5*zh-CN": 3, "": 0}
    assert set(job.store.compact(4)["role"].to_pylist()) == {"other", "untouched"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 400}, "'ca' can't give 800 training samples.*works up to N = 4"),
        ({"languages": ["no", "xx"]}, "'xx'"),
        ({"evaluate": ["zh-TW"]}, r"'zh-TW' \(did you mean 'zh-CN'\?\)"),
    ],
)
def test_what_the_corpus_cannot_give_is_said_before_anything_runs(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make(corpus, tmp_path, **changes)


def test_a_folder_of_gender_from_before_a_key_came_is_continued(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path)
    item = make_plan(job).pending[0]
    finish(job, item)
    age(job, {
        **FIRST, "task": "gender", "options": {}, "weights_sha": job.task.weights_sha(), "samples": 4,
        "train": {**FIRST["train"], "learning_rate": 0.001, "batch_size": 4},
    })  # fmt: skip
    old = job.store.identity()
    assert old is not None
    grown = make(corpus, tmp_path, seeds=3)
    assert grown.identity == old
    assert grown.identity.config_sha == old.config_sha
    assert item.trial not in [pending.trial for pending in make_plan(grown).pending]
    with pytest.raises(UserError, match=r"train.evaluation_precision is '' there and 'bf16' in the grid"):
        make(corpus, tmp_path, train={"learning_rate": 1e-3, "batch_size": 4, "evaluation_precision": "bf16"})


def test_data_that_changed_under_a_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path)
    changed = replace(job, identity=replace(job.identity, data={**job.identity.data, "no": "another"}))
    with pytest.raises(UserError, match="clips of 'no' changed while the grid ran"):
        run_trial(changed, Pending(job.grid.trials()[0], ("no",)))
    with pytest.raises(UserError, match="prepared clips of no have changed since"):
        settle(changed)


@pytest.mark.slow
def test_a_trial_is_the_same_in_a_fresh_and_a_warm_process_with_dropout(corpus: Path, tmp_path: Path) -> None:
    """Reading a backbone draws random numbers; the first trial of a process must not notice."""
    dropout = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.3)
    HubertModel(HubertConfig(**SMALL, **dropout)).save_pretrained(tmp_path / "dropout")
    job = make(corpus, tmp_path / "results", model={"backbone": str(tmp_path / "dropout")}, keep=["embeddings"])
    item, found = make_plan(job).pending[-1], []
    backbones._pristine.cache_clear()
    for number in range(3):
        torch.rand(number)
        one = replace(job, results=tmp_path / str(number))
        run_trial(one, item)
        path = one.store.kept_path("embeddings", item.trial, ".parquet")
        found.append(pq.read_table(path).to_pylist())
    assert found[0] == found[1] == found[2]


def test_dropout_is_the_seeds_whatever_building_the_network_drew(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that P(i) and P(i+j), whose heads may differ in size, stay paired."""
    job, drawn = make(corpus, tmp_path), []
    mixture, build = job.grid.matrix_mixtures()[0], Gender.network
    for seed, number in ((0, 0), (0, 7), (1, 0)):

        def network(task: Gender, setup: Setup, number: int = number) -> Any:
            torch.rand(number)
            return build(task, setup)

        monkeypatch.setattr(Gender, "network", network)
        run_trial(job, Pending(Trial(mixture, seed), ("ca",)))
        drawn.append(torch.rand(4).tolist())  # where the generator stands; the task has no dropout of its own
    assert drawn[0] == drawn[1] != drawn[2]


# Small, with batch norm, whose statistics are a part of the state.
ECAPA: dict[str, Any] = {
    "task": "speaker/ecapa", "model": {"backbone": "none"}, "clips_per_speaker": 2,
    "options": {"channels": 16, "aggregated": 32, "embedding": 16, "crop_seconds": 0.5},
    "train": {"learning_rate": 1e-3, "batch_size": 2, "epochs": 2},
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, ECAPA], ids=["gender", "ecapa"])
def test_a_trial_asked_to_stop_goes_on_where_it_was(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """What was stored is what an undisturbed run stores, and the state is gone with it."""
    monkeypatch.setattr("engine.checkpoints.PAUSE_AFTER_S", 0.0)
    monkeypatch.setattr("engine.checkpoints.ASK_EVERY_S", 0.0)
    jobs = [make(corpus, tmp_path / name, **changes) for name in ("whole", "paused")]
    pending = make_plan(jobs[0]).pending[0]
    finish(jobs[0], pending)
    steps = iter(range(100))
    assert run_trial(jobs[1], pending, asked_to_stop=lambda: next(steps) == 0) is None
    assert jobs[1].store.state_path(pending.trial).exists()
    finish(jobs[1], pending)
    assert not jobs[1].store.state_path(pending.trial).exists()
    whole, paused = (job.store.read(pending.trial) for job in jobs)
    assert whole is not None
    assert paused is not None
    assert whole.scores == paused.scores
    assert whole.steps == paused.steps


def test_a_relative_backbone_folder_is_found_from_another_working_directory(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HubertModel(HubertConfig(**SMALL)).save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    job = make(corpus, tmp_path / "results", model={"backbone": "model"})
    monkeypatch.chdir("/")
    assert run_trial(job, make_plan(job).pending[0]) is not None


def test_a_kept_checkpoint_is_a_starting_point_from_another_working_directory(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(corpus, tmp_path / "first", **ECAPA, keep=["checkpoints", "embeddings"])
    assert first.backbone == "none"
    pending = make_plan(first).pending[0]
    finish(first, pending)
    (tmp_path / "start").mkdir()
    first.store.kept_path("checkpoints", pending.trial, ".safetensors").rename(tmp_path / "start" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    job = make(corpus, tmp_path / "second", **{**ECAPA, "model": {"backbone": "start"}, "keep": ["embeddings"]})
    assert job.identity.config_sha != first.identity.config_sha
    monkeypatch.chdir("/")
    finish(job, pending)
    paths = [one.store.kept_path("embeddings", pending.trial, ".parquet") for one in (first, job)]
    assert pq.read_table(paths[0]) != pq.read_table(paths[1])


@pytest.mark.slow
def test_full_size_encoder_trains_through_the_same_path(corpus: Path, tmp_path: Path) -> None:
    """HuBERT-base's own configuration, 95M random weights, as mHuBERT-147 has it."""
    HubertModel(HubertConfig()).save_pretrained(tmp_path / "hubert")
    job = make(
        corpus, tmp_path / "results", model={"backbone": str(tmp_path / "hubert")},
        train={"budget": "steps", "steps": 2, "batch_size": 2},
    )  # fmt: skip
    trial = Trial(job.grid.matrix_mixtures()[0], 0)
    result = run_trial(job, Pending(trial, ("ca",)))
    assert result is not None
    assert result.steps == 2
    assert len(result.scores) == 2
