"""How long the demo's streaming recogniser computes for a second of audio, on one core."""

import string
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from grids.grid import load
from tasks import make_task
from tasks.asr.stream import PIECE_SECONDS, said
from tasks.asr.vocabulary import BLANK, View, Vocabulary
from tasks.data.clips import SAMPLE_RATE_HZ
from tests.benchmarks.measured import Measured

GRID = Path(__file__).parents[2] / "grids" / "demo_asr_emformer.toml"
REPEATS = 3
SECONDS = 10.0


def measure(folder: Path) -> Iterator[Measured]:
    """With CTC, and with RNN-T at its worst: random weights that write the most symbols that a frame may have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, ctc_weight in (("CTC", 1.0), ("RNN-T, at its worst", 0.5)):
        yield Measured(f"seconds a second of audio, demo Emformer, {name}", factors(ctc_weight), "< 0.2")
    torch.set_num_threads(threads)


def factors(ctc_weight: float) -> list[float]:
    """Real-time factors in seconds of processor: audio comes in as `python -m tasks.asr.stream` takes it."""
    vocabulary = Vocabulary(tuple(f" {string.ascii_lowercase}"))
    view = View("", vocabulary, tuple(range(len(vocabulary.symbols))))
    grid = load(GRID)
    task = make_task(replace(grid, options={**grid.options, "ctc_weight": ctc_weight}))
    network = task.recogniser(vocabulary.symbols, (view,), 0).eval()
    with torch.no_grad():
        network.encoder.rnnt.joiner.linear.bias[vocabulary.symbols.index(BLANK)] = -100.0
    wave_T = torch.randn(int(SECONDS * SAMPLE_RATE_HZ), generator=torch.Generator().manual_seed(0)) / 10
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in said(task, network, wave_T.split(round(PIECE_SECONDS * SAMPLE_RATE_HZ))):
            pass
        found.append((time.process_time() - start) / SECONDS)
    return found
