"""Retrieval with planted frames: what it finds, at what chance, and whether sound or meaning led there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks.backbones import load, resolve
from tasks.base import Batch, Setup, Tests
from tasks.data.clips import Clip
from tasks.retrieval import ANOTHER_READING, Retrieval, RetrievalOptions, control
from tests.tasks.waves import make_clips, wave

CODES, MEANINGS, WIDTH = ("no", "zh-CN", "fy-NL"), 60, 16
Frames = Callable[[str, int, np.random.Generator], np.ndarray]


def planted(frames: Frames, codes: tuple[str, ...] = CODES, readings: int = 1) -> dict[str, Tests]:
    """A test set a language with these frames of (language, meaning)."""
    random, made = np.random.default_rng(0), {}
    for code in codes:
        clips, outputs = [], []
        for meaning in range(MEANINGS):
            for reading in range(readings):
                name = f"{code}{meaning}-{reading}"
                clips.append(
                    Clip(code, name, f"s{meaning % 7}", "", f"{code} {meaning}", "test", 0, 1, name, f"m{meaning}")
                )
                own = frames(code, meaning, random).astype(np.float32)
                outputs.append({"frames": own, "embedding": own.mean(0)})
        made[code] = Tests(tuple(clips), tuple(outputs))
    return made


def scores(tests: Mapping[str, Tests], **options: object) -> dict[tuple[str, str, str], float]:
    """(language, condition, metric) -> value."""
    task = Retrieval(RetrievalOptions(**options), Model(backbone="tiny"))  # type: ignore[arg-type]
    found = task.score(torch.nn.Linear(1, 1), tests).scores  # type: ignore[arg-type]
    return {(score.language, score.condition, score.metric): score.value for score in found}


def meant(code: str, meaning: int, random: np.random.Generator) -> np.ndarray:
    """The same frames in every language, a function of the meaning."""
    return np.random.default_rng(meaning).normal(size=(5 + meaning % 6, WIDTH))


def shuffled(code: str, meaning: int, random: np.random.Generator) -> np.ndarray:
    return random.permutation(meant(code, meaning, random))


def noise(code: str, meaning: int, random: np.random.Generator) -> np.ndarray:
    return random.normal(size=(5 + int(random.integers(6)), WIDTH))


@pytest.mark.parametrize("frames", [meant, shuffled])
def test_identical_clips_are_all_found_whatever_the_order_of_their_frames(frames: Frames) -> None:
    found = scores(planted(frames))
    for query in CODES:
        for gallery in {*CODES} - {query}:
            assert found[query, gallery, "r_at_1"] == found[query, gallery, "mrr"] == 1
            assert found[query, gallery, "pooled_r_at_1"] == 1
            assert found[query, gallery, "random_r_at_1"] == pytest.approx(1 / MEANINGS)


def test_noise_is_found_at_chance() -> None:
    codes = tuple(f"l{number}" for number in range(8))
    found = scores(planted(noise, codes))
    for metric, chance in (("r_at_1", 1 / 60), ("r_at_5", 5 / 60), ("pooled_r_at_1", 1 / 60)):
        values = [value for (_, condition, name), value in found.items() if name == metric and condition]
        error = np.sqrt(chance * (1 - chance) / (MEANINGS * len(values) / 2))  # a pair's two directions are dependent
        assert np.mean(values) == pytest.approx(chance, abs=4 * error)


def test_two_meanings_of_the_same_frames_in_another_order_cannot_be_told_apart() -> None:
    def ordered(code: str, meaning: int, random: np.random.Generator) -> np.ndarray:
        frames = np.eye(WIDTH)[np.random.default_rng(meaning // 2).permutation(WIDTH)[:4]]
        return frames[::-1] if meaning % 2 else frames

    assert scores(planted(ordered))["no", "fy-NL", "r_at_1"] == pytest.approx(0.5, abs=0.03)


def test_without_a_condition_stands_the_mean_over_the_other_languages() -> None:
    found = scores(planted(lambda c, m, r: meant(c, m, r) + r.normal(size=(5 + m % 6, WIDTH)), readings=2))
    others = [found["no", gallery, "r_at_1"] for gallery in ("zh-CN", "fy-NL")]
    assert found["no", "", "r_at_1"] == pytest.approx(np.mean(others))
    assert 0 < found["no", ANOTHER_READING, "r_at_1"] <= 1


def test_intervals_hold_the_score() -> None:
    found = scores(planted(lambda c, m, r: meant(c, m, r) + 2 * r.normal(size=(5 + m % 6, WIDTH))))
    for (query, gallery, metric), value in found.items():
        if metric == "r_at_1" and gallery:
            assert found[query, gallery, "r_at_1_lower"] <= value <= found[query, gallery, "r_at_1_upper"]


def test_a_pair_is_the_same_beside_a_third_language() -> None:
    three = scores(planted(meant))
    two = scores({code: test for code, test in planted(meant).items() if code != "zh-CN"})
    assert {key: value for key, value in two.items() if key[1]}.items() <= three.items()


def test_languages_that_share_no_meaning_are_named() -> None:
    made = planted(meant, ("no", "zh-CN"))
    strange = tuple(
        Clip(**{name: getattr(c, name) for name in c.__slots__} | {"item": f"x{c.item}"}) for c in made["no"].clips
    )
    with pytest.raises(UserError, match=r"'no' and 'zh-CN' have 0 meanings in common; .* parallel corpus"):
        scores({**made, "no": Tests(strange, made["no"].outputs)})


SOUND = np.full((4, 4), 0.1) + 0.8 * np.eye(4)[[1, 0, 3, 2]]  # each query sounds like another one's translation


def test_an_encoder_that_hears_sounds_picks_what_sounds_alike() -> None:
    assert control(SOUND, SOUND) == {"sound_r_at_1": 0, "disagreeing": 1, "picks_meaning": 0, "picks_sound": 1}


def test_an_encoder_that_knows_meanings_picks_what_means_the_same() -> None:
    assert control(np.eye(4), SOUND) == {"sound_r_at_1": 0, "disagreeing": 1, "picks_meaning": 1, "picks_sound": 0}


def test_where_sound_and_meaning_agree_a_hit_decides_nothing() -> None:
    assert control(np.eye(4), np.eye(4)) == {"sound_r_at_1": 1, "disagreeing": 0}


def test_names_sound_more_like_themselves_than_like_translations() -> None:
    pytest.importorskip("espeakng_loader")
    from tasks.sounds import phonemes, sound_likeness

    same, other = sound_likeness(["dilluns Egipte"], "ca", ["lunes Egipto", "sueco Armenia"], "es")[0]
    assert same > 2 * other
    assert phonemes(["Egipte"], "ca") == phonemes(["Egipte"], "ca")
    with pytest.raises(UserError, match="no phonemes of 'xx'"):
        phonemes(["a"], "xx")


@pytest.fixture(scope="module", params=["tiny-whisper", "tiny"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLTM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return str(resolve(request.param))


def test_frames_are_a_clips_own_and_do_not_depend_on_its_batch(backbone: str) -> None:
    task = Retrieval(RetrievalOptions(), Model(backbone=backbone))
    network = task.network(Setup(Mixture(), (), 0)).eval()
    waves = [torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (8000, 24_000)]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    with torch.no_grad():
        together = task.outputs(network, Batch(padded, torch.tensor([8000, 24_000])))
        alone = task.outputs(network, Batch(waves[0][None], torch.tensor([8000])))[0]
    assert [len(output["frames"]) for output in together] in ([25, 75], [23, 73]), "one in 20 ms, and no padding"
    assert together[0]["frames"] == pytest.approx(alone["frames"], abs=1e-5)
    assert np.linalg.norm(alone["frames"], axis=1) == pytest.approx(1, abs=1e-5)


def test_identical_clips_of_two_languages_are_all_found_through_an_encoder(backbone: str) -> None:
    task = Retrieval(RetrievalOptions(), Model(backbone=backbone))
    network = task.network(Setup(Mixture(), (), 0)).eval()
    clips = {code: make_clips(code, "test", speakers=5, clips_each=1) for code in ("no", "fy-NL")}
    waves = [torch.from_numpy(wave(clip)) for clip in clips["no"]]
    padded, lengths = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor([*map(len, waves)])
    with torch.no_grad():
        outputs = tuple(task.outputs(network, Batch(padded, lengths)))
    tests = {
        code: Tests(tuple(replace(clip, item=f"m{n}") for n, clip in enumerate(own)), outputs)
        for code, own in clips.items()
    }
    found = {(score.condition, score.metric): score.value for score in task.score(network, tests).scores}
    assert found["no", "r_at_1"] == found["fy-NL", "r_at_1"] == found["no", "mrr"] == 1


def test_whispers_frames_are_its_own_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    monkeypatch.setenv("CLTM_CACHE", str(tmp_path))
    folder = resolve("tiny-whisper")
    wave = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    features = WhisperFeatureExtractor.from_pretrained(folder)(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        plain = WhisperForConditionalGeneration.from_pretrained(folder).model.encoder(**features).last_hidden_state
        found = load(Model(backbone="tiny-whisper")).eval()(wave[None], torch.tensor([16_000]))
    assert found.last.shape[1] == 50, "one second, and nothing of the window behind it"
    assert torch.allclose(found.last[0], plain[0, :50], atol=1e-5)


def test_a_clip_beyond_whispers_window_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"longer than the 5 s that Whisper hears; set max_seconds"):
        load(Model(backbone="tiny-whisper"))(torch.zeros(1, 90_000), torch.tensor([90_000]))


def test_a_layer_that_is_not_there_is_one_line(backbone: str) -> None:
    task = Retrieval(RetrievalOptions(layer=9), Model(backbone=backbone))
    with pytest.raises(UserError, match=r"layer in .* is 9; allowed: -[23] to [12]"):
        task.outputs(task.network(Setup(Mixture(), (), 0)), Batch(torch.zeros(1, 8000), torch.tensor([8000])))
