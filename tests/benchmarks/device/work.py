"""What is measured: made clips, a HuBERT with random weights, and a `Learner` with some of its shortcuts left out."""

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.fitting import World
from engine.graphs import CudaRecorder, Graphs, Recorder
from engine.inputs import rung
from engine.learner import Learner
from engine.room import Room, shared_room
from engine.shortcuts import Shortcuts
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks import task_class
from tasks.backbones import loaded_on
from tasks.base import Kernels, Setup, Task
from tasks.data.clips import GENDERS, SAMPLE_RATE_HZ, Clip, Split
from tasks.examples import keyed
from tests.benchmarks.device.scale import Scale
from tests.engine.tape import TapeRecorder

TASK, SPEAKERS, RATE = "speaker/mhubert", 100, 1e-5
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


_share = 0.0


class Noise:
    """Waves of noise, cut from a minute of it: as fast as the prepared store, which it stands for."""

    def __init__(self) -> None:
        self._samples = np.random.default_rng(0).normal(0, 3000, 60 * SAMPLE_RATE_HZ).astype(np.int16)

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """(T,) float32 in [-1, 1], one a clip."""
        return [self._samples[clip.offset : clip.offset + clip.length].astype(np.float32) / 32768 for clip in clips]


def make_backbone(folder: str, small: bool) -> str:
    """A HuBERT with random weights, 95M parameters unless small, saved where it can be read back."""
    from transformers import HubertConfig, HubertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    HubertModel(HubertConfig(**(SMALL if small else {}))).save_pretrained(folder)
    return folder


def made_clips(
    scale: Scale, name: str, count: int, split: Split = "train", seconds: tuple[float, float] | None = None
) -> tuple[Clip, ...]:
    """Clips of all lengths between two; another name, other clips. Of test clips, each speaker has five."""
    low, high = (round(SAMPLE_RATE_HZ * bound) for bound in seconds or scale.seconds)
    clips = []
    for number in range(count):
        key, speaker = f"{name}-{split}-{number}", number % (SPEAKERS if split == "train" else max(4, count // 5))
        length = low + keyed("length", key) % (high - low)
        offset = keyed("offset", key) % (50 * SAMPLE_RATE_HZ)
        gender = GENDERS[speaker % 2]
        clips.append(Clip("xx", key, f"{split}-{speaker}", gender, "", split, offset, length, f"{keyed(key):016x}"))
    return tuple(clips)


def of_length(clip: Clip, length: int, copies: int) -> tuple[Clip, ...]:
    """Clips like one, of a length in samples."""
    part = (clip.language, clip.name, clip.speaker, clip.gender, clip.sentence, clip.split, clip.offset)
    return tuple(Clip(part[0], f"{part[1]}-{length}-{copy}", *part[2:], length, clip.sha) for copy in range(copies))


def this_device() -> torch.device:
    """The GPU, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def this_task(scale: Scale) -> Task:
    """Speaker verification by identification, on the backbone."""
    kind = task_class(TASK)
    return kind(kind.Options(), Model(backbone=scale.backbone))


def shortcuts_without(
    scale: Scale, without: Sequence[str], device: torch.device, recorder: Recorder | None = None
) -> Shortcuts:
    """All shortcuts but some of `PARTS`, with graphs that nothing was recorded on yet."""
    kernels = Kernels(**{name: name not in without for name in vars(Kernels())})
    recorder = recorder or (CudaRecorder() if device.type == "cuda" else TapeRecorder())
    looks = device.type == "cpu" and "attention" in without  # at the mask, which no recording may
    graphs = None if "graphs" in without or looks else Graphs(device, recorder)
    return Shortcuts(kernels, 0.0 if "ladder" in without else scale.ladder, graphs)


def make_learner(
    scale: Scale, fast: Shortcuts, train: Train, seed: int,
    log: Callable[[int, Mapping[str, Any]], None] = lambda step, values: None,
) -> Learner:  # fmt: skip
    """A fresh network with what it needs, as a trial of the engine starts; its head has all `SPEAKERS`."""
    device, task = this_device(), this_task(scale)
    speakers = made_clips(scale, "speakers", SPEAKERS)
    with loaded_on(device):
        network = task.network(Setup(Mixture.of({"xx": SPEAKERS}), speakers, seed)).to(device)
    torch.manual_seed(seed)
    return Learner(task, network, Noise(), train, device, World(), _room(scale, device), log, fast)


def keep_to(share: float) -> None:
    """From now on this process keeps to a share of the GPU's memory, as the engine's trials do that share one."""
    global _share
    _share = share


def _room(scale: Scale, device: torch.device) -> Room:
    """Of evaluation: measured by the engine where a GPU is shared, else fixed, so that variants compare."""
    return shared_room(device, _share, "benchmark") if _share and device.type == "cuda" else Room(scale.room_seconds)


def first_stages(
    task: Task, clips: Sequence[Clip], batch: int, fast: Shortcuts, seed: int, passes: int
) -> list[tuple[Clip, ...]]:
    """A stage of one batch for each shape that the steps on some clips have, met so often, and three known ones more.

    Without a ladder each length is new, and so are those of the stages.
    """
    groups = [task.examples(None, clips, seed, 0)[n : n + batch] for n in range(0, len(clips), batch)]
    longest = [max(clip.length for example in group for clip in example.clips) for group in groups]
    if not fast.ladder:
        return [of_length(clips[0], length - 1 - n, batch) for n, length in enumerate(longest[:6])]
    rungs = sorted({rung(length, fast.ladder) for length in longest})
    lengths = [length - 1 - n for length in rungs for n in range(passes)]
    return [of_length(clips[0], length, batch) for length in (*lengths, *lengths[-3:])]


def synchronise() -> None:
    """Waits for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def fresh_memory() -> None:
    """Gives back what no tensor uses, and begins to watch the peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def reserved_gb() -> float:
    """What PyTorch holds of the GPU."""
    return torch.cuda.memory_reserved() / 1e9 if torch.cuda.is_available() else 0.0


def peak_gb() -> float:
    """The most that tensors have taken since `fresh_memory`."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


def about() -> dict[str, str]:
    """What the figures were measured on."""
    import transformers

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": name, "torch": str(torch.__version__), "transformers": transformers.__version__}


def start(folder: str, small: bool) -> dict[str, str]:
    """Makes the backbone; see `about`."""
    return {**about(), "backbone": make_backbone(str(Path(folder, "base")), small)}
