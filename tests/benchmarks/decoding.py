"""How fast clips are decoded."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tasks.data.audio import decode
from tests.benchmarks.measured import Measured

REPEATS = 3


def measure(folder: Path) -> Iterator[Measured]:
    """Short clips as models take them, and longer ones as corpora hold them."""
    for seconds, rate_hz in ((1.5, 16_000), (5.0, 48_000)):
        what = f"clips a second decoded, {seconds:g} s at {rate_hz // 1000} kHz"
        yield Measured(what, decoding(folder, seconds, rate_hz))


def decoding(folder: Path, seconds: float, rate_hz: int) -> list[float]:
    """Clips decoded a second, one thread."""
    path = folder / f"{rate_hz}.mp3"
    soundfile.write(path, 0.1 * np.sin(np.arange(int(seconds * rate_hz)) / 9), rate_hz, format="MP3")
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(100):
            decode(path, max_seconds=30.0)
        found.append(100 / (time.perf_counter() - start))
    return found
