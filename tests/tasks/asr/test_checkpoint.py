"""A kept recogniser transcribes, starts another training, and is what plain transformers reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    AutoModel,
    AutoModelForCTC,
    AutoProcessor,
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

from engine.keep import keep_checkpoint
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks.asr import transcribe
from tasks.asr.ctc import BackboneOptions, Ctc
from tasks.asr.system import CtcSystem
from tasks.backbones import load
from tasks.base import Batch, Example, Setup
from tasks.checkpoint import read
from tasks.lid import Language, LanguageOptions
from tests.tasks.asr.test_system import ALSO, SAID, batch, made
from tests.tasks.test_backbones import saved

CLIPS = SAID + ALSO


def kept(tmp_path: Path, backbone: str = "tiny", **options: Any) -> Path:
    """The folder of an untrained recogniser."""
    task = Ctc(BackboneOptions(**options), Model(backbone=backbone))
    network = task.network(Setup(Mixture(), CLIPS, 1))
    keep_checkpoint(task, network, tmp_path / "a-0.1.safetensors")
    return tmp_path / "a-0.1"


@pytest.mark.parametrize(("family", "norm"), [("hubert", "group"), ("hubert", "layer"), ("wav2vec2", "layer")])
def test_plain_transformers_reads_it_and_computes_the_same(tmp_path: Path, family: str, norm: str) -> None:
    folder = kept(tmp_path, saved(tmp_path / "backbone", family, norm))
    plain: Any = {"hubert": HubertForCTC, "wav2vec2": Wav2Vec2ForCTC}[family].from_pretrained(folder)
    _, network = read(folder, CtcSystem)
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32))
    processor: Any = AutoProcessor.from_pretrained(folder)
    inputs = processor(samples.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = plain.eval()(inputs.input_values).logits
        ours, _ = network(Batch(samples[None], torch.tensor([len(samples)])))
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert processor.tokenizer.decode([5, 5, 0, 6, 1, 2]) == "你好 a"


def test_it_is_a_backbone_to_start_from(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    ours, fresh = load(Model(backbone=str(folder))).model, load(Model(backbone="tiny")).model
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name])
    assert AutoModelForCTC.from_pretrained(folder).config.vocab_size == 7


@pytest.mark.parametrize("options", [{}, {"heads": "language", "vocabulary": "language"}])
def test_a_file_is_transcribed_from_the_command_line(
    tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kept(tmp_path, **options)
    file = tmp_path / "a.wav"
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 22_050), 22_050)
    task, network = read(folder, CtcSystem)
    for language in ("auto", "no"):
        assert transcribe.main([str(file), "--checkpoint", str(folder), "--language", language]) == 0
        expected = transcribe.transcribed(task, network, transcribe.wave(file), language)
        assert capsys.readouterr().out == "\t".join((str(file), *expected)) + "\n"
        assert expected[0] in (("no", "zh-CN") if options else ("", "no"))


def lid(folder: Path, codes: tuple[str, ...], sure: str) -> Path:
    """The folder of an identifier that hears one language in everything."""
    clips = tuple(replace(SAID[0], language=code) for code in codes)
    task = Language(LanguageOptions(), Model(backbone="tiny"))
    network = task.network(Setup(Mixture(), clips, 1))
    with torch.no_grad():
        network.head.bias[network.names.index(sure)] = 1e3
    keep_checkpoint(task, network, folder.with_suffix(".safetensors"))
    return folder


def test_a_file_is_written_by_the_view_of_the_language_that_lid_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = {"heads": "language", "vocabulary": "language"}
    folders = {"views": kept(tmp_path, **views), "one": kept(tmp_path / "one")}
    file = tmp_path / "a.wav"
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)

    def said(folder: Path, *arguments: str) -> tuple[str, str]:
        assert transcribe.main([str(file), "--checkpoint", str(folder), *arguments]) == 0
        return capsys.readouterr()

    for code in ("no", "zh-CN"):
        named = lid(tmp_path / f"lid {code}", ("no", "tr", "zh-CN"), code)
        for folder in folders.values():
            expected = said(folder, "--language", code)
            assert said(folder, "--language", "auto", "--lid", str(named)) == expected
            assert expected.out.split("\t")[1] == code
    other = lid(tmp_path / "lid tr", ("no", "tr"), "tr")
    out, warning = said(folders["views"], "--lid", str(other))
    assert out == said(folders["views"]).out, "the surest view writes it"
    assert warning == f"warning: {file} is in 'tr', which the recogniser does not write\n"
    assert said(folders["one"], "--lid", str(other)).out.split("\t")[1] == "tr"


def test_mistakes_with_lid_are_one_clear_line(tmp_path: Path) -> None:
    folder, named = kept(tmp_path, heads="language"), lid(tmp_path / "lid", ("fy-NL", "tr"), "tr")
    arguments = ["a.wav", "--checkpoint", str(folder), "--lid"]
    with pytest.raises(UserError, match=r"tells apart fy-NL, tr, and .* writes none of them"):
        transcribe.main([*arguments, str(named)])
    with pytest.raises(UserError, match="--lid names languages; --language is 'no'"):
        transcribe.main([*arguments, str(named), "--language", "no"])
    with pytest.raises(UserError, match="holds a network of the task 'asr/ctc'; allowed: lid"):
        transcribe.main([*arguments, str(folder)])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    _, first = made(CLIPS, heads="language", vocabulary="language", unknown="unk")
    folder = kept(tmp_path, heads="language", vocabulary="language", unknown="unk")
    task, network = read(folder, CtcSystem)
    assert (network.symbols, network.views) == (first.symbols, first.views)
    assert torch.equal(network.head.weight, first.head.weight)
    assert task.options == BackboneOptions(heads="language", vocabulary="language", unknown="unk")


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no card.json; allowed: a folder of checkpoints/"):
        transcribe.main(["a.wav", "--checkpoint", str(tmp_path)])
    folder = kept(tmp_path, heads="language")
    with pytest.raises(UserError, match=r"cannot read '.*none.wav': missing"):
        transcribe.main([str(tmp_path / "none.wav"), "--checkpoint", str(folder)])
    file = tmp_path / "a.wav"
    soundfile.write(file, np.zeros(16_000), 16_000)
    with pytest.raises(UserError, match="unknown language of the checkpoint 'xx'; allowed: no, zh-CN"):
        transcribe.main([str(file), "--checkpoint", str(folder), "--language", "xx"])


PUBLISHED = {  # the sizes of the published configurations, with random weights
    "mHuBERT-147": HubertConfig(feat_extract_norm="group", do_stable_layer_norm=False),
    "XLS-R 300M": Wav2Vec2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, conv_bias=True,
        feat_extract_norm="layer", do_stable_layer_norm=True,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_of_published_size_passes_through(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(PUBLISHED[name]).save_pretrained(tmp_path / "backbone")
    task = Ctc(BackboneOptions(), Model(backbone=str(tmp_path / "backbone"), freeze_feature_encoder=True))
    network = task.network(Setup(Mixture(), SAID, 1))
    labels = task.labels(network, [Example((clip,)) for clip in SAID[:2]])
    task.loss(network, batch(SAID[:2], labels)).mean().backward()
    assert network.head.weight.grad is not None
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert sum(p.numel() for p in network.parameters()) > {"mHuBERT-147": 9e7, "XLS-R 300M": 3e8}[name]
    assert len(task.outputs(network.eval(), batch(SAID[:2]))) == 2
