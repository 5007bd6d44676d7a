"""A low-rank change learns with few parameters, starts at nothing and is part of what is kept."""

from pathlib import Path

import pytest
import torch

from engine.fitting import World
from engine.learner import Learner
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.asr import checkpoint
from tasks.asr.ctc import BackboneOptions, Ctc, trained_share
from tasks.base import Setup
from tests.tasks.asr.test_system import batch
from tests.tasks.waves import MadeWaves, make_clips

pytest.importorskip("peft")
CLIPS = make_clips("no", "train", speakers=4, clips_each=2)
SETUP = Setup(Mixture.of({"no": len(CLIPS)}), CLIPS, 1)


def task(rank: int) -> Ctc:
    return Ctc(BackboneOptions(lora_rank=rank), Model(backbone="tiny"))


def test_it_starts_where_the_backbone_is_and_learns_with_under_5_percent_of_the_parameters(tmp_path: Path) -> None:
    whole, adapted = task(0).network(SETUP).eval(), task(4).network(SETUP).eval()
    assert torch.allclose(whole(batch(CLIPS))[0], adapted(batch(CLIPS))[0], atol=1e-5)
    assert trained_share(whole) == 1
    assert trained_share(adapted) < 0.05
    before = {name: tensor.clone() for name, tensor in adapted.named_parameters()}
    losses: list[float] = []
    train = Train(learning_rate=2e-2, epochs=100, batch_size=4, warmup=0.1)
    Learner(task(4), adapted, MadeWaves(), train, torch.device("cpu"), World(), 4.0,
            lambda step, values: losses.append(float(values["loss"]))).fit([CLIPS], 1)  # fmt: skip
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    changed = {name for name, tensor in adapted.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if "lora" in name or name.startswith("head")}
    _kept_and_read_it_is_the_same(adapted.eval(), tmp_path)


def _kept_and_read_it_is_the_same(network: torch.nn.Module, folder: Path) -> None:
    checkpoint.write(task(4), network, folder)  # type: ignore[arg-type]
    _, read = checkpoint.read(folder)
    with torch.no_grad():
        assert torch.allclose(network(batch(CLIPS))[0], read(batch(CLIPS))[0], atol=1e-4)


def test_the_change_is_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    one, other = (dict(task(4).encoder(1).named_parameters()) for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    third = dict(task(4).encoder(2).named_parameters())
    assert not all(torch.equal(tensor, third[name]) for name, tensor in one.items())
