"""Language identification by clip length, and what is kept of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from engine.keep import keep_checkpoint
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks.asr.system import CtcSystem
from tasks.augment import middle
from tasks.base import Batch, Output, Score, Setup, Tests
from tasks.checkpoint import read
from tasks.data.clips import Clip
from tasks.lid import Language, LanguageOptions
from tasks.pooled import PooledClassifier
from tests.tasks.asr.test_system import batch
from tests.tasks.test_backbones import saved
from tests.tasks.waves import make_clips

CODES = ("no", "zh-CN")
CLIPS = tuple(clip for code in CODES for clip in make_clips(code, "train", speakers=2))
HERE = tuple(replace(clip, length=length) for clip, length in zip(make_clips("no", "test"), (4800, 8000, 16000, 48000),
                                                                  strict=False))  # fmt: skip


def made(backbone: str = "tiny", lengths: tuple[float, ...] = ()) -> tuple[Language, PooledClassifier]:
    task = Language(LanguageOptions(lengths), Model(backbone=backbone))
    return task, task.network(Setup(Mixture.of(dict.fromkeys(CODES, 8)), CLIPS, 1)).eval()


def test_the_middle_of_a_clip_is_what_is_heard_of_it() -> None:
    values_KT = torch.arange(10.0).repeat(3, 1)
    cut = middle(Batch(values_KT, torch.tensor([10, 7, 3])), 4)
    assert cut.lengths.tolist() == [4, 4, 3]
    assert cut.values[0].tolist() == [3, 4, 5, 6]
    assert cut.values[1].tolist() == [1, 2, 3, 4]
    assert cut.values[2, :3].tolist() == [0, 1, 2]


def test_recall_of_a_length_is_that_of_the_clips_that_are_as_long() -> None:
    """Planted: of 0.3, 0.5, 1 and 3 s, cut to 0.1 s the first is right, to 1 s the third of two, to 3 s the one."""
    task, network = made(lengths=(0.1, 1.0, 3.0, 10.0))
    right, wrong = np.array([0.9, 0.1]), np.array([0.2, 0.8])
    planted = {"probability": "1111", "probability 0.1 s": "1000", "probability 1 s": "1110",
               "probability 3 s": "0001", "probability 10 s": "0000"}  # fmt: skip
    outputs: list[Output] = [
        {"languages": np.array(CODES), **{name: right if own[n] == "1" else wrong for name, own in planted.items()}}
        for n in range(4)
    ]
    scored = task.score(network, {"no": Tests(HERE, tuple(outputs))})
    recall = {score.condition: (score.value, score.n_test) for score in scored.scores if score.metric == "recall"}
    assert recall == {"": (1, 4), "0.1 s": (0.25, 4), "1 s": (0.5, 2), "3 s": (1, 1)}, "no clip is as long as 10 s"
    loss = {score.condition: score.value for score in scored.scores if score.metric == "log_loss"}
    assert loss["1 s"] == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2)
    assert scored.predictions["guess"] == ["no"] * 4


def scores(clips: tuple[Clip, ...], lengths: tuple[float, ...]) -> dict[tuple[str, str], Score]:
    task, network = made(lengths=lengths)
    with torch.no_grad():
        outputs = task.outputs(network, batch(clips))
    return {(s.metric, s.condition): s for s in task.score(network, {"no": Tests(clips, tuple(outputs))}).scores}


def test_whole_clips_score_as_they_do_without_lengths() -> None:
    plain, cut = scores(HERE, ()), scores(HERE, (0.1, 0.3))
    assert {key: score for key, score in cut.items() if not key[1]} == plain
    assert {condition for _, condition in cut} == {"", "0.1 s", "0.3 s"}
    same = tuple(replace(clip, length=4800) for clip in HERE)
    assert scores(same, (0.3,))["log_loss", "0.3 s"].value == pytest.approx(scores(same, ())["log_loss", ""].value)


def test_what_is_heard_of_a_short_cut_does_not_depend_on_the_batch() -> None:
    task, network = made(lengths=(0.1, 0.5))
    with torch.no_grad():
        together = task.outputs(network, batch(HERE))
        for clip, one in zip(HERE, together, strict=True):
            (alone,) = task.outputs(network, batch((clip,)))
            for name in ("probability", "probability 0.1 s", "probability 0.5 s"):
                assert np.allclose(one[name], alone[name], atol=1e-5)
    assert not np.allclose(together[3]["probability"], together[3]["probability 0.1 s"], atol=1e-4)


def test_a_length_below_a_tenth_of_a_second_is_refused() -> None:
    with pytest.raises(UserError, match=r"lengths in \[options\] is \[0.05\]; allowed: seconds, each >= 0.1"):
        LanguageOptions((0.05,))


@pytest.mark.parametrize(("family", "norm"), [("hubert", "group"), ("wav2vec2", "layer"), ("wavlm", "layer")])
def test_what_is_kept_names_languages_here_and_in_plain_transformers(family: str, norm: str, tmp_path: Path) -> None:
    task, network = made(saved(tmp_path / "backbone", family, norm), lengths=(0.1,))
    keep_checkpoint(task, network, tmp_path / "kept.safetensors")
    again, same = read(tmp_path / "kept", Language)
    assert (again.options, same.names) == (task.options, CODES)
    plain: Any = AutoModelForAudioClassification.from_pretrained(tmp_path / "kept").eval()
    extractor: Any = AutoFeatureExtractor.from_pretrained(tmp_path / "kept")
    one = batch(HERE[:1])
    inputs = extractor(one.values[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = network(one)[1]
        assert torch.allclose(same(one)[1], expected, atol=1e-5)
        assert torch.allclose(plain(inputs).logits, expected, atol=1e-4)
    assert [plain.config.id2label[row] for row in range(2)] == list(CODES)


def test_a_network_of_another_task_is_refused(tmp_path: Path) -> None:
    keep_checkpoint(*made(), tmp_path / "kept.safetensors")
    with pytest.raises(UserError, match="holds a network of the task 'lid'; allowed: asr/ctc, asr/deepspeech"):
        read(tmp_path / "kept", CtcSystem)
