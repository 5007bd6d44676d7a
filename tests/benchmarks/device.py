"""Trials an hour on this device, several at once: random weights, made-up clips of 3 to 6 s, the paper's sizes.

    python -m tests.benchmarks.device                          # a GPU, 95M parameters, 1, 2, 4 and 8 trials at once
    python -m tests.benchmarks.device --small --at-once 1 2    # a CPU, the built-in encoder: that it runs

Needs torch, transformers and pyarrow, not Ray. What no GPU machine of ours may be told is taken as an option: the peak
rate of a device that is not in `PEAK_FLOPS`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import multiprocessing
from torch.utils.flop_counter import FlopCounterMode

from engine.fitting import World
from engine.learner import Learner
from engine.precision import tf32
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks import task_class
from tasks.base import Setup, Task
from tasks.data.clips import GENDERS, SAMPLE_RATE_HZ, Clip, Split
from tasks.examples import keyed

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # bf16, dense, by the makers' data sheets
PAPER = {"base": 440, "double": 9_900}  # trainings of the 44-language, 10-seed matrix: one block, two blocks
WARM_UP = 1  # trials of each process that don't count


@dataclass(frozen=True)
class Work:
    """What one process trains: a task at its paper's size.

    Attributes:
        task: its name.
        clips: of a block.
        speakers: of a block.
        tests: clips of a test set.
        trials: trainings that count.
        backbone: a folder.
        precision: of the training and the scoring.
        compiled: whether the encoder goes through torch.compile.
    """

    task: str
    clips: int
    speakers: int
    tests: int
    trials: int
    backbone: str
    precision: Any
    compiled: bool


@dataclass
class Measured:
    """Seconds and FLOP of one process's trials that count."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("load", "train", "evaluate"), 0.0))
    audio: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("train", "evaluate"), 0.0))
    wall: float = 0.0


class Noise:
    """Waves of noise, a function of the clip, made once a process."""

    def __init__(self) -> None:
        self._waves = dict[Clip, np.ndarray]()

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """(T,) float32 in [-1, 1], one a clip."""
        for clip in set(clips) - set(self._waves):
            draw = np.random.default_rng(keyed("wave", clip.name))
            self._waves[clip] = draw.normal(0, 0.1, clip.length).astype(np.float32)
        return [self._waves[clip] for clip in clips]


def made_clips(split: Split, count: int, speakers: int) -> tuple[Clip, ...]:
    """Clips of 3 to 6 s."""
    clips = []
    for number in range(count):
        name, speaker = f"{split}-{number}", number % speakers
        length = int(SAMPLE_RATE_HZ * (3 + keyed("length", name) % 3000 / 1000))
        clips.append(Clip("xx", name, f"{split}-{speaker}", GENDERS[speaker % 2], "", split, 0, length, name))
    return tuple(clips)


def learner(task: Task, work: Work, clips: Sequence[Clip], waves: Noise, seed: int, device: torch.device) -> Learner:
    """A fresh network, as a trial of the engine starts with."""
    network = task.network(Setup(Mixture.of({"xx": len(clips)}), tuple(clips), seed)).to(device)
    if work.compiled:
        network.encoder.model.encoder = torch.compile(network.encoder.model.encoder, dynamic=True)
    train = Train(learning_rate=1e-5, batch_size=1, precision=work.precision)
    seconds = 600.0 if device.type == "cuda" else 60.0
    return Learner(task, network, waves, train, device, World(), seconds, lambda step, values: None)


def trials(number: int, work: Work, blocks: int, ready: Any, folder: str) -> None:
    """One process: trains `blocks` blocks and scores, again and again; all processes start to count together."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = task_class(work.task)
    task = kind(kind.Options(), Model(backbone=work.backbone))
    clips = made_clips("train", blocks * work.clips, blocks * work.speakers)
    tests = made_clips("test", blocks * work.tests, max(2, blocks * work.tests // 5))
    waves, measured = Noise(), Measured()
    start = 0.0
    for trial in range(WARM_UP + work.trials):
        if trial == WARM_UP:
            ready.wait()
            measured, start = Measured(), time.perf_counter()
        marks = [time.perf_counter()]
        one = learner(task, work, clips, waves, 1000 * number + trial, device)
        _synchronised(marks, device)
        with tf32(work.precision):
            one.fit([clips], seed=trial)
            _synchronised(marks, device)
            one.evaluate({"xx": tests})
            _synchronised(marks, device)
        for name, (first, last) in zip(measured.seconds, pairwise(marks), strict=True):
            measured.seconds[name] += last - first
        measured.audio["train"] += sum(clip.seconds for clip in clips)
        measured.audio["evaluate"] += sum(clip.seconds for clip in tests)
    measured.wall = time.perf_counter() - start
    Path(folder, f"{number}.json").write_text(json.dumps(asdict(measured)))


def _synchronised(marks: list[float], device: torch.device) -> None:
    """Notes the time once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    marks.append(time.perf_counter())


def at_once(work: Work, blocks: int, processes: int) -> list[Measured]:
    """Runs several processes side by side."""
    ready = multiprocessing.get_context("spawn").Barrier(processes)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(trials, (work, blocks, ready, folder), nprocs=processes)
        return [Measured(**json.loads(path.read_text())) for path in sorted(Path(folder).iterdir())]


def flop_a_second(work: Work) -> dict[str, float]:
    """FLOP that a second of audio takes in training and in scoring, counted by torch on one clip."""
    kind = task_class(work.task)
    task = kind(kind.Options(), Model(backbone=work.backbone))
    clips, cpu = made_clips("train", 1, 1), torch.device("cpu")
    one = learner(task, Work(**{**work.__dict__, "compiled": False, "precision": "fp32"}), clips, Noise(), 1, cpu)
    counted = {}
    for name, call in (("train", lambda: one.fit([clips], 1)), ("evaluate", lambda: one.evaluate({"xx": clips}))):
        with FlopCounterMode(display=False) as counter:
            call()
        counted[name] = counter.get_total_flops() / clips[0].seconds
    return counted


def full_size(folder: Path) -> str:
    """A HuBERT of 95M parameters with random weights, as mHuBERT-147 is built."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder)
    return str(folder)


def report(work: Work, counts: Sequence[int], peak: float | None) -> None:
    """Measures and prints one task."""
    flop = flop_a_second(work)
    print(f"\n{work.task}: {work.clips} clips a block, {work.tests} test clips, {work.precision}"  # noqa: T201
          f"{', compiled' if work.compiled else ''}; {flop['train'] / 1e9:.1f} GFLOP a second of audio to train, "
          f"{flop['evaluate'] / 1e9:.1f} to score")  # fmt: skip
    for processes in counts:
        hours = 0.0
        for kind, blocks in (("base", 1), ("double", 2)):
            measured = at_once(work, blocks, processes)
            wall = max(one.wall for one in measured)
            rate = 3600 * processes * work.trials / wall
            hours += PAPER[kind] / rate
            spread = [one.wall / work.trials for one in measured]
            each = f"a trial {statistics.median(spread):.2f} s ({min(spread):.2f} to {max(spread):.2f})"
            phases = _phases(measured, work, flop, peak)
            print(f"  {processes} at once, {kind}: {rate:,.0f} trials an hour; {each}; {phases}")  # noqa: T201
        print(f"  {processes} at once: the 44-language, 10-seed matrix (10,340 trainings) in {hours:.1f} hours")  # noqa: T201


def _phases(measured: Sequence[Measured], work: Work, flop: dict[str, float], peak: float | None) -> str:
    """Seconds a trial by phase; for training and scoring the rate that all processes reach together."""
    parts = []
    for name in measured[0].seconds:
        seconds = sum(one.seconds[name] for one in measured) / len(measured)
        text = f"{name} {seconds / work.trials:.2f} s"
        if name in flop:
            rate = sum(one.audio[name] for one in measured) * flop[name] / seconds
            text += f" ({rate / 1e12:.2f} TFLOP/s" + (f", {100 * rate / peak:.1f} % of the peak)" if peak else ")")
        parts.append(text)
    return ", ".join(parts)


def main() -> None:
    """Measures gender and speaker verification."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.device", description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the built-in encoder and few clips")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--trials", type=int, default=3, help="trainings of each process that count")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--compiled", action="store_true", help="the encoder's layers through torch.compile")
    parser.add_argument("--peak-tflops", type=float, help="of this device, where it is not known")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    known = next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
    peak = options.peak_tflops * 1e12 if options.peak_tflops else known
    print(f"{name}, torch {torch.__version__}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        backbone = "tiny" if options.small else full_size(Path(folder, "base"))
        for task, clips, speakers, tests in (("gender", 120, 30, 1000), ("speaker/mhubert", 1000, 100, 1000)):
            size = 20 if options.small else 1
            report(Work(task, clips // size, max(2, speakers // size), tests // size, options.trials, backbone,
                        options.precision, options.compiled), options.at_once, peak)  # fmt: skip


if __name__ == "__main__":
    main()
