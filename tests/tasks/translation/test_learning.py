"""The tiny model learns: fifty sentences by heart, and from the synthetic corpus for speakers it has not heard."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from engine.fitting import World
from engine.inputs import FrozenOutputs, Waves
from engine.learner import Learner
from engine.room import Room
from grids.grid import Data, Model, Train
from grids.mixture import Mixture
from tasks.base import Setup
from tasks.data.clips import Clip
from tasks.data.prepare import prepare
from tasks.data.store import open_language
from tasks.translation.scoring import bleu_chrf
from tasks.translation.task import Translation, TranslationOptions
from tasks.translation.texts import text_in

CPU = torch.device("cpu")


def bleu_after(training: Sequence[Clip], tests: Sequence[Clip], corpus: Path, folder: Path, epochs: int) -> float:
    """BLEU into Chinese."""
    torch.manual_seed(0)
    task = Translation(TranslationOptions(max_tokens=60), Model(backbone="tiny-whisper"))
    network = task.network(Setup(Mixture(), tuple(training), 0))
    frozen = task.frozen(network)
    assert frozen is not None
    inputs = FrozenOutputs(frozen, Waves(corpus), folder, CPU, 60.0)
    train = Train(learning_rate=3e-3, epochs=epochs, batch_size=16, warmup=0.1, schedule="linear")
    learner = Learner(task, network, inputs, train, CPU, World(), Room(60.0), lambda step, values: None)
    learner.fit([training], 0)
    found = learner.evaluate({"ca": tests})
    assert found is not None
    return next(score.value for score in task.score(network, found).scores if score.metric == "bleu")


@pytest.fixture(scope="module")
def corpus() -> Path:
    return prepare("synthetic", ["ca"], Data()).folder


@pytest.mark.slow
@pytest.mark.long
def test_fifty_sentences_are_learnt_by_heart(corpus: Path, tmp_path: Path) -> None:
    clips = {clip.sentence: clip for clip in open_language(corpus, "ca").clips if clip.split == "train"}
    fifty = list(clips.values())[:50]
    assert bleu_after(fifty, fifty, corpus, tmp_path, 120) > 0.9


@pytest.mark.slow
@pytest.mark.long
def test_unseen_speakers_are_translated_better_than_by_any_one_sentence(corpus: Path, tmp_path: Path) -> None:
    clips = [clip for clip in open_language(corpus, "ca").clips if clip.split == "train"]
    training, heard = clips[:600], {clip.speaker for clip in clips[:600]}
    tests = [clip for clip in clips[600:] if clip.speaker not in heard][:160]  # of the sentences, two thirds were read
    truth, texts = [text_in(clip, "zh") for clip in tests], [text_in(clip, "zh") for clip in training]
    often = sorted(set(texts), key=lambda text: (-texts.count(text), text))[:100]
    baseline = max(bleu_chrf([text] * len(truth), truth, "zh")[0] for text in often)
    assert bleu_after(training, tests, corpus, tmp_path, 30) > 1.3 * baseline
