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
from tasks.translation.scoring import bleu_chrf, bleu_counts, word_errors
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


def texts(rng: np.random.Generator, speakers: int = 30, each: int = 6) -> pd.DataFrame:
    """Predictions of recognition and of translation; some speakers are misheard more often than others."""
    speaker = np.repeat(np.arange(speakers), each)
    words = rng.integers(1, 9, len(speaker))
    ease, rows = rng.beta(2, 3, speakers), []
    for who, count in zip(speaker, words, strict=True):
        truth = rng.choice(list("abcdef"), count)
        guess = np.where(rng.random(count) < ease[who], rng.choice(list("abcdef"), count), truth)
        wrong, reference, written = int((guess != truth).sum()), " ".join(truth), " ".join(guess)
        rows.append((f"s{who:03}", wrong, count, wrong, len(reference), reference, written))
    names = ["speaker", "word_errors", "words", "character_errors", "characters", "reference", "guess"]
    made = pd.DataFrame(rows, columns=names).assign(errors=lambda one: one.word_errors, length=lambda one: one.words)
    return made.assign(bleu_counts=[bleu_counts(g, r, "en") for g, r in zip(made.guess, made.reference, strict=True)])


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


def test_rates_and_bleu_are_those_of_all_sentences_that_were_drawn_together():
    rng, items = np.random.default_rng(5), texts(np.random.default_rng(6), speakers=10)
    weights = rng.multinomial(10, np.full(10, 0.1), size=20).astype(float)
    for draw, often in enumerate(weights):
        times = [int(often[int(name[1:])]) for name in items.speaker]
        drawn = items.loc[items.index.repeat(times)]
        slowly = sum(word_errors(g, r)[0] for g, r in zip(drawn.guess, drawn.reference, strict=True)) / sum(
            len(reference.split()) for reference in drawn.reference
        )
        characters = drawn.character_errors.sum() / drawn.characters.sum()
        expected = {"wer": slowly, "error_rate": slowly, "cer": characters,
                    "bleu": bleu_chrf(drawn.guess.tolist(), drawn.reference.tolist(), "en")[0]}  # fmt: skip
        for name, value in expected.items():
            assert RESAMPLED[name](items, weights)[draw] == pytest.approx(value, abs=1e-12), name


def test_a_draw_of_empty_references_has_no_error_rate():
    items = pd.DataFrame({"speaker": ["a", "b"], "errors": [1, 0], "length": [4, 0]})
    found = RESAMPLED["error_rate"](items, np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert found[0] == 0.25
    assert np.isnan(found[1])


@pytest.mark.parametrize(("name", "make"), [("macro_f1", clips), ("accuracy", clips), ("auc", pairs), ("eer", pairs),
                                            ("wer", texts), ("bleu", texts)])  # fmt: skip
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


def coverage(name: str, make: Callable[..., pd.DataFrame], runs: int, endless: int = 20_000) -> float:
    rng = np.random.default_rng(3)
    everybody = make(rng, speakers=endless)
    target = RESAMPLED[name](everybody, np.ones((1, len(speakers_of(everybody)))))[0]
    found = np.array([standard_error(name, make(rng), rng) for _ in range(runs)])
    return float((np.abs(found[:, 0] - target) <= 2.045 * found[:, 1]).mean())


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_the_interval_covers_the_score_on_endless_speakers(name):
    """Nominal 95 %, 30 speakers of 6 clips; clips of a speaker are alike, so counting clips would cover far less."""
    assert 0.90 <= coverage(name, clips, 400) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wer", "bleu"])
def test_the_interval_of_rates_and_bleu_covers_it_too(name):
    assert 0.90 <= coverage(name, texts, 150, endless=3000) <= 0.99


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


def recognised(folder: Path, speaker: str = "s{}") -> Path:
    """A results folder of two languages with an error rate, plain and under a condition, and kept predictions."""
    how = Folder(seeds=range(3), metric="error_rate", higher_is_better=False)
    rng, frame = np.random.default_rng(7), []
    for s in how.seeds:
        for role, codes, other in (("base", ("no",), ""), ("base", ("eu",), ""), ("self", ("no",), "no"),
                                   ("self", ("eu",), "eu"), ("cross", ("no", "eu"), None)):  # fmt: skip
            mixture, parts = "+".join(codes) + role, []
            for code in codes:
                for condition, more in (("", 0.0), ("no + eu", 0.2)):
                    share = {"base": 0.6, "self": 0.3, "cross": 0.4}[role] + more
                    part = pd.DataFrame({"language": code, "clip": [f"c{k}" for k in range(240)], "length": 5,
                                         "speaker": [speaker.format(k // 6) for k in range(240)],
                                         "condition": condition, "errors": rng.binomial(5, share, 240)})  # fmt: skip
                    parts.append(part)
                    donor = ("eu" if code == "no" else "no") if other is None else other
                    value = 1 - part.errors.sum() / part.length.sum()
                    frame.append({**row(mixture, role, code, donor, s, value, how), "condition": condition})
            path = folder / "predictions" / f"{mixture}_seed{s}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.concat(parts).to_parquet(path)
    planted = Folder(seeds=how.seeds, metric="error_rate", grid={"languages": ["no", "eu"]})
    return results(folder, truth(2), planted, pd.DataFrame(frame))


def test_an_error_rate_is_resampled_under_its_own_condition(tmp_path):
    folder = recognised(tmp_path)
    plain, switched = (item_noise(read_source([folder], condition=condition)) for condition in ("", "no + eu"))
    assert plain is not None
    assert switched is not None
    assert plain.items.tolist() == switched.items.tolist() == [240, 240]
    expected = np.sqrt(0.6 * 0.4 / 1200 / 3)  # of words that know nothing of each other, the mean over three seeds
    assert plain.base_se == pytest.approx([expected, expected], rel=0.3)
    assert switched.base_lower == pytest.approx(plain.base_lower - 0.2, abs=0.05)


def test_clips_of_no_known_speaker_are_drawn_one_by_one(tmp_path):
    noise = item_noise(read_source([recognised(tmp_path, speaker="")]))
    assert noise is not None
    assert noise.speakers.tolist() == [240, 240]


def test_a_condition_whose_predictions_were_not_kept_has_no_test_noise(tmp_path):
    folder = recognised(tmp_path)
    for path in (folder / "predictions").iterdir():
        pd.read_parquet(path).query("condition == ''").drop(columns="condition").to_parquet(path)
    assert item_noise(read_source([folder])) is not None
    assert item_noise(read_source([folder], condition="no + eu")) is None
