"""An analysis as a W&B run beside those of its trials: job type `analysis`, made of the files that were written.

The matrix as heatmap and table, every aggregate in the summary, every figure, the page, and all files as an artifact.
The run is written to the results folder; `python -m engine sync` sends it, at once where runs go online.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.offline import close_run, open_run, tags
from engine.store import Store
from grids.errors import UserError
from grids.grid import load


def write_run(results: Path, out: Path, paths: Sequence[Path]) -> str:
    """Writes the run, and sends it where runs go online. Returns a line that says what to do next.

    Args:
        results: the results folder that was analysed.
        out: the analysis' folder.
        paths: the files that the analysis wrote there.

    Raises:
        UserError: the source is no results folder.
    """
    import wandb

    store = Store(results)
    if not store.grid_path.exists():
        raise UserError(f"--wandb needs a results folder, whose grid says project and group; got {str(results)!r}")
    grid = load(store.grid_path)
    run = open_run(
        results, project=grid.project, group=grid.group, job_type="analysis", name=f"{grid.name} analysis",
        id=f"analysis-{time.time_ns():x}", tags=tags(grid.languages),
        config={"grid": grid.name, "samples": grid.samples, "seeds": grid.seeds.as_toml()},
    )  # fmt: skip
    run.log(_media(wandb, paths))
    run.summary.update(_aggregates(paths))
    artifact = wandb.Artifact(f"analysis-{grid.name}", type="analysis")
    for path in (*paths, *(path for path in (store.scores_path, store.grid_path) if path.exists())):
        artifact.add_file(str(path), name=path.relative_to(out).as_posix() if path in paths else path.name)
    run.log_artifact(artifact)
    close_run(run)
    command = ["-m", "engine", "sync", str(results)]
    if grid.tracking.mode(os.environ) == "online" and not subprocess.run([sys.executable, *command]).returncode:
        return "W&B: the analysis is sent"
    return f"W&B: the analysis is written; to send it: python {' '.join(command)}"


def _media(wandb: Any, paths: Sequence[Path]) -> dict[str, Any]:
    """Heatmap and figures as images, every cell as a table, the page."""
    import pyarrow.parquet as pq

    shown = [path for path in paths if path.suffix == ".png" and not path.stem.endswith("_1col")]
    media: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in shown}
    for path in paths:
        if path.name == "cells.parquet":
            table = pq.read_table(path)
            media["cells"] = wandb.Table(table.column_names, [list(row.values()) for row in table.to_pylist()])
        elif path.name == "report.html":
            media["report"] = wandb.Html(str(path), inject=False)
    return media


def _aggregates(paths: Sequence[Path]) -> dict[str, float | str]:
    """The plain values of `summary.json`."""
    for path in paths:
        if path.name == "summary.json":
            found = json.loads(path.read_text(encoding="utf-8"))
            return {name: value for name, value in found.items() if isinstance(value, int | float | str)}
    return {}
