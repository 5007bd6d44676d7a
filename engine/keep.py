"""What a trial leaves behind beside its scores, when the grid's `keep` asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.job import Job
from grids.files import replacing
from grids.mixture import Trial
from tasks.base import Scored, Task, Tests
from tasks.data.cache import new_folder


def keep_outputs(job: Job, trial: Trial, tests: Mapping[str, Tests], scored: Scored) -> None:
    """Writes predictions and embeddings, one Parquet file a trial; languages scored earlier stay in it."""
    if "predictions" in job.grid.keep and scored.predictions:
        _add(job.store.kept_path("predictions", trial, ".parquet"), pa.table(dict(scored.predictions)))
    if "embeddings" in job.grid.keep:
        rows = [
            {"language": language, "clip": clip.name, "speaker": clip.speaker, "embedding": output["embedding"]}
            for language, test in tests.items()
            for clip, output in zip(test.clips, test.outputs, strict=True)
            if "embedding" in output
        ]
        if rows:
            _add(job.store.kept_path("embeddings", trial, ".parquet"), pa.Table.from_pylist(rows))


def keep_checkpoint(task: Task, network: nn.Module, path: Path) -> None:
    """Writes the network's weights as safetensors and, beside them, the folder that a task with `save` makes of it."""
    # Copies: two names of one tied weight may not share memory in the file.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    with replacing(path) as partial:
        save_file(weights, partial)
    if save := getattr(task, "save", None):
        with new_folder(path.with_suffix("")) as folder:
            save(network, folder)


def load_checkpoint(network: nn.Module, path: Path) -> bool:
    """Reads the weights that `keep_checkpoint` wrote into a network of the same setup. Returns True."""
    network.load_state_dict(load_file(path))
    return True


def _add(path: Path, table: pa.Table) -> None:
    """Writes a table with a column `language`, keeping the old rows of other languages."""
    if path.exists():
        old: Any = pq.read_table(path)
        new = set(table["language"].to_pylist())
        kept = old.filter(pa.array([language not in new for language in old["language"].to_pylist()], pa.bool_()))
        table = pa.concat_tables([kept, table.cast(old.schema)])
    with replacing(path) as partial:
        pq.write_table(table, partial)
