"""What is on by default on a GPU, how each part is left out, and that a CPU has none of it."""

from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from engine import shortcuts as module
from engine.graphs import Graphs
from engine.room import PROBE_SECONDS, Room, SharedRoom, seconds_that_fit
from engine.shortcuts import Shortcuts, gpu_text, room, shortcuts
from grids.errors import UserError
from grids.grid import Model, parse
from grids.machine import CONTEXT_BYTES
from grids.resources import Resources, Shortcut
from tasks.base import Kernels
from tasks.gender import Gender, GenderOptions
from tests.tasks.test_contract import make

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TASK = Gender(GenderOptions(), Model(backbone="tiny"))
SHARED = Resources(gpus_per_trial=0.25)


def test_a_cpu_has_no_shortcut_whatever_the_grid_says() -> None:
    assert shortcuts(Resources(), TASK, CPU) == Shortcuts()
    assert Shortcuts().numerics == {}
    assert gpu_text(Resources(), TASK) == ""
    assert room(Resources(), TASK, CPU).seconds == 60
    assert room(Resources(evaluation_seconds=7), TASK, CPU).seconds == 7


def test_on_a_gpu_everything_is_on_and_each_part_can_be_left_out() -> None:
    every = shortcuts(SHARED, TASK, GPU)
    assert every.kernels == Kernels(product=True, attention=True, norm=True, convolutions=True, casts=True)
    assert isinstance(every.graphs, Graphs)
    assert every.ladder == 0.05
    assert every.numerics == {
        "shortcuts": ["attention", "casts", "convolutions", "graphs", "norm", "product"],
        "length_ladder": 0.05,
    }
    assert "CUDA graphs" in gpu_text(SHARED, TASK)
    for part in vars(Kernels()):
        found = shortcuts(Resources(gpus_per_trial=1, without=(part,)), TASK, GPU)  # type: ignore[arg-type]
        assert vars(found.kernels) == {**vars(every.kernels), part: False}
    assert shortcuts(Resources(gpus_per_trial=1, without=("graphs",)), TASK, GPU).graphs is None
    assert shortcuts(Resources(gpus_per_trial=1, length_ladder=0), TASK, GPU).ladder == 0
    assert {*vars(Kernels()), "graphs", "memory"} == {*get_args(Shortcut)}
    text = gpu_text(Resources(gpus_per_trial=1, without=("graphs", "norm"), length_ladder=0), TASK)
    shared = gpu_text(Resources(gpus_per_trial=0.5, sharing="mps"), TASK)
    assert (
        shared
        == "0.5 a trial, sharing it through MPS, steps as CUDA graphs, clips padded by up to 5% to a ladder of lengths"
    )
    assert "clips" not in gpu_text(SHARED, make("toy"))
    assert text == "1 a trial, steps one by one (left out), no ladder of lengths, without norm"


def test_what_is_not_recorded_says_why() -> None:
    task = make("asr/ctc")
    assert shortcuts(SHARED, task, GPU).graphs is None
    assert "steps one by one (this task's steps are not recorded)" in gpu_text(SHARED, task)
    assert shortcuts(Resources(gpus_per_trial=1, workers_per_trial=2), TASK, GPU).kernels == Kernels(
        True, True, True, True
    )
    assert "several workers" in gpu_text(Resources(gpus_per_trial=1, workers_per_trial=2), TASK)


def test_an_unknown_part_is_refused() -> None:
    table: dict[str, Any] = {"task": "toy", "corpus": "none", "languages": ["a"], "seeds": 1, "samples": 4}
    with pytest.raises(UserError, match="did you mean 'graphs'"):
        parse({**table, "resources": {"without": ["graph"]}}, "x")


def test_memory_decides_about_batches_of_evaluation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def shared(device: torch.device, share: float, kind: str, seconds: float) -> Room:
        asked.append((share, seconds))
        return Room(1.0)

    monkeypatch.setattr(module, "shared_room", shared)
    room(SHARED, TASK, GPU)
    room(Resources(gpus_per_trial=2, evaluation_seconds=50), TASK, GPU)
    assert asked == [(0.25, 0.0), (1.0, 50.0)]
    assert room(Resources(gpus_per_trial=1, without=("memory",)), TASK, GPU).seconds == 600
    assert room(Resources(gpus_per_trial=1, workers_per_trial=2), TASK, GPU).seconds == 600
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("free", "each", "seconds"),
    [(20e9, 27e6, 20e9 * 0.8 / 27e6), (1e9, 27e6, 30.0), (70e9, 27e6, 600.0), (5e9, 0, 600.0)],
)
def test_a_batch_is_as_long_as_fits_within_bounds(free: float, each: float, seconds: float) -> None:
    assert seconds_that_fit(int(free), each) == pytest.approx(seconds)


class FakeGpu:
    """Memory of a GPU of 80 GB on which a second of audio takes 40 MB; stands in for torch.cuda."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
        self.held, self.peak, self.share = held, held, 1.0
        answers: dict[str, Any] = {
            "get_device_properties": lambda device: SimpleNamespace(total_memory=80_000_000_000),
            "set_per_process_memory_fraction": self.limit,
            "memory_reserved": lambda device: self.held,
            "memory_allocated": lambda device: self.held,
            "max_memory_reserved": lambda device: self.peak,
            "max_memory_allocated": lambda device: self.peak,
            "reset_peak_memory_stats": self.reset,
            "empty_cache": lambda: None,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def limit(self, share: float, device: torch.device) -> None:
        self.share = share

    def reset(self, device: torch.device) -> None:
        self.peak = self.held

    def score(self, seconds: float) -> float:
        """Whole clips of 8 s."""
        own = seconds // 8 * 8
        self.peak = max(self.peak, self.held + int(40e6 * own))
        return own


def test_a_trial_keeps_to_its_share_and_measures_once_what_audio_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(monkeypatch, held=3_000_000_000)
    own = SharedRoom(GPU, 0.25)
    allowed = 0.25 * 80e9 - CONTEXT_BYTES
    assert gpu.share == pytest.approx(allowed / 80e9)
    measured: list[float] = []

    def score(seconds: float) -> float:
        measured.append(seconds)
        return gpu.score(seconds)

    own.measure(score)
    own.measure(score)
    assert measured == [PROBE_SECONDS]
    assert own.seconds == pytest.approx(0.8 * (allowed - 3e9) / 40e6)
    assert own.is_measured
    before = own.seconds
    for _ in range(3):  # batches that were put together before the first of them did not fit
        own.shrink(before)
    assert own.seconds == before / 2
    fixed = SharedRoom(GPU, 0.25, seconds=50.0)
    fixed.measure(score)
    assert (fixed.seconds, fixed.is_measured, len(measured)) == (50, False, 1)
