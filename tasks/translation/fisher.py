"""Estimates how much each weight matters for a direction that must not be forgotten, for elastic weight consolidation.

    python -m tasks.translation.fisher GRID --out fisher.safetensors [--to en] [--clips 100]

The sample is stated in the file: so many training clips of each of the grid's languages, drawn as blocks are, with the
weights that the grid starts from. [options.regularise] of a grid names the file.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from grids.errors import one_line_errors
from grids.files import replacing
from grids.grid import Grid, load
from grids.mixture import Mixture
from grids.schema import from_table
from tasks.base import Batch, Example, Setup
from tasks.data.blocks import draw_block
from tasks.data.clips import Clip
from tasks.data.prepare import prepare
from tasks.data.store import open_language
from tasks.regularise import Regularise, diagonal_fisher
from tasks.translation.task import Translation, TranslationOptions

FULL_SCALE = 2**15  # of int16


def estimate(grid: Grid, to: str, count: int) -> dict[str, torch.Tensor]:
    """Name of a weight that learns -> its diagonal Fisher information for texts in `to`, (...) as the weight.

    Args:
        grid: of the task "translation".
        to: language to write.
        count: clips of each of the grid's languages.

    Raises:
        UserError: not enough clips, or one has no text in `to`.
    """
    options = from_table(TranslationOptions, grid.options, "[options]")
    task = Translation(replace(options, regularise=Regularise()), grid.model)
    corpus = prepare(grid.corpus, grid.languages, grid.data).folder
    clips = [
        clip
        for code in grid.languages
        for clip in draw_block(open_language(corpus, code).clips, task.needs, count, grid.clips_per_speaker, None)
    ]
    network = task.network(Setup(Mixture(), tuple(clips), 0)).eval()
    return diagonal_fisher(network, lambda batch: task.loss(network, batch), _batches(task, network, corpus, clips, to))


def _batches(task: Translation, network: Any, corpus: Path, clips: Sequence[Clip], to: str) -> Iterator[Batch]:
    """Each clip alone."""
    for clip in clips:
        wave_T = torch.from_numpy(open_language(corpus, clip.language).wave(clip).astype("float32") / FULL_SCALE)
        labels = task.labels(network, [Example((clip,), to)])
        yield Batch(wave_T[None], torch.tensor([len(wave_T)]), labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.translation.fisher", description="Diagonal Fisher information."
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--to", default="en", help="the direction to remember; default: en")
    parser.add_argument("--clips", type=int, default=100, help="clips of each language; default: 100")
    asked = parser.parse_args(arguments)
    grid = load(asked.grid)
    found = estimate(grid, asked.to, asked.clips)
    sample = {"to": asked.to, "clips": str(asked.clips), "languages": " ".join(grid.languages), "corpus": grid.corpus}
    with replacing(asked.out) as partial:
        save_file(found, partial, sample)
    print(f"{asked.out}: {len(found)} weights, from {asked.clips} clips each of {' '.join(grid.languages)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(one_line_errors(main))
