"""Speaker verification end to end on a release: validated trials, kept pairs and embeddings, and what analysis does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.cltm import main
from analysis.geometry import find
from analysis.item_noise import item_noise
from analysis.sources import read_source
from engine.job import Job, make_job, settle
from engine.plan import make_plan
from engine.train import run_trial, trial_data
from grids.errors import UserError
from grids.grid import parse
from tasks.data.store import open_language
from tasks.speaker.verification import draw_pairs
from tests.tasks.data.hostile import speakers, write_language

pytestmark = pytest.mark.slow

CODES = ("no", "zh-CN")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each gender 4 speakers in train with 4 clips, 3 in dev and in test with 3."""
    release = tmp_path_factory.mktemp("corpus") / "cv-corpus-22.0-2025-06-20"
    for code in CODES:
        listed = []
        for letter, gender in (("f", "female_feminine"), ("m", "male_masculine")):
            listed += speakers(f"{code}{letter}", 4, gender)
            for split in ("dev", "test"):
                listed += speakers(f"{code}{letter}_{split}", 3, gender, 3, split)
        write_language(release, code, listed)
    return release


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLTM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        open_language.cache_clear()
        yield


def make(corpus: Path, results: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "task": "speaker/mhubert_validated", "corpus": str(corpus), "languages": list(CODES), "seeds": 3, "samples": 8,
        "clips_per_speaker": 2, "evaluate": "all", "keep": ["predictions", "embeddings"], "model": {"backbone": "tiny"},
        "train": {"learning_rate": 3e-3, "batch_size": 4, "epochs": 2}, "tracking": {"wandb": "off"},
    }  # fmt: skip
    return settle(make_job(parse({**values, **changes}, "test"), results))


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make(corpus, tmp_path_factory.mktemp("results"))
    for pending in make_plan(job).pending:
        result = run_trial(job, pending)
        assert result is not None
        job.store.write(result)
    return job


def test_no_speaker_is_in_two_of_training_dev_and_test_pairs(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path)
    for trial in job.grid.trials():
        data = trial_data(job, job.task, trial.mixture, trial.seed, CODES)
        assert set(data.dev) == set(trial.mixture.languages)
        sets = [{clip.speaker for clip in data.training}]
        for kind in (data.dev, data.tests):
            paired = set()
            for clips in kind.values():
                pairs = draw_pairs(clips)
                paired |= {clips[n].speaker for side in (pairs.left, pairs.right) for n in side}
            sets.append(paired)
        train, dev, test = sets
        assert dev
        assert test
        assert len(train | dev | test) == len(train) + len(dev) + len(test)


def test_without_validation_no_dev_set_is_touched(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, task="speaker/mhubert")
    trial = job.grid.trials()[0]
    assert trial_data(job, job.task, trial.mixture, trial.seed, CODES).dev == {}


def test_a_result_says_which_step_was_kept(finished: Job) -> None:
    for result in finished.store.results():
        selected = result.passes[0].numerics["selected_step"]
        epoch = result.steps // 2
        assert selected in (epoch, 2 * epoch)


@pytest.mark.parametrize(
    "changes", [{"train": {"select_by": "err"}}, {"task": "gender", "train": {"select_by": "eer"}}]
)
def test_a_metric_that_the_task_lacks_is_refused_before_anything_runs(
    corpus: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="unknown metric 'e"):
        make(corpus, tmp_path, **changes)


def test_a_wrong_list_is_refused_before_anything_runs(corpus: Path, tmp_path: Path) -> None:
    for code in CODES:
        (tmp_path / f"{code}.txt").write_text("1 nobody nobody\n")
    with pytest.raises(UserError, match=r"no\.txt:1: 'nobody' is no test clip"):
        make(corpus, tmp_path / "results", options={"pairs": str(tmp_path)})


def test_as_norm_is_computed_with_the_training_speakers(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, options={"score_norm": "as-norm"}, seeds=1)
    pending = make_plan(job).pending[-1]
    assert run_trial(job, pending) is not None
    kept = pq.read_table(job.store.kept_path("predictions", pending.trial, ".parquet")).to_pandas()
    assert kept["score"].abs().max() > 1.5, "no cosines any more"


def test_the_matrix_is_made_of_scores_without_condition(finished: Job, tmp_path: Path) -> None:
    table = finished.store.compact(8).to_pandas()
    assert set(table["condition"]) == {"", "female", "male"}
    assert main([str(finished.results), "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    plain = table[(table.condition == "") & (table.metric == "auc") & (table.language == "no")]
    row = next(row for row in summary["languages"] if row["language"] == "no")
    assert row["base"] == pytest.approx(plain[plain.role == "base"]["value"].mean())
    assert {one["metric"] for one in summary["metrics"]} == set(table["metric"])


def test_the_report_shows_auc_and_eer_with_intervals_over_test_speakers(finished: Job, tmp_path: Path) -> None:
    main([str(finished.results), "--out", str(tmp_path)])
    report = (tmp_path / "report.html").read_text()
    part = report[report.index("Scores and their test sets") :]
    part = part[: part.index("</table>")]
    eer = item_noise(read_source([finished.results], "eer"))
    assert eer is not None
    table = finished.store.compact(8).to_pandas()
    rows = table[(table.condition == "") & (table.metric == "eer") & (table.language == "no") & (table.role == "base")]
    assert part.count("95 %") == 2
    assert f"{rows['value'].mean():.3f}" in part
    assert f"[{1 - eer.base_upper[0]:.3f}, {1 - eer.base_lower[0]:.3f}]" in part.replace("\N{MINUS SIGN}", "-")


def test_both_speakers_of_a_pair_are_resampled(finished: Job) -> None:
    noise = item_noise(read_source([finished.results]))
    assert noise is not None
    assert noise.speakers.tolist() == [6, 6]
    assert noise.items.tolist() == [36, 36]
    assert (noise.base_se > 0).all()


def test_embeddings_of_speaker_systems_give_distances_of_languages(finished: Job) -> None:
    found = find([finished.results]).geometry
    assert found.languages == CODES
    assert found.models == "common"
    assert found.clips.tolist() == [18, 18]
    assert np.isfinite(found.cosine).all()
    assert found.cosine[0, 1] > 0
    assert (found.within_euclidean > 0).all()


def test_a_dev_set_is_cut_to_its_limit(corpus: Path, tmp_path: Path) -> None:
    job = make(corpus, tmp_path, train={"select_clips": 12})
    trial = job.grid.trials()[-1]
    dev = trial_data(job, job.task, trial.mixture, trial.seed, CODES).dev
    assert {code: len(clips) for code, clips in dev.items()} == dict.fromkeys(CODES, 12)
    assert {clip.split for clips in dev.values() for clip in clips} == {"dev"}
