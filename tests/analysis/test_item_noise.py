"""The test set as a source of noise: metrics under resampling, clusters, and what the interval covers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.item_noise import _covariance, item_noise
from analysis.resampled_metrics import RESAMPLED, speakers_of
from analysis.sources import read_source
from engine.store import Store
from grids.errors import UserError
from tasks.metrics import accuracy, macro_f1, verification
from tests.analysis.factories import Folder, results, row, truth

GENDERS = np.array(["female", "male"])


def clips(rng: np.random.Generator, speakers: int = 30, each: int = 6, skill: float = 1.0) -> pd.DataFrame:
    """Predictions of gender; how well a speaker is known is the speaker's own."""
    male = np.arange(speakers) % 2
    ease = rng.normal(skill, 1.0, speakers)
    speaker = np.repeat(np.arange(speakers), each)
    logit = (2 * male[speaker] - 1) * ease[speaker] + rng.normal(0, 0.7, len(speaker))
    return pd.DataFrame({"speaker": [f"s{k:03}" for k in speaker], "gender": GENDERS[male[speaker]],
                         "probability_male": 1 / (1 + np.exp(-logit))})  # fmt: skip


def pairs(rng: np.random.Generator, speakers: int = 30, each: int = 6, own: float = 0.7) -> pd.DataFrame:
    """Pairs of clips; every speaker has a bias, every pair something of its own (standard deviation `own`)."""
    bias = rng.normal(0, 0.5, speakers)
    same = np.repeat(np.arange(speakers), each)
    left, right = rng.integers(speakers, size=(2, len(same)))
    right = np.where(left == right, (right + 1) % speakers, right)
    score = np.concatenate([1 + 2 * bias[same], bias[left] + bias[right]]) + rng.normal(0, own, 2 * len(same))
    names = np.array([f"s{k:03}" for k in range(speakers)])
    return pd.DataFrame({"left_speaker": names[np.r_[same, left]], "right_speaker": names[np.r_[same, right]],
                         "same": np.arange(len(score)) < len(same), "score": score})  # fmt: skip


def test_with_weight_one_the_metrics_are_those_of_the_tasks():
    rng = np.random.default_rng(0)
    gender, voice = clips(rng), pairs(rng)
    voice["score"] = voice["score"].round(1)  # ties
    one = np.ones((1, 30))
    truth_, guess = (gender.gender == "male").to_numpy(int), (gender.probability_male > 0.5).to_numpy(int)
    measured = verification(voice.same.to_numpy(), voice.score.to_numpy())
    assert RESAMPLED["macro_f1"](gender, one)[0] == pytest.approx(macro_f1(truth_, guess, 2))
    assert RESAMPLED["accuracy"](gender, one)[0] == pytest.approx(accuracy(truth_, guess))
    assert RESAMPLED["auc"](voice, one)[0] == pytest.approx(measured.auc)
    assert RESAMPLED["eer"](voice, one)[0] == pytest.approx(measured.eer)


@pytest.mark.parametrize(("name", "make"), [("macro_f1", clips), ("accuracy", clips), ("auc", pairs), ("eer", pairs)])
def test_a_speaker_of_weight_two_counts_as_two_and_one_of_weight_zero_is_not_there(name, make):
    items = make(np.random.default_rng(1), speakers=8)
    weights = np.array([[2.0, 0, 1, 1, 1, 1, 1, 1]])
    ends = [items[c] for c in ("speaker", "left_speaker", "right_speaker") if c in items]
    repeat = np.ones(len(items), int)
    for k, weight in ((0, 2), (1, 0)):
        inside = [(end == f"s{k:03}").to_numpy() for end in ends]
        repeat = np.where(np.any(inside, axis=0), repeat * weight, repeat)
    repeated = items.loc[items.index.repeat(repeat)]
    there = np.ones((1, len(speakers_of(repeated))))
    assert RESAMPLED[name](items, weights)[0] == pytest.approx(RESAMPLED[name](repeated, there)[0])


def test_a_draw_without_a_kind_of_pair_has_no_value():
    items = pairs(np.random.default_rng(2), speakers=4)
    assert np.isnan(RESAMPLED["auc"](items, np.array([[4.0, 0, 0, 0]]))[0])


def standard_error(name: str, items: pd.DataFrame, rng: np.random.Generator, draws: int = 200) -> tuple[float, float]:
    k = len(speakers_of(items))
    weights = np.concatenate([np.ones((1, k)), rng.multinomial(k, np.full(k, 1 / k), size=draws)])
    values = RESAMPLED[name](items, weights)
    return float(values[0]), float(np.sqrt(_covariance(values, values, np.array(k))))


def coverage(name: str, make: Callable[..., pd.DataFrame], runs: int) -> float:
    rng = np.random.default_rng(3)
    endless = make(rng, speakers=20_000)
    target = RESAMPLED[name](endless, np.ones((1, len(speakers_of(endless)))))[0]
    found = np.array([standard_error(name, make(rng), rng) for _ in range(runs)])
    return float((np.abs(found[:, 0] - target) <= 2.045 * found[:, 1]).mean())


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_the_interval_covers_the_score_on_endless_speakers(name):
    """Nominal 95 %, 30 speakers of 6 clips; clips of a speaker are alike, so counting clips would cover far less."""
    assert 0.90 <= coverage(name, clips, 400) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("auc", 300), ("eer", 200)])
def test_the_interval_of_pairs_covers_too_and_is_wide_where_pairs_of_a_speaker_differ(name, runs):
    """Weights that are products count what is a pair's own three times: never too narrow, up to sqrt(3) too wide."""
    assert coverage(name, pairs, runs) >= 0.94


@pytest.mark.slow
def test_the_interval_of_pairs_is_nominal_where_speakers_decide():
    def alike(rng: np.random.Generator, speakers: int = 30) -> pd.DataFrame:
        return pairs(rng, speakers, each=40, own=0.2) if speakers < 1000 else pairs(rng, speakers, own=0.2)

    assert 0.90 <= coverage("auc", alike, 150) <= 0.99


def kept(folder: Path, gains: dict[str, float], seeds: int = 3, speakers: int = 40) -> Path:
    """A results folder of two languages with predictions: base, self and cross models of rising skill."""
    rng = np.random.default_rng(4)
    how, frame = Folder(seeds=range(seeds), metric="accuracy"), []
    people = {code: (np.arange(speakers) % 2, rng.normal(0.8, 1.0, speakers)) for code in ("no", "eu")}
    for s in range(seeds):
        for role, targets, donor in (("base", ("no",), ""), ("base", ("eu",), ""), ("self", ("no",), "no"),
                                     ("self", ("eu",), "eu"), ("cross", ("no", "eu"), None)):  # fmt: skip
            parts = []
            for code in targets:
                male, ease = people[code]
                speaker = np.repeat(np.arange(speakers), 6)
                logit = (2 * male[speaker] - 1) * (ease[speaker] + gains[role]) + rng.normal(0, 0.7, len(speaker))
                part = pd.DataFrame({"language": code, "clip": "c", "speaker": [f"{code}{k}" for k in speaker],
                                     "gender": GENDERS[male[speaker]],
                                     "probability_male": 1 / (1 + np.exp(-logit))})  # fmt: skip
                parts.append(part)
                value = float(((part.probability_male > 0.5) == (part.gender == "male")).mean())
                other = ("eu" if code == "no" else "no") if donor is None else donor
                mixture = "+".join(targets) + role
                frame.append(row(mixture, role, code, other, s, value, how))
            path = folder / "predictions" / f"{mixture}_seed{s}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.concat(parts).to_parquet(path)
    assert set(Store(folder).kept("predictions")) == {one["trial"] for one in frame}
    grid = {"languages": ["no", "eu"]}
    return results(folder, truth(2), Folder(seeds=range(seeds), metric="accuracy", grid=grid), pd.DataFrame(frame))


def test_models_are_compared_on_one_test_set_so_a_gain_is_surer_than_a_score(tmp_path):
    folder = kept(tmp_path, {"base": 0.0, "self": 1.0, "cross": 0.5})
    noise = item_noise(read_source([folder]))
    assert noise is not None
    assert noise.speakers.tolist() == [40, 40]
    assert noise.items.tolist() == [240, 240]
    assert (noise.base_se > 0).all()
    assert (np.diag(noise.gain_se) < noise.base_se * np.sqrt(2)).all()
    assert (noise.r_se[[0, 1], [0, 1]] == 0).all()
    assert (noise.r_lower[0, 1] < 1) & (noise.r_upper[0, 1] > 0)
    again = item_noise(read_source([folder]))
    assert again is not None
    np.testing.assert_array_equal(noise.gain_se, again.gain_se)


def test_cells_without_predictions_have_no_test_noise_and_folders_without_any_none(tmp_path):
    folder = kept(tmp_path, {"base": 0.0, "self": 1.0, "cross": 0.5})
    for path in (folder / "predictions").glob("no+eu*"):
        path.unlink()
    noise = item_noise(read_source([folder]))
    assert noise is not None
    assert np.isnan(noise.gain_se[0, 1])
    assert np.isfinite(np.diag(noise.gain_se)).all()
    assert item_noise(read_source([results(tmp_path / "plain", truth(2))])) is None


def test_predictions_of_another_training_are_refused(tmp_path):
    folder = kept(tmp_path, {"base": 0.0, "self": 1.0, "cross": 0.5})
    path = next((folder / "predictions").glob("nobase*"))
    frame = pd.read_parquet(path)
    frame.assign(probability_male=1 - frame.probability_male).to_parquet(path)
    with pytest.raises(UserError, match="not of one training"):
        item_noise(read_source([folder]))
    frame.drop(columns="speaker").to_parquet(path)
    with pytest.raises(UserError, match="lacks the column speaker"):
        item_noise(read_source([folder]))
    path.write_text("PAR1")
    with pytest.raises(UserError, match="cannot read"):
        item_noise(read_source([folder]))
