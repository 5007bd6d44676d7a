"""Translation and retrieval end to end on the synthetic corpus: frozen outputs, matrices of conditions, test noise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.item_noise import item_noise
from analysis.scores import RawMatrix, Scores
from analysis.sources import read_source
from engine.job import Job, make_job, settle
from engine.plan import make_plan
from engine.train import run_trial, trial_data
from grids.grid import parse
from tasks.data.cache import cache_folder
from tasks.translation.scoring import signature
from tests.tasks.translation.passes import counted_passes

pytestmark = [pytest.mark.slow, pytest.mark.long]

CODES = ("ca", "es")


def finished(table: dict[str, Any], results: Path, cache: Path) -> Job:
    """The grid's trials, run in this process; the prepared corpus is the user's, everything else is kept in `cache`."""
    common = {"corpus": "synthetic", "languages": list(CODES), "tracking": {"wandb": "off"}, "keep": ["predictions"]}
    job = replace(settle(make_job(parse({**common, **table}, "test"), results)), cache=cache)
    for pending in make_plan(job).pending:
        result = run_trial(job, pending)
        assert result is not None
        job.store.write(result)
    return job


TRANSLATION = {
    "task": "translation", "seeds": 1, "samples": 8, "max_test_clips": 8, "model": {"backbone": "tiny-whisper"},
    "options": {"also": ["en", "source"], "max_tokens": 8},
    "train": {"learning_rate": 3e-3, "batch_size": 4, "epochs": 2},
}  # fmt: skip


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips went through the encoder, a number a pass; what a training sets in the environment is put back."""
    monkeypatch.setenv("CLTM_CACHE", str(cache_folder()))
    return counted_passes(monkeypatch)


def test_a_frozen_encoder_hears_each_clip_once_in_all_trials(tmp_path: Path, heard: list[int]) -> None:
    job = finished(TRANSLATION, tmp_path / "one", tmp_path / "cache")
    clips = set[tuple[str, str]]()
    for trial in job.grid.trials():
        data = trial_data(job, job.task, trial.mixture, trial.seed, job.grid.evaluated(trial.mixture))
        clips |= {(clip.language, clip.name) for clip in (*data.training, *data.scored)}
    assert sum(heard) == len(clips) > 30
    other = {"mode": "list", "mixtures": ["ca+es"], "train": {"learning_rate": 1e-3, "epochs": 1}}
    finished({**TRANSLATION, **other}, tmp_path / "two", tmp_path / "cache")
    assert sum(heard) == len(clips), "another grid of the same clips finds them all"
    result = job.store.read(job.grid.trials()[0])
    assert result is not None
    assert signature("zh") in str(result.config)


def test_each_direction_is_a_matrix_with_the_noise_of_its_test_set(tmp_path: Path, heard: list[int]) -> None:
    job = finished(TRANSLATION, tmp_path / "results", tmp_path / "cache")
    for metric, condition in (("bleu", ""), ("bleu", "to en"), ("wer", "to source")):
        source = read_source([job.results], metric, condition)
        assert isinstance(source.content, Scores)
        assert np.isfinite(source.content.base).all()
        assert source.holes == ()
        noise = item_noise(source)
        assert noise is not None, "the predictions give the stored scores"
        assert noise.items.tolist() == [8, 8]
        assert source.content.inverted == (metric == "wer")


def test_sources_alone_are_a_matrix_of_zero_shot_scores(tmp_path: Path, heard: list[int]) -> None:
    table = {**TRANSLATION, "mode": "list", "mixtures": ["", *CODES], "evaluate": "all"}
    raw = read_source([finished(table, tmp_path / "results", tmp_path / "cache").results], "chrf").content
    assert isinstance(raw, RawMatrix)
    assert not raw.gains
    assert np.isfinite(raw.by_seed).all()


def test_retrieval_among_languages_is_a_matrix_with_chance_and_intervals_beside(
    tmp_path: Path, heard: list[int]
) -> None:
    table = {
        "task": "retrieval", "seeds": 1, "samples": 4, "mode": "list", "mixtures": [""], "evaluate": "all",
        "options": {"items": 20}, "model": {"backbone": "tiny"},
    }  # fmt: skip
    results = finished(table, tmp_path / "results", tmp_path / "cache").results
    names = ("r_at_1_lower", "r_at_1", "r_at_1_upper", "random_r_at_1")
    found = [read_source([results], name).content for name in names]
    lower, value, upper, chance = (one.values[~np.eye(2, dtype=bool)] for one in found)  # type: ignore[union-attr]
    assert (lower <= value).all()
    assert (value <= upper).all()
    assert chance == pytest.approx([1 / 20] * 2)
