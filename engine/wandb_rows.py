"""W&B runs that hold many trials: one a target, or one for a whole grid. Written from the results folder alone.

A row's run has the table of its trials (every score on that language), their curves as means over seeds, a metric a
mixture, and mean scores in its summary. Which processes trained the trials does not matter. A run is written once for
what the folder holds; when the folder has grown, a newer run of the same name is written.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from engine.offline import close_run, open_run, tags
from engine.store import Store
from grids.grid import Grid, load

COLUMNS = ("mixture", "role", "donor", "language", "seed", "metric", "condition", "value", "n_train", "n_test", "steps",
           "seconds", "device", "trial")  # fmt: skip
Row = Mapping[str, Any]  # of scores.parquet


@dataclass(frozen=True)
class Rows:
    """What one W&B run shows.

    Attributes:
        name: of the run.
        languages: of its tags.
        rows: of `scores.parquet`.
        label: the column that its curves and means are told apart by.
    """

    name: str
    languages: tuple[str, ...]
    rows: tuple[Row, ...]
    label: str


def write_rows(results: Path) -> int:
    """Writes the runs that the folder's grid asks for and that are not written yet. Returns how many it wrote."""
    store = Store(results)
    grid = load(store.grid_path)
    if grid.granularity == "run" or grid.tracking.wandb == "off":
        return 0
    rows = store.compact(grid.samples, write=False).to_pylist()
    return sum(_write_once(store, grid, one) for one in _parts(grid, rows))


def _parts(grid: Grid, rows: list[Row]) -> list[Rows]:
    """The runs of a grid, those without any score left out."""
    if grid.granularity == "grid":
        return [Rows(grid.name, grid.all_languages(), tuple(rows), "role")] if rows else []
    targets = defaultdict[str, list[Row]](list)
    for row in rows:
        targets[row["language"]].append(row)
    return [Rows(target, (target,), tuple(found), "mixture") for target, found in sorted(targets.items())]


def _write_once(store: Store, grid: Grid, part: Rows) -> bool:
    """Writes a run unless it is there; several drivers may ask at once."""
    stored = max(row["stored_ns"] for row in part.rows)
    key = json.dumps([part.rows[0]["config_sha"], grid.granularity, part.name, len(part.rows), stored])
    run_id = hashlib.sha256(key.encode()).hexdigest()[:16]
    claim = store.folder / "wandb" / f".{run_id}"
    claim.parent.mkdir(parents=True, exist_ok=True)
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        _write(store, grid, part, run_id)
    except BaseException:
        claim.unlink()
        raise
    return True


def _write(store: Store, grid: Grid, part: Rows, run_id: str) -> None:
    """One run: table, curves, summary."""
    import wandb

    identity = store.identity()
    config = {**(identity.config if identity else {}), "grid": grid.name,
              "target": part.name if grid.granularity == "row" else "", "seeds": grid.seeds.as_toml()}  # fmt: skip
    run = open_run(
        store.folder, project=grid.project, group=grid.group, job_type=grid.granularity, name=part.name, id=run_id,
        tags=tags(part.languages), config=config,
    )  # fmt: skip
    for step, values in sorted(_curves(store, part).items()):
        run.log({name: fmean(found) for name, found in values.items()}, step=step)
    run.log({"trials": wandb.Table(list(COLUMNS), [[row[name] for name in COLUMNS] for row in part.rows])})
    run.summary.update(_summary(part.rows, part.label))
    run.summary.update({"trials_finished": len({row["trial"] for row in part.rows}), "failures": len(store.failures())})
    close_run(run)


def _curves(store: Store, part: Rows) -> dict[int, dict[str, list[float]]]:
    """Step -> "loss/<label>" and the like -> its values over the trials."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    paths = store.kept("curves", ".json")
    for slug, label in {row["trial"]: row[part.label] for row in part.rows}.items():
        for step in json.loads(paths[slug].read_text(encoding="utf-8")) if slug in paths else ():
            for name in step.keys() - {"step"}:
                found[step["step"]][f"{name}/{label}"].append(step[name])
    return found


def _summary(rows: Iterable[Row], label: str) -> dict[str, float]:
    """The mean score of each label, of the primary metric on the plain test set."""
    values = defaultdict[str, list[float]](list)
    for row in rows:
        if row["primary"] and not row["condition"]:
            values[f"{row['metric']}/{row[label]}"].append(row["value"])
    return {name: fmean(found) for name, found in values.items()}
