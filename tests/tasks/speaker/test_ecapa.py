"""ECAPA-TDNN as published: sizes, arithmetic beside a public implementation, margins, masks, starting points."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.fitting import World
from engine.inputs import collate
from engine.keep import keep_checkpoint
from engine.learner import Learner
from engine.room import Room
from grids.errors import UserError
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.base import Batch, Setup
from tasks.speaker.ecapa import Ecapa, EcapaOptions, EcapaTdnn, aam_logits
from tests.tasks.waves import MadeWaves, make_clips, wave

SMALL = EcapaOptions(channels=32, aggregated=64, embedding=32, crop_seconds=0.25)
CLIPS = make_clips("no", "train", speakers=4, clips_each=2)


def lively(network: nn.Module) -> Any:
    """The network in evaluation, its batch norms with statistics and scales of their own."""
    generator = torch.Generator().manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.copy_(0.1 * torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
            part.weight.data.copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return network.eval()


def setup(seed: int) -> Setup:
    return Setup(Mixture.of({"no": 8}), CLIPS, seed)


@pytest.mark.parametrize(("channels", "published"), [(512, "6.2M"), (1024, "14.7M")])
def test_it_has_the_published_number_of_parameters(channels: int, published: str) -> None:
    """Table 1 of the paper counts without the training head."""
    count = sum(parameter.numel() for parameter in EcapaTdnn(channels).parameters())
    assert f"{count / 1e6:.1f}M" == published


def theirs(channels: int) -> Any:
    """SpeechBrain's network set up alike: zeros as padding, 1536 channels, no norm after the aggregation."""
    ecapa = pytest.importorskip("speechbrain.lobes.models.ECAPA_TDNN", reason="SpeechBrain, for this check only")
    network = ecapa.ECAPA_TDNN(80, lin_neurons=192, channels=[channels] * 4 + [1536])
    for part in network.modules():
        if hasattr(part, "padding_mode"):
            part.padding_mode = "constant"
    network.mfa.norm = nn.Identity()
    return network.eval()


def learned(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and statistics in the order of the modules that hold them."""
    return ((name, tensor) for name, tensor in module.state_dict().items() if "num_batches" not in name)


@torch.no_grad()
def test_every_layer_computes_what_speechbrain_computes() -> None:
    other, own = theirs(64), lively(EcapaTdnn(64))
    pairs = [(own.first, other.blocks[0]), *zip(own.blocks, other.blocks[1:], strict=True),
             (own.aggregate, other.mfa), (own.pool, other.asp), (own.pool_norm, other.asp_bn),
             (own.project, other.fc)]  # fmt: skip
    for ours, beside in pairs:
        copied = {name: tensor for (name, empty), (_, full) in zip(learned(beside), learned(ours), strict=True)
                  for tensor in [full.reshape(empty.shape)]}  # fmt: skip
        beside.load_state_dict(copied, strict=False)
    features = torch.randn(3, 80, 150, generator=torch.Generator().manual_seed(2))
    everywhere = torch.ones(3, 1, 150, dtype=torch.bool)
    hidden, outputs = own.first(features), []
    assert torch.allclose(other.blocks[0](features), hidden, rtol=0, atol=1e-5)
    for block, beside in zip(own.blocks, other.blocks[1:], strict=True):
        outputs.append(block(hidden, everywhere))
        assert torch.allclose(beside(hidden), outputs[-1], rtol=0, atol=1e-5)
        hidden = hidden + outputs[-1]  # the paper's sum of all layers before; SpeechBrain has the last one alone
    aggregated = own.aggregate(torch.cat(outputs, dim=1)).relu()
    assert torch.allclose(other.mfa(torch.cat(outputs, dim=1)), aggregated, rtol=0, atol=1e-5)
    pooled = own.pool(aggregated, everywhere)
    assert torch.allclose(other.asp(aggregated)[:, :, 0], pooled, rtol=0, atol=1e-5)
    projected = own.project(own.pool_norm(pooled))
    assert torch.allclose(other.fc(other.asp_bn(pooled[:, :, None]))[:, :, 0], projected, rtol=0, atol=1e-5)
    assert torch.equal(own(features, everywhere[:, 0]), own.norm(projected))


def test_aam_softmax_by_hand() -> None:
    """Own angles of 60 and 175 degrees: the margin of 0.2 is added to the first; the second is past the guard."""
    own, past = math.radians(60), math.radians(175)
    cosine = torch.tensor([[math.cos(own), 0.3], [0.1, math.cos(past)]])
    expected = torch.tensor(
        [[30 * math.cos(own + 0.2), 30 * 0.3], [30 * 0.1, 30 * (math.cos(past) - 0.2 * math.sin(math.pi - 0.2))]]
    )
    assert torch.allclose(aam_logits(cosine, torch.tensor([0, 1])), expected, atol=1e-4)


def test_a_larger_angle_never_has_a_larger_logit() -> None:
    cosine = torch.linspace(1, -1, 2001)[:, None]
    logits = aam_logits(cosine, torch.zeros(2001, dtype=torch.long))[:, 0]
    assert (logits.diff() <= 0).all()


def test_aam_has_a_gradient_at_an_angle_of_zero() -> None:
    cosine = torch.ones(1, 2, requires_grad=True)
    aam_logits(cosine, torch.tensor([0])).sum().backward()
    assert cosine.grad is not None
    assert cosine.grad.isfinite().all()


@torch.no_grad()
def test_the_padding_has_no_say() -> None:
    network = lively(EcapaTdnn(32, 64, 32))
    features, mask = torch.randn(2, 80, 120), torch.arange(120) < torch.tensor([[120], [70]])
    together = network(features * mask[:, None], mask)
    alone = network(features[1:, :, :70], mask[1:, :70])
    assert torch.allclose(together[1:], alone, rtol=0, atol=1e-5)


def test_a_clip_alone_in_a_training_batch_is_trained_on() -> None:
    task = Ecapa(SMALL, Model(backbone="none"))
    network = task.network(setup(1))
    train = Train(learning_rate=1e-3, batch_size=7)
    learner = Learner(
        task, network, MadeWaves(), train, torch.device("cpu"), World(), Room(4.0), lambda step, values: None
    )
    assert learner.fit([CLIPS], 1).steps == 2


def test_every_option_of_augmentation_trains() -> None:
    table = {"noise_db": (5.0, 10.0), "reverberation_seconds": (0.1, 0.2), "speeds": (0.9, 1.1)}
    options = replace(SMALL, augmentation=replace(SMALL.augmentation, **table))
    task = Ecapa(options, Model(backbone="none"))
    train = Train(learning_rate=1e-3, batch_size=4)
    learner = Learner(task, task.network(setup(1)), MadeWaves(), train, torch.device("cpu"), World(), Room(4.0),
                      lambda step, values: None)  # fmt: skip
    assert learner.fit([CLIPS], 1).steps == 2


def test_mixed_precision_trains_on_nearly_the_same_loss() -> None:
    task = Ecapa(SMALL, Model(backbone="none"))
    network = task.network(setup(1))
    examples = task.examples(network, CLIPS, 1, 0)
    batch = collate([wave(example.clips[0]) for example in examples])
    labelled = Batch(batch.values, batch.lengths, task.labels(network, examples))
    exact = task.loss(network, labelled)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task.loss(network, labelled)
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, exact, rtol=0.1)


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    task = Ecapa(SMALL, Model(backbone="none"))
    torch.manual_seed(5)
    one = task.network(setup(1)).encoder.first.conv.weight
    other = task.network(Setup(Mixture(), make_clips("zh-CN", "train"), 1)).encoder.first.conv.weight
    assert torch.equal(one, other)
    assert not torch.equal(one, task.network(setup(2)).encoder.first.conv.weight)


def test_a_checkpoint_is_a_starting_point(tmp_path: Path) -> None:
    task = Ecapa(SMALL, Model(backbone="none"))
    network = task.network(setup(1))
    keep_checkpoint(task, network, tmp_path / "model.safetensors")
    task = Ecapa(SMALL, Model(backbone=str(tmp_path)))
    started = task.network(setup(2))
    assert all(torch.equal(a, b) for a, b in zip(network.encoder.state_dict().values(),
                                                 started.encoder.state_dict().values(), strict=True))  # fmt: skip
    assert not torch.equal(network.head.weight, started.head.weight)
    assert task.weights_sha()
    assert Ecapa(SMALL, Model(backbone="none")).weights_sha() == ""
    with pytest.raises(UserError, match=r"has \(32, 80, 5\) as encoder\.first\.conv\.weight; needed: \(64, 80, 5\)"):
        Ecapa(EcapaOptions(channels=64), Model(backbone=str(tmp_path))).weights_sha()


@pytest.mark.parametrize("backbone", ["tiny", "utter-project/mHuBERT-147", "/nowhere"])
def test_another_backbone_is_refused(backbone: str) -> None:
    with pytest.raises(UserError, match="allowed: 'none', or a folder"):
        Ecapa(SMALL, Model(backbone=backbone)).weights_sha()


@pytest.mark.parametrize("table", [{"channels": 100}, {"embedding": 0}, {"aggregated": 0}, {"crop_seconds": 0.0}])
def test_options_that_cannot_be(table: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=rf"{next(iter(table))} in \[options\] is {next(iter(table.values()))}; allowed"
    ):
        EcapaOptions(**table)
