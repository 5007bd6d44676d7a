"""SpeechLLM: its classifier and scores; the cache over whole trials; and that it learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.job import Job, make_job, settle
from engine.plan import Pending
from engine.store import Result
from engine.train import run_trial
from grids.grid import Model, parse
from grids.mixture import Mixture, Trial
from tasks.audio_llm import AudioLLM
from tasks.base import Setup
from tasks.data.store import open_language
from tasks.speaker import speech_llm
from tasks.speaker.speech_llm import PairClassifier, SpeechLLM, SpeechLLMOptions
from tasks.speaker.verification import Pairs, cosine_scores
from tests.tasks.data.hostile import speakers, write_language
from tests.tasks.waves import make_clips

CLIPS = make_clips("no", "train", speakers=5, clips_each=4)
OTHERS = make_clips("zh-CN", "train", speakers=3, clips_each=3)


def classifier(width: int = 6, *, untouched: bool = False) -> PairClassifier:
    return PairClassifier(width, 3, untouched=untouched).eval()


def test_classifier_is_512_256_1_on_difference_and_product() -> None:
    network, generator = classifier(), np.random.default_rng(0)
    assert sum(p.numel() for p in network.parameters()) == (12 * 512 + 512) + (512 * 256 + 256) + (256 + 1)
    one, other = torch.tensor(generator.normal(size=(2, 1, 6)), dtype=torch.float32)
    features = torch.cat([(one - other).abs(), one * other], dim=1)
    first, second, last = (layer for layer in network.layers if isinstance(layer, torch.nn.Linear))
    by_hand = last(second(first(features).relu()).relu())[:, 0]
    assert torch.allclose(network(one, other), by_hand)
    assert torch.allclose(network(one, other), network(other, one)), "a pair has no order"


def test_a_classifiers_first_weights_depend_on_the_seed_alone() -> None:
    task = SpeechLLM(SpeechLLMOptions(), Model(backbone="tiny-llm"))
    torch.manual_seed(5)
    one = task.network(Setup(Mixture(), CLIPS, 3)).state_dict()
    other = task.network(Setup(Mixture.of({"no": 20}), OTHERS, 3)).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_scores_are_probabilities_that_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(400, 6)).astype(np.float32)
    left, right = generator.integers(400, size=(2, 60_000))
    pairs, network = Pairs(left, right, left == right), classifier()
    found = network.similarity(embeddings, pairs)
    assert found.shape == (60_000,)
    assert ((found > 0) & (found < 1)).all()
    seen: list[int] = []
    monkeypatch.setattr(speech_llm, "PAIRS_AT_ONCE", 7)
    network.layers[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    few = Pairs(left[:100], right[:100], left[:100] == right[:100])
    assert np.allclose(network.similarity(embeddings, few), found[:100], rtol=0, atol=1e-6)
    assert seen == [7] * 14 + [2], "memory is bounded by the block"


def test_the_untouched_model_scores_by_cosine() -> None:
    embeddings = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    pairs = Pairs(np.arange(8), np.arange(1, 9), np.arange(8) % 2 == 0)
    assert np.array_equal(classifier(untouched=True).similarity(embeddings, pairs), cosine_scores(embeddings, pairs))
    assert not np.allclose(classifier().similarity(embeddings, pairs), cosine_scores(embeddings, pairs))
    task = SpeechLLM(SpeechLLMOptions(), Model(backbone="tiny-llm"))
    assert task.network(Setup(Mixture(), (), 3)).untouched
    assert not task.network(Setup(Mixture(), CLIPS, 3)).untouched


def test_training_standardises_embeddings_that_share_a_large_part() -> None:
    network = PairClassifier(6, 3, untouched=False).train()
    values = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) * 0.1 + 5
    for _ in range(200):
        network.standardise(values)
    standard = network.eval().standardise(values)
    assert torch.allclose(standard, (values - values.mean(0)) / values.std(0), atol=0.01)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of one language whose test set gives pairs of both kinds, and a cache of its own."""
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path / "cache"))
    open_language.cache_clear()
    release = tmp_path / "cv-corpus-22.0-2025-06-20"
    held_out = [clip for split in ("dev", "test") for clip in speakers(f"{split}f", 3, "female_feminine", 3, split)]
    write_language(release, "no", [*speakers("m", 5, "male_masculine"), *held_out])
    return release


def job_of(corpus: str, results: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "task": "speaker/speech_llm", "corpus": corpus, "languages": ["no"], "seeds": 2, "samples": 8,
        "options": {"prompt": "Who?"}, "model": {"backbone": "tiny-llm"}, "tracking": {"wandb": "off"},
    }  # fmt: skip
    return settle(make_job(parse({**values, **changes}, "test"), results))


def trained(job: Job, mixture: Mixture, seed: int, language: str = "no") -> Result:
    result = run_trial(job, Pending(Trial(mixture, seed), (language,)))
    assert result is not None
    return result


def test_a_second_run_embeds_nothing_and_gives_the_same_scores(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (job_of(str(corpus), tmp_path / name) for name in ("one", "other"))
    mixture, embedded, real = Mixture.of({"no": 8}), list[int](), AudioLLM.embed

    def embed(self: AudioLLM, wave_T: np.ndarray, device: torch.device) -> np.ndarray:
        embedded.append(len(wave_T))
        return real(self, wave_T, device)

    monkeypatch.setattr(AudioLLM, "embed", embed)
    first = trained(one, mixture, 0)
    assert len(embedded) == 8 + 9, "the block and the test set, each clip once"
    assert trained(other, mixture, 0).scores == first.scores, "cached or not, bit for bit"
    assert len(embedded) == 8 + 9
    trained(replace(one, results=tmp_path / "third"), Mixture(), 0)
    assert len(embedded) == 8 + 9


@pytest.mark.slow
@pytest.mark.long
def test_two_blocks_beat_one_and_one_beats_the_untouched_model(tmp_path: Path) -> None:
    """AUC on the synthetic corpus with the tiny LLM: means over two languages, differences paired over 5 seeds."""
    codes, size, seeds = ("es", "tr"), 60, range(5)
    job = job_of("synthetic", tmp_path, languages=list(codes), samples=size, clips_per_speaker=5, seeds=5)

    def auc(samples: int, seed: int) -> float:
        mixtures = {code: Mixture.of({code: samples}) if samples else Mixture() for code in codes}
        return float(np.mean([trained(job, mixture, seed, code).scores[0].value for code, mixture in mixtures.items()]))

    untouched = auc(0, 0)
    one, two = (np.array([auc(samples, seed) for seed in seeds]) for samples in (size, 2 * size))
    for gain in (one - untouched, two - one):
        assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(seeds)), gain
