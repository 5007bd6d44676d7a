"""Scoring: clips a second, and how much of what the card can do the encoder reaches."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from engine.inputs import collate, length_batches
from engine.precision import AUTOCAST, autocast, tf32
from grids.grid import Precision, Train
from tasks.base import Batch, Kernels
from tasks.encoder import use_kernels
from tests.benchmarks.device.scale import PARTS, Scale
from tests.benchmarks.device.work import (
    RATE,
    Noise,
    fresh_memory,
    made_clips,
    make_learner,
    peak_gb,
    shortcuts_without,
    synchronise,
    this_device,
)  # fmt: skip

REPEATS, PRODUCTS = 3, 20


def peak(scale: Scale, precision: Precision) -> float:
    """FLOP a second of a large matrix product on this device, the best of some."""
    device, side, best = this_device(), scale.side, float("inf")
    factor = torch.randn(side, side, device=device, dtype=AUTOCAST.get(precision, torch.float32))
    products = PRODUCTS if precision in AUTOCAST else PRODUCTS // 4
    with tf32(precision):
        for _ in range(REPEATS + 1):
            synchronise()
            start = time.perf_counter()
            for _ in range(products):
                factor @ factor
            synchronise()
            best = min(best, (time.perf_counter() - start) / products)
    return float(2 * side**3 / best)


def flop(scale: Scale) -> dict[str, float]:
    """FLOP that a second of audio takes in scoring and in training, counted on one clip of middle length.

    Counted with plain convolutions and attention, so that all variants are given the same work; padding is no work. No
    value is computed: PyTorch's device without data has the shapes.
    """
    middle = sum(scale.seconds) / 2
    clips = made_clips(scale, "flop", 1, seconds=(middle, middle + 0.001))
    one = make_learner(scale, shortcuts_without(scale, PARTS, torch.device("cpu")), Train(RATE), 1)
    batch = collate(Noise().arrays(clips)).to(torch.device("meta"))
    network = one.network.to("meta")
    counted = {}
    with sdpa_kernel(SDPBackend.MATH):
        for name in ("evaluate", "train"):
            network.train(name == "train")  # PyTorch counts the gradient of a grouped convolution's weight 16 times
            use_kernels(network, Kernels(product=name == "train"))
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(name == "train"):
                found = network.embed(batch)
                if name == "train":
                    found.sum().backward()
            counted[name] = counter.get_total_flops() / clips[0].seconds
    return {**counted, "parameters": float(sum(part.numel() for part in network.parameters()))}


@torch.no_grad()
def measure_scoring(scale: Scale, without: Sequence[str], precision: Precision) -> dict[str, Any]:
    """The scoring of a variant.

    Returns:
        `clips_a_second` through `Learner.evaluate`, copies and all, and `audio_a_second` of the network's forward pass
        alone, batches lying on the device; one a repeat each. `gb` that evaluation takes at most.
    """
    device = this_device()
    fast = shortcuts_without(scale, without, device)
    fresh_memory()
    clips = made_clips(scale, f"scoring {without} {precision}", scale.tests, "test")
    one = make_learner(scale, fast, Train(RATE, precision=precision), 1)
    rates, alone = [], []
    with tf32(precision):
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            assert one.evaluate({"xx": clips})
            rates.append(len(clips) / (time.perf_counter() - start))
        taken = peak_gb()
        groups = length_batches([(clip,) for clip in clips], one.room.seconds, fast.ladder)
        batches = [collate(Noise().arrays([clips[n] for n in group]), fast.ladder).to(device) for group in groups]
        for _ in range(REPEATS + 1):
            alone.append(sum(clip.seconds for clip in clips) / _forward(one.network, batches, precision, device))
    return {"clips_a_second": rates[1:], "audio_a_second": alone[1:], "first": rates[0], "gb": taken}


def _forward(network: Any, batches: Sequence[Batch], precision: Precision, device: torch.device) -> float:
    """Seconds that the device takes for all batches."""
    synchronise()
    start = time.perf_counter()
    with autocast(precision, device):
        for batch in batches:
            network.embed(batch)
    synchronise()
    return time.perf_counter() - start
