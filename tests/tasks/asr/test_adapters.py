"""Each way to learn starts where the backbone is, changes what it says and nothing else, and is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HubertConfig, HubertForCTC, HubertModel, Wav2Vec2ForCTC

from engine.fitting import World
from engine.keep import keep_checkpoint
from engine.learner import Learner
from engine.room import Room
from grids.errors import UserError
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.adapters import restrict, trained_share
from tasks.asr.ctc import BackboneOptions, Ctc
from tasks.asr.system import CtcSystem, Recogniser
from tasks.backbones import fingerprint
from tasks.base import Setup
from tasks.checkpoint import read
from tasks.encoder import Encoder
from tests.tasks.asr.test_system import batch
from tests.tasks.test_backbones import FAMILIES, SMALL, saved
from tests.tasks.waves import MadeWaves, make_clips

CLIPS = make_clips("no", "train", speakers=4, clips_each=2)
SETUP = Setup(Mixture.of({"no": len(CLIPS)}), CLIPS, 1)
COARSE = {**SMALL, "conv_kernel": (400, 8), "conv_stride": (80, 4)}  # frames of 20 ms
PLAIN = {"hubert": HubertForCTC, "wav2vec2": Wav2Vec2ForCTC}
NORMS = ("layer_norm.weight", "layer_norm.bias")
LEARNS = {  # which of a network's weights
    "head": lambda name: False,
    "lora": lambda name: "lora" in name,
    "adapters": lambda name: name.startswith("encoder.adapters.") or ("model.encoder" in name and name.endswith(NORMS)),
    "own_adapters": lambda name: ".adapter_layer." in name,
}


def task(backbone: str, **options: Any) -> Ctc:
    return Ctc(BackboneOptions(**options), Model(backbone=backbone))


def coarse(folder: Path, family: str, **settings: Any) -> str:
    """A small random encoder of a family."""
    config, model = FAMILIES[family]
    torch.manual_seed(0)
    made = model(config(**COARSE, feat_extract_norm="layer", do_stable_layer_norm=True, **settings))
    made.save_pretrained(folder)
    return str(folder)


def backbone_for(learn: str, family: str, folder: Path) -> str:
    """A backbone that can learn so; MMS has adapters of its own so."""
    if learn == "lora":
        pytest.importorskip("peft")
    return coarse(folder, family, **({"adapter_attn_dim": 4} if learn == "own_adapters" else {}))


def fit(own: Ctc, network: Recogniser, steps: int) -> list[float]:
    """Losses of a training on the same four clips over and over."""
    losses: list[float] = []
    train = Train(learning_rate=2e-2, epochs=steps, batch_size=4, warmup=0.1)
    Learner(own, network, MadeWaves(), train, torch.device("cpu"), World(), Room(4.0),
            lambda step, values: losses.append(float(values["loss"]))).fit([CLIPS[:4]], 1)  # fmt: skip
    return losses


WAYS = [("lora", "hubert"), ("lora", "wav2vec2"), ("adapters", "hubert"), ("adapters", "wav2vec2"),
        ("adapters", "wavlm"), ("own_adapters", "hubert"), ("own_adapters", "wav2vec2"), ("head", "wavlm")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("learn", "family"), WAYS)
def test_it_starts_as_the_backbone_changes_its_own_weights_alone_and_learns(
    learn: str, family: str, tmp_path: Path
) -> None:
    name = backbone_for(learn, family, tmp_path / "backbone")
    own = task(name, learn=learn, rank=4 if learn in ("lora", "adapters") else 0)
    assert own.weights_sha() == task(name).weights_sha()
    whole, network = task(name).network(SETUP).eval(), own.network(SETUP).eval()
    assert torch.allclose(whole(batch(CLIPS))[0], network(batch(CLIPS))[0], atol=1e-6)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    losses = fit(own, network, 40)
    assert losses[-1] < 0.9 * losses[0]
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if LEARNS[learn](name) or name.startswith("head.")}
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert learning == changed
    assert all(weight.grad is None for name, weight in network.named_parameters() if name not in learning)


@pytest.mark.parametrize("learn", ["lora", "adapters", "own_adapters"])
def test_it_learns_without_the_head(learn: str, tmp_path: Path) -> None:
    name = backbone_for(learn, "wav2vec2", tmp_path / "backbone")
    own = task(name, learn=learn, rank=0 if learn == "own_adapters" else 4)
    network = own.network(SETUP)
    network.head.requires_grad_(False)
    losses = fit(own, network, 40)
    assert losses[-1] < 0.5 * losses[0]


def base_sized() -> Encoder:
    """HuBERT-base without memory for its weights."""
    with torch.device("meta"):
        return Encoder(HubertModel(HubertConfig()))


def test_adapters_are_under_5_percent_of_hubert_base() -> None:
    encoder, rank = base_sized(), 64
    with torch.device("meta"):
        adapters = restrict(encoder, "adapters", rank, 1)
    network = torch.nn.ModuleList([encoder, adapters])
    total = sum(weight.numel() for weight in network.parameters())
    assert total > 9e7
    bottlenecks = 2 * 12 * (2 * 768 * rank + 768 + rank)
    norms = (2 * 12 + 1) * 2 * 768
    assert trained_share(network) == pytest.approx((bottlenecks + norms) / total)
    assert trained_share(network) < 0.05
    assert trained_share(base_sized()) == 1
    assert trained_share(None) == 0


@pytest.mark.parametrize(("learn", "family"), [("lora", "hubert"), ("own_adapters", "hubert"),
                                               ("own_adapters", "wav2vec2")])  # fmt: skip
def test_what_is_kept_is_what_plain_transformers_reads(learn: str, family: str, tmp_path: Path) -> None:
    name = backbone_for(learn, family, tmp_path / "backbone")
    own = task(name, learn=learn, rank=4 if learn == "lora" else 0)
    network = own.network(SETUP)
    fit(own, network, 3)
    keep_checkpoint(own, network.eval(), tmp_path / "kept.safetensors")
    plain: Any = PLAIN[family].from_pretrained(tmp_path / "kept").eval()
    _, again = read(tmp_path / "kept", CtcSystem)
    wave = batch(CLIPS[:1])
    normal = (wave.values - wave.values.mean()) / torch.sqrt(wave.values.var(unbiased=False) + 1e-7)
    with torch.no_grad():
        expected = network(wave)[0]
        assert torch.allclose(again(wave)[0], expected, atol=1e-5)
        assert torch.allclose(plain(normal).logits, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "norm"), [("hubert", "group"), ("wav2vec2", "layer"), ("wavlm", "layer")])
def test_bottlenecks_are_kept_in_our_own_format_beside_a_backbone_to_start_from(
    family: str, norm: str, tmp_path: Path
) -> None:
    own = task(saved(tmp_path / "backbone", family, norm), learn="adapters", rank=4)
    network = own.network(SETUP)
    fit(own, network, 3)
    keep_checkpoint(own, network.eval(), tmp_path / "kept.safetensors")
    again, same = read(tmp_path / "kept", CtcSystem)
    assert again.options == own.options
    assert same.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in same.state_dict().items())
    assert torch.equal(same(batch(CLIPS))[0], network(batch(CLIPS))[0])
    assert not (tmp_path / "kept" / "config.json").exists(), "transformers would leave the adapters out in silence"
    started = task(str(tmp_path / "kept" / "backbone")).encoder(1).backbone.state_dict()
    assert all(torch.equal(tensor, network.encoder.backbone.state_dict()[name]) for name, tensor in started.items())


@pytest.mark.parametrize("learn", ["adapters", "lora"])
def test_what_is_added_is_drawn_from_the_seed_alone(learn: str) -> None:
    if learn == "lora":
        pytest.importorskip("peft")
    own = task("tiny", learn=learn, rank=4)
    torch.manual_seed(5)
    one, other = (dict(own.encoder(1).named_parameters()) for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    third = dict(own.encoder(2).named_parameters())
    assert not all(torch.equal(tensor, third[name]) for name, tensor in one.items())


def test_a_clip_does_not_depend_on_its_batch_with_adapters() -> None:
    own = task("tiny", learn="adapters", rank=4)
    network = own.network(SETUP)
    fit(own, network, 3)
    together, alone = network.eval()(batch(CLIPS[:4]))[0], network(batch(CLIPS[:1]))[0]
    assert torch.allclose(together[0, : alone.shape[1]], alone[0], atol=1e-5)


def test_mistakes_are_one_clear_line_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"rank in \[options\] is 0; allowed with learn = 'adapters': >= 1"):
        BackboneOptions(learn="adapters")
    with pytest.raises(UserError, match=r"rank in \[options\] is 8; allowed with learn = 'own_adapters': 0"):
        BackboneOptions(learn="own_adapters", rank=8)
    with pytest.raises(UserError, match=r"'own_adapters': the backbone 'tiny' has none .*allowed: 'all', 'head'"):
        task("tiny", learn="own_adapters").weights_sha()
    monkeypatch.setattr("tasks.adapters.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the extra `lora`: pip install"):
        task("tiny", learn="lora", rank=2).weights_sha()
    monkeypatch.setattr("tasks.adapters.find_spec", lambda name: True)
    with pytest.raises(UserError, match="WavLM passes over a change of its layers; allowed: 'all', 'head', 'adapters'"):
        task(saved(tmp_path, "wavlm", "layer"), learn="lora", rank=2).weights_sha()


def test_adapters_of_other_languages_that_lie_beside_a_backbone_do_not_count(tmp_path: Path) -> None:
    name = coarse(tmp_path, "wav2vec2")
    before = fingerprint(name)
    (tmp_path / "adapter.cat.safetensors").write_bytes(b"anything")
    assert fingerprint(name) == before
