"""What is compared against: a plain transformers loop, a process a training. Nothing of this project is used.

    python -m tests.benchmarks.device.plain JSON      # prints JSON; tests.benchmarks.device starts it

It does what such a script does: the published class, AdamW, clipped gradients, autocast, clips padded to the longest of
a batch. SpecAugment and LayerDrop are off, as in this engine; group norm over padding is as transformers has it.
"""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

BEGAN = time.time()
ROOT, REPEATS = Path(__file__).parents[3], 3


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Loads, trains and scores. All times are of this process alone."""
    marks = [time.perf_counter()]
    import numpy as np
    import torch
    from torch import nn
    from transformers import HubertModel

    marks.append(time.perf_counter())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    encoder = HubertModel.from_pretrained(asked["backbone"], apply_spec_augment=False, layerdrop=0.0)
    head = nn.Linear(encoder.config.hidden_size, 100)
    encoder, head = encoder.to(device), head.to(device)
    _synchronise(marks)
    waves = [np.load(path) for path in sorted(Path(asked["waves"]).glob("*.npy"))]
    marks.append(time.perf_counter())
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0)
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(asked["precision"])
    scaler = torch.amp.GradScaler(device, enabled=asked["precision"] == "fp16")

    def pooled(part: list[Any]) -> Any:
        longest = max(map(len, part))
        values = torch.from_numpy(np.stack([np.pad(wave, (0, longest - len(wave))) for wave in part])).to(device)
        own = np.arange(longest) < np.array([len(wave) for wave in part])[:, None]
        mask = torch.from_numpy(own.astype(np.int64)).to(device)
        return encoder(values, attention_mask=mask if len(part) > 1 else None).last_hidden_state.mean(1)

    def step(part: list[Any]) -> None:
        with torch.autocast(device, kind, enabled=kind is not None):
            loss = nn.functional.cross_entropy(head(pooled(part)), torch.zeros(len(part), dtype=int, device=device))
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()

    found = _times(marks)
    encoder.train()
    for batch in (1, 8):
        found[f"ms_{batch}"] = _blocks(step, waves, batch, asked)
    encoder.eval()
    with torch.no_grad(), torch.autocast(device, kind, enabled=kind is not None):
        ordered = sorted(waves, key=len)
        found["clips_a_second"] = [1e3 * 8 / each for each in _blocks(pooled, ordered, 8, asked)]
    return found


def _blocks(call: Any, waves: list[Any], batch: int, asked: dict[str, Any]) -> list[float]:
    """Milliseconds a call, one a block; the first three calls don't count."""
    parts = [waves[n : n + batch] for n in range(0, len(waves) - batch + 1, batch)]
    for part in parts[:3]:
        call(part)
    found, done = list[float](), 3
    for _ in range(REPEATS):
        marks = list[float]()
        _synchronise(marks)
        end, before = marks[0] + asked["limit_seconds"] / REPEATS, done
        while done - before < asked["steps"] and time.perf_counter() < end:
            call([wave[: len(wave) - done % 311] for wave in parts[done % len(parts)]])  # lengths are new in each step
            done += 1
        _synchronise(marks)
        found.append(1e3 * (marks[1] - marks[0]) / (done - before))
    return found


def _synchronise(marks: list[float]) -> None:
    """Notes the time once the device has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    marks.append(time.perf_counter())


def _times(marks: list[float]) -> dict[str, Any]:
    """Seconds up to the first step."""
    names = ("import_seconds", "load_seconds", "waves_seconds")
    return {name: end - start for name, (start, end) in zip(names, pairwise(marks), strict=True)}


def start(asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Runs it in a process of its own; `start_seconds` is what Python and the operating system take before its code.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than so many seconds.
    """
    began = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.device.plain", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 1), check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "start_seconds": found.pop("began") - began}


def save_waves(folder: str, count: int, seconds: tuple[float, float]) -> str:
    """Waves to load, one file each, as long as the clips of this benchmark."""
    import numpy as np

    draw = np.random.default_rng(1)
    for number in range(count):
        wave = draw.normal(0, 0.1, int(16_000 * draw.uniform(*seconds))).astype(np.float32)
        np.save(Path(folder, f"{number:04}.npy"), wave)
    return folder


if __name__ == "__main__":
    print(json.dumps({"began": BEGAN, **run(json.loads(sys.argv[1]))}))  # noqa: T201
