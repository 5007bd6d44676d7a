"""The systems that start from nothing: options, checkpoints, conditions of the score, and streams."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from engine.keep import keep_checkpoint
from grids.errors import UserError
from grids.grid import Model, parse
from grids.mixture import Mixture
from tasks import make_task, task_class
from tasks.asr import stream
from tasks.asr.system import CtcSystem
from tasks.asr.text import text_of
from tasks.base import Batch, Setup, Tests
from tasks.checkpoint import read
from tasks.data.blocks import switched
from tests.tasks.test_contract import SCRATCH, make
from tests.tasks.waves import make_clips, wave

CLIPS = make_clips("no", "train")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "asr/deepspeech",
            {"channels": [8] * 4},
            r"channels in \[options\] is \[8, 8, 8, 8\]; allowed: 1 to 3 numbers",
        ),
        ("asr/deepspeech", {"units": 0}, r"units in \[options\] is 0; allowed: >= 1"),
        ("asr/jasper", {"blocks": 7}, r"blocks in \[options\] is 7; allowed: multiples of 5"),
        ("asr/quartznet", {"scale": 0.001}, r"scale in \[options\] is 0.001"),
        ("asr/emformer", {"ctc_weight": 2.0}, r"ctc_weight in \[options\] is 2.0; allowed: 0 to 1"),
        ("asr/emformer", {"heads": "language"}, "RNN-T has one vocabulary"),
    ],
)
def test_options_that_make_no_network_are_refused(task: str, options: dict[str, object], message: str) -> None:
    table = {"task": task, "corpus": "synthetic", "languages": ["ca"], "seeds": 1, "samples": 4, "options": options}
    with pytest.raises(UserError, match=message):
        make_task(parse(table, "test"))


@pytest.mark.parametrize("name", SCRATCH)
def test_a_backbone_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"backbone in \[model\] is 'tiny'; allowed: 'none'"):
        task_class(name)(task_class(name).Options(), Model(backbone="tiny")).weights_sha()


@pytest.mark.parametrize("name", SCRATCH)
def test_a_kept_checkpoint_hears_what_the_network_hears(name: str, tmp_path: Path) -> None:
    task = make(name)
    network = task.network(Setup(Mixture(), CLIPS, 1)).eval()
    keep_checkpoint(task, network, tmp_path / "a.safetensors")
    again, kept = read(tmp_path / "a", CtcSystem)
    samples = torch.from_numpy(wave(CLIPS[0]))
    batch = Batch(samples[None], torch.tensor([len(samples)]))
    with torch.no_grad():
        (one,), (other,) = task.outputs(network, batch), again.outputs(kept, batch)
    assert one["text"].tolist() == other["text"].tolist()
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), kept.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("ctc_weight", [0.3, 1.0])
def test_a_stream_ends_with_the_text_of_the_whole_file(
    ctc_weight: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make("asr/emformer", ctc_weight=ctc_weight)
    network = task.network(Setup(Mixture(), CLIPS, 1))
    keep_checkpoint(task, network, tmp_path / "a.safetensors")
    soundfile.write(tmp_path / "clip.wav", wave(CLIPS[0]), 16_000, subtype="FLOAT")
    assert stream.main([str(tmp_path / "clip.wav"), "--checkpoint", str(tmp_path / "a")]) == 0
    *said, report = capsys.readouterr().out.splitlines()
    samples = torch.from_numpy(wave(CLIPS[0]))
    with torch.no_grad():
        (whole,) = task.outputs(network.eval(), Batch(samples[None], torch.tensor([len(samples)])))
    assert whole["text"][0]
    assert said[-1] == whole["text"][0]
    assert report.startswith("look-ahead 40 ms, latency of a segment's first frame 120 ms, real-time factor ")


def test_another_recogniser_cannot_stream(tmp_path: Path) -> None:
    task = make("asr/deepspeech")
    keep_checkpoint(task, task.network(Setup(Mixture(), CLIPS, 1)), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="cannot stream; allowed: 'asr/emformer'"):
        stream.main([str(tmp_path / "clip.wav"), "--checkpoint", str(tmp_path / "a")])


def test_clips_in_which_the_language_changes_are_scored_apart_and_by_the_rules_of_each() -> None:
    task = make("asr/deepspeech", switched=True)
    assert task.needs.switched
    own, other = make_clips("no", "test"), make_clips("tr", "test")
    other = tuple(replace(clip, sentence="ISI") for clip in other)
    mixed = switched(own, other)
    assert text_of(mixed[0]) == f"{own[0].sentence} ısı", "Turkish I has no dot"
    outputs = [{"text": np.array([text_of(clip)])} for clip in own]
    outputs += [{"text": np.array([own[n].sentence])} for n in range(len(mixed))]  # the second language is not heard
    network = task.network(Setup(Mixture(), make_clips("no", "train"), 1))
    scores = task.score(network, {"no": Tests((*own, *mixed), tuple(outputs))}).scores
    found = {(s.condition, s.metric): s for s in scores}
    assert found["", "cer"].value == 0
    assert found["then tr", "cer"].value == pytest.approx(4 * len(mixed) / sum(len(text_of(clip)) for clip in mixed))
    assert found["then tr", "wer"].n_test == len(mixed)
