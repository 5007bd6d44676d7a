"""Encoders: a clip's output depends on the clip alone, and plain transformers classes give the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from grids.errors import UserError
from grids.grid import Model
from tasks.backbones import fingerprint, load, resolve
from tasks.encoder import Encoder, masked_mean, normalised

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": (16, 16),
    "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
FAMILIES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
}


def waves(lengths: list[int], padding: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random waves, each the beginning of its own stream, padded to the longest."""
    made = torch.full((len(lengths), max(lengths)), padding)
    for number, length in enumerate(lengths):
        made[number, :length] = torch.randn(length, generator=torch.Generator().manual_seed(number))
    return made, torch.tensor(lengths)


def saved(folder: Path, family: str, norm: str) -> str:
    """A random encoder of a family, saved as a user would save one."""
    config, model = FAMILIES[family]
    torch.manual_seed(0)
    model(config(**SMALL, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")).save_pretrained(folder)
    return str(folder)


def embed(encoder: Encoder, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of the last layer of each clip."""
    with torch.no_grad():
        frames = encoder.eval()(values, lengths)
    return masked_mean(frames.last, frames.mask)


@pytest.mark.parametrize("name", ["tiny", "tiny-groupnorm"])
@pytest.mark.parametrize("padding", [0.0, 7.0])
def test_a_clip_does_not_depend_on_its_batch(name: str, padding: float) -> None:
    encoder, lengths = load(Model(backbone=name)), [9000, 4000, 16000, 400]
    values, counts = waves(lengths, padding)
    together = embed(encoder, values, counts)
    for number, length in enumerate(lengths):
        alone = embed(encoder, values[number : number + 1, :length], counts[number : number + 1])
        assert torch.allclose(together[number], alone[0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_every_family_gives_what_the_plain_class_gives(tmp_path: Path, family: str, norm: str) -> None:
    name = saved(tmp_path / "model", family, norm)
    values, counts = waves([8000])
    with torch.no_grad():
        plain = AutoModel.from_pretrained(name).eval()(normalised(values, torch.ones_like(values) > 0))
    ours = load(Model(backbone=name)).eval()(values, counts, states=None)
    assert torch.allclose(plain.last_hidden_state, ours.last, atol=1e-5)
    assert len(ours.hidden) == 3, "the input of the first layer, and two layers"
    values, counts = waves([8000, 5000])
    both, alone = (
        embed(load(Model(backbone=name)), values, counts),
        embed(load(Model(backbone=name)), values[:1], counts[:1]),
    )
    assert torch.allclose(both[0], alone[0], atol=1e-5)


def test_plain_group_norm_depends_on_padding() -> None:
    """The trap that `MaskedChannelNorm` closes: without it the same clip, padded, gives something else."""
    plain = AutoModel.from_pretrained(resolve("tiny-groupnorm")).eval()
    values, counts = waves([4000, 16000])
    mask = (torch.arange(16000) < counts[:, None]).long()
    with torch.no_grad():
        padded = plain(values, attention_mask=mask).last_hidden_state[0, :9]
        alone = plain(values[:1, :4000]).last_hidden_state[0, :9]
    assert (padded - alone).abs().mean() > 0.1


def test_loading_twice_gives_equal_weights_and_training_one_leaves_the_next() -> None:
    one = load(Model(backbone="tiny"))
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(1)
    two, three = load(Model(backbone="tiny")), load(Model(backbone="tiny"))
    for a, b in zip(two.state_dict().values(), three.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(one.parameters()), next(two.parameters()))


def test_masking_and_layerdrop_are_off_unless_asked_for(tmp_path: Path) -> None:
    name = saved(tmp_path / "model", "hubert", "layer")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["layerdrop"] == 0.1
    off = load(Model(backbone=name)).model.config
    on = load(Model(backbone=name, spec_augment=True, layerdrop=0.2)).model.config
    assert (off.apply_spec_augment, off.layerdrop, on.apply_spec_augment, on.layerdrop) == (False, 0.0, True, 0.2)


def test_frozen_feature_encoder_does_not_learn() -> None:
    encoder = load(Model(backbone="tiny", freeze_feature_encoder=True))
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all("feature_extractor" in name for name in frozen)


def test_fingerprint_follows_the_weights_and_not_the_folder(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", "hubert", "group"), saved(tmp_path / "two", "hubert", "group")
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(saved(tmp_path / "three", "hubert", "layer"))


@pytest.mark.parametrize("name", ["tny", "/no/such/folder", "./nowhere", "a/b/c"])
def test_a_backbone_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=r"is no folder and no hub name.*tiny"):
        resolve(name)


def test_a_folder_without_a_model_and_one_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="of type 'bert'; allowed: hubert, wav2vec2, wavlm"):
        load(Model(backbone=str(tmp_path)))


def test_a_backbone_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    name = saved(tmp_path / "model", "hubert", "group")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["feature_projection.projection.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights of its network, e.g. feature_projection\.projection\.weight"):
        load(Model(backbone=name))


def test_loading_leaves_the_random_generator_alone(tmp_path: Path) -> None:
    name = saved(tmp_path / "model", "hubert", "group")
    torch.manual_seed(7)
    load(Model(backbone=name))
    first = torch.rand(1)
    torch.manual_seed(7)
    load(Model(backbone=name))
    assert torch.equal(first, torch.rand(1))


def test_normalised_clip_has_mean_0_and_variance_1_over_its_own_samples() -> None:
    values, counts = waves([100, 60], padding=9.0)
    valid = torch.arange(100) < counts[:, None]
    made = normalised(values, valid).numpy()
    assert np.mean(made[1, :60]) == pytest.approx(0, abs=1e-6)
    assert np.var(made[1, :60]) == pytest.approx(1, abs=1e-4)
    assert not made[1, 60:].any()
