"""What only a GPU can show: CUDA graphs give the bits of single steps, every shortcut the outputs of plain layers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.graphs import CudaRecorder, Graphs
from engine.precision import tf32
from engine.room import SharedRoom
from engine.shortcuts import shortcuts
from grids.grid import Model
from grids.resources import Resources
from tasks.backbones import load, loaded_on
from tasks.base import Kernels
from tasks.encoder import use_kernels
from tests.engine.tape import NeverRecorder
from tests.engine.test_graphs import ALL, TASKS, assert_equal, trained, trial
from tests.tasks.test_backbones import FAMILIES, saved, waves

GPU = torch.device("cuda", 0)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_graphs_have_the_bits_of_steps_taken_one_by_one(name: str, precision: str) -> None:
    how = {"precision": precision, "epochs": 3, "device": GPU, "batch_size": 1 if name in TASKS else 4}
    own = Graphs(GPU, CudaRecorder())
    recorded = trained(trial(ALL[name], own, **how))
    assert own.costs
    assert_equal(recorded, trained(trial(ALL[name], Graphs(GPU, NeverRecorder()), **how)))
    assert_equal(recorded, trained(trial(ALL[name], own, **how)))


def test_a_capture_that_fails_for_memory_is_followed_by_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    own, failures = Graphs(GPU, CudaRecorder()), iter([True])
    real = torch.nn.utils.clip_grad_norm_

    def clip(*arguments: Any) -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing() and next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    found = trained(trial(TASKS["gender"], own, device=GPU))
    assert own.costs, "later shapes are recorded"
    monkeypatch.undo()
    assert_equal(found, trained(trial(TASKS["gender"], Graphs(GPU, NeverRecorder()), device=GPU)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_an_encoder_with_every_shortcut_gives_what_it_gives_without(tmp_path: Path, family: str, norm: str) -> None:
    name = saved(tmp_path / "model", family, norm)
    values, counts = (one.to(GPU) for one in waves([9000, 5000, 8000]))
    every = Kernels(**dict.fromkeys(vars(Kernels()), True))
    for is_training in (False, True):
        found = []
        for kernels in (Kernels(), every):
            with loaded_on(GPU):
                encoder = load(Model(backbone=name)).eval()
            use_kernels(encoder, kernels)
            with tf32("fp32"), torch.set_grad_enabled(is_training):
                frames = encoder(values, counts)
            found.append(frames.last.detach()[frames.mask])
        assert torch.allclose(*found, rtol=0, atol=1e-5)


def test_a_process_keeps_to_its_share_of_the_memory() -> None:
    room = SharedRoom(GPU, 0.1)
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.2 * torch.cuda.get_device_properties(GPU).total_memory), dtype=torch.uint8, device=GPU)
    assert room.is_measured
    torch.cuda.set_per_process_memory_fraction(1.0, GPU)


def test_everything_is_on_where_a_gpu_is() -> None:
    found = shortcuts(Resources(gpus_per_trial=1), TASKS["gender"], GPU)
    assert found.graphs is not None
    assert all(vars(found.kernels).values())
