"""A grid made ready to run: its task's settings filled in, its data prepared, its results folder agreed with.

`Identity` is what may change a trial's numbers. A results folder holds trials of one identity only: another one is
refused, with what differs. Languages, seeds, a curve's sizes, evaluated languages, resources and tracking are not part
of it, so a finished grid can grow. `samples` is: it says what a score is in the matrix (of a curve it is 0). A key that
came later (`grids.schema.LATER`) is part of it only where it is not at its default: what was there goes on.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tomli_w

from engine.store import FOLDER_NAME, Identity, Store
from grids.errors import UserError, unknown
from grids.files import expanded, write_atomically, writing_to
from grids.grid import NO_BACKBONE, SYNTHETIC, Grid, Train, load
from grids.schema import LATER, PLACE
from tasks import make_task
from tasks.base import Task
from tasks.data.cache import cache_folder

if TYPE_CHECKING:
    from tasks.data.prepare import Progress


@dataclass(frozen=True)
class Job:
    """Everything a training needs to know, beside its trial.

    Attributes:
        grid: the grid.
        train: the task's training settings with the grid's overrides.
        results: the results folder, absolute.
        corpus: the folder of prepared languages; None for a task without audio.
        cache: the folder of everything that can be made again, absolute.
        backbone: the local folder of the backbone; "none" for a task without one.
        wandb: "off", "offline" or "online".
        identity: what may change a trial's numbers.
        code_version: of this program.
    """

    grid: Grid
    train: Train
    results: Path
    corpus: Path | None
    cache: Path
    backbone: str
    wandb: str
    identity: Identity
    code_version: str

    @property
    def task(self) -> Task:
        """The grid's task, with the backbone where the driver found it."""
        return make_task(replace(self.grid, model=replace(self.grid.model, backbone=self.backbone)))

    @property
    def store(self) -> Store:
        """The results folder."""
        return Store(self.results)


def make_job(grid: Grid, results: Path, progress: "Progress | None" = None) -> Job:
    """Checks everything that can be known before a training, and prepares the data.

    Args:
        grid: the grid.
        results: the results folder; need not exist.
        progress: called with (language, clips done, clips in all) while clips are decoded.

    Raises:
        UserError: task, option, backbone, corpus or language unknown, or too little data for the blocks.
    """
    task = make_task(grid)
    grid = _with_gpus(grid, task)
    weights_sha = task.weights_sha()
    train = replace(task.train, **grid.train)
    if train.select_by and train.select_by not in (names := [metric.name for metric in task.metrics]):
        raise unknown("metric", train.select_by, names)
    config = {
        "task": grid.task,
        "weights_sha": weights_sha,
        **{name: identifying(table) for name, table in _tables(grid, task, train).items()},
        **{key: getattr(grid, key) for key in ("samples", "clips_per_speaker", "blocks", "max_test_clips")},
    }
    corpus, shas = None, dict[str, str]()
    if task.needs.audio:
        from tasks.data.prepare import prepare

        prepared = prepare(grid.corpus, grid.all_languages(), grid.data, progress)
        corpus, shas = prepared.folder, {code: prepared.shas[code] for code in grid.all_languages()}
        _check_blocks(grid, task, corpus, train)
    return Job(
        grid=grid,
        train=train,
        results=results.resolve(),
        corpus=corpus,
        cache=cache_folder(),
        backbone=_backbone(grid) if weights_sha else NO_BACKBONE,
        wandb=grid.tracking.mode(os.environ),
        identity=Identity(json.loads(json.dumps(config)), shas),
        code_version=code_version(),
    )


def _tables(grid: Grid, task: Task, train: Train) -> dict[str, Any]:
    """The tables of settings that are part of the identity, resolved."""
    return {"options": task.options, "model": grid.model, "train": train, "data": grid.data}


def _with_gpus(grid: Grid, task: Task) -> Grid:
    """The grid with GPUs for its trials, where it does not say and there are some."""
    if grid.resources.gpus_per_trial is not None:
        return grid
    here = False
    if task.needs.audio and grid.corpus != SYNTHETIC:  # what is made for trying things out is made for a CPU
        import torch

        here = torch.cuda.device_count() >= grid.resources.workers_per_trial
    return replace(grid, resources=replace(grid.resources, gpus_per_trial=1.0 if here else 0.0))


def identifying(table: Any) -> dict[str, Any]:
    """The settings of a table, without those that say where a file lies (its hash is among them).

    Keys that came later are left out at their default.
    """
    values = {
        field.name: getattr(table, field.name)
        for field in fields(table)
        if field.metadata != PLACE and not (field.metadata == LATER and getattr(table, field.name) == _default(field))
    }
    return {name: identifying(value) if is_dataclass(value) else value for name, value in values.items()}


def _later(table: Any) -> dict[str, Any]:
    """The keys of a table of settings that came later, at their defaults; those of tables inside it too."""
    found = dict[str, Any]()
    for field in fields(table):
        value = _default(field) if field.metadata == LATER else getattr(table, field.name)
        if is_dataclass(value):
            found[field.name] = identifying(value) if field.metadata == LATER else _later(value)
        elif field.metadata == LATER:
            found[field.name] = value
    return found


def _default(field: Field[Any]) -> Any:
    """What a setting is where nobody sets it."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _backbone(grid: Grid) -> str:
    """The local folder of the grid's backbone, found once: workers have another working directory, or no network."""
    from tasks.backbones import resolve

    return str(resolve(grid.model.backbone))


def _check_blocks(grid: Grid, task: Task, corpus: Path, train: Train) -> None:
    """Draws the largest block of each language and takes each test set, so that what cannot work fails before a run.

    Raises:
        UserError: a language cannot fill its blocks, or has no test or dev clips; a mixture has too few languages.
    """
    from tasks.data.blocks import draw_block, held_out
    from tasks.data.store import open_language

    largest, scored = dict[str, int](), set[str]()
    for mixture in {trial.mixture for trial in grid.trials()}:
        if len(mixture.languages) < task.needs.languages:
            raise UserError(
                f"task {grid.task!r} needs mixtures of {task.needs.languages} languages or more; got "
                f'{mixture.text(grid.samples)!r}: name them in `mixtures`, with mode = "list"'
            )
        scored |= set(grid.evaluated(mixture))
        for code, count in mixture.total_samples.items():
            largest[code] = max(largest.get(code, 0), count)
    for code in sorted({*largest, *scored}):
        clips = open_language(corpus, code).clips
        if code in largest:
            draw_block(clips, task.needs, largest[code], grid.clips_per_speaker, None)
            if train.select_by:
                task.check(held_out(clips, task.needs, "dev", train.select_clips))
        if code in scored:
            task.check(held_out(clips, task.needs, "test", grid.max_test_clips))


def settle(job: Job) -> Job:
    """Makes the results folder the job's own, or refuses.

    Writes `identity.json` and `grid.toml`. The grid there keeps every language and seed that was ever asked for, so
    that no finished trial can be left out of an analysis by asking for less.

    Returns:
        The job, which also knows the data of languages that only the folder's earlier grids had.

    Raises:
        UserError: the folder holds results of another identity, or of a language that the grid now excludes; or it
            cannot be written to.
    """
    store, (grid, identity) = job.store, joined(job)
    with writing_to(store.folder, FOLDER_NAME):
        write_atomically(store.grid_path, _as_toml(replace(grid, train=asdict(job.train))))
        write_atomically(store.identity_path, json.dumps(asdict(identity), indent=1))  # last: it makes the folder ours
    return replace(job, identity=identity)


def joined(job: Job) -> tuple[Grid, Identity]:
    """The grid and the identity of the results folder once the job has joined what it holds.

    Raises:
        UserError: the job does not belong there.
    """
    store = job.store
    old = store.identity()
    if old is None:
        return job.grid, job.identity
    later = {name: _later(table) for name, table in _tables(job.grid, job.task, job.train).items()}
    _refuse_other(store.folder, old, job.identity, _flat(json.loads(json.dumps(later))))
    return _grown(load(store.grid_path), job.grid), Identity(job.identity.config, {**old.data, **job.identity.data})


@cache
def code_version() -> str:
    """The package's version, with the commit where the code runs from a git checkout."""
    try:
        number = version("cltm-engine")
    except PackageNotFoundError:
        number = "0"
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number}+{described}"


def _refuse_other(folder: Path, old: Identity, new: Identity, later: Mapping[str, Any]) -> None:
    """Raises a `UserError` that lists what differs between two identities; `later` has what need not be in them."""
    before, now = ({**later, **_flat(one.config)} for one in (old, new))
    differing = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if differing:
        one, other = (
            {key: repr(side[key]) if key in side else "not set" for key in differing} for side in (before, now)
        )
        changes = "; ".join(f"{key} is {one[key]} there and {other[key]} in the grid" for key in differing)
        raise UserError(f"{folder} holds results of another configuration: {changes}; use another --results folder")
    changed = [code for code in sorted(new.data) if old.data.get(code, new.data[code]) != new.data[code]]
    if changed:
        raise UserError(
            f"{folder} holds results of other data: the prepared clips of {', '.join(changed)} have changed since; "
            "use another --results folder"
        )


def _grown(old: Grid, new: Grid) -> Grid:
    """The new grid with the languages, seeds, sizes and mixtures of the old one added."""
    late = sorted(set(old.languages) & set(new.exclude))
    if late:
        raise UserError(
            f"exclude names {', '.join(late)}, of which there are results already: exclusions are declared before the "
            "run; use another --results folder"
        )
    if old.mode != new.mode and "curve" in (old.mode, new.mode):
        raise UserError(f"mode is {old.mode!r} there and {new.mode!r} in the grid; use another --results folder")
    return replace(
        new,
        name=old.name,
        mode="matrix" if "matrix" in (old.mode, new.mode) else new.mode,
        evaluate=_joined_evaluate(old, new),
        languages=tuple(dict.fromkeys(old.languages + new.languages)),
        seeds=old.seeds.joined(new.seeds),
        sizes=tuple(sorted({*old.sizes, *new.sizes})),
        mixtures=tuple(dict.fromkeys(old.mixtures + new.mixtures)),
        exclude={**old.exclude, **new.exclude},
    )


def _joined_evaluate(old: Grid, new: Grid) -> Literal["mixture", "all"] | tuple[str, ...]:
    """Every language that either grid scores its models on beside their own."""
    listed = {code for grid in (old, new) if not isinstance(grid.evaluate, str) for code in grid.evaluate}
    if "all" not in (old.evaluate, new.evaluate):
        return tuple(sorted(listed)) or "mixture"
    languages = {*old.languages, *new.languages}
    return "all" if listed <= languages else tuple(sorted(listed | languages))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat = dict[str, Any]()
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _as_toml(grid: Grid) -> str:
    """The grid as a grid file with every key, its paths absolute."""
    folders = [expanded(name) for name in (grid.corpus, grid.model.backbone)]
    corpus, backbone = (
        str(folder.resolve()) if folder.is_dir() else name
        for folder, name in zip(folders, (grid.corpus, grid.model.backbone), strict=True)
    )
    grid = replace(grid, corpus=corpus, model=replace(grid.model, backbone=backbone))
    values = {**asdict(grid), "languages": [*grid.languages, *grid.exclude], "seeds": grid.seeds.as_toml()}
    return f"# The resolved grid {grid.name!r}, written by the engine.\n" + tomli_w.dumps(values)
