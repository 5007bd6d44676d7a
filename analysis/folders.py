"""Reads results folders (`scores.parquet`, `grid.toml`, `identity.json`): one, one that is still filling, or several.

Of the rows of base, self and cross trials under one condition (none, unless asked for) it makes `Scores`; without any
self run it makes a `RawMatrix` (`analysis.raw`), of zero-shot scores if there is nothing else. Several folders are
merged if they hold one experiment, and refused with the reason if not. Other roles (third languages, fractions) are not
read here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.merge import check_one_experiment, merged_plan, one_row_a_score
from analysis.raw import raw_from
from analysis.scores import LARGEST, Exclusion, Part, Plan, Provenance, Scores, Source, holes, scores_from
from engine.store import SCORES_SCHEMA, Store
from grids.errors import UserError, unknown
from grids.files import sha256_of
from grids.grid import Grid
from grids.mixture import MATRIX_ROLES
from grids.schema import check_table, read_toml
from grids.seeds import Seeds

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("trial", "role", "donor", "seed", "language", "metric", "condition", "primary", "value", "higher_is_better")
COLUMNS = (*NEEDED, "mixture", "samples", "n_train", "n_test", "device", "config_sha", "data_sha", "code_version")
UNTOUCHED, ZERO = "untouched", "zero"


def read_folders(folders: Sequence[Path], metric: str | None = None, condition: str = "") -> Source:
    """Reads one results folder, or several that hold parts of one experiment.

    Args:
        folders: each holds `scores.parquet`, or the result files that it is made of.
        metric: another metric than the primary one.
        condition: of the scores; "": those of the plain test sets.

    Raises:
        UserError: no scores, a column missing, an unknown metric or condition, a value that is no number, a score
            twice, folders that don't belong together, or a learning curve.
    """
    plans = [read_plan(folder) for folder in folders]
    check_one_experiment(folders, plans)
    plan = merged_plan(plans)
    if plan.curve:
        raise UserError(f"{str(folders[0])!r} holds learning curves; read it with python -m analysis.interval")
    expected = plan.matrix and bool(plan.languages)  # a matrix that still lacks its self runs is none without self-gain
    roles = (*MATRIX_ROLES, UNTOUCHED) if expected else (*MATRIX_ROLES, UNTOUCHED, ZERO)
    frame = read_rows(folders, plan, roles, conditions=bool(condition) or not expected)
    frame = under(frame, condition) if condition else frame
    plain = frame[(frame["condition"] == "") & frame["role"].isin(MATRIX_ROLES)]
    raw = not expected and not (plain["role"] == "self").any()
    beside = frame[(frame["condition"] == "") & (frame["role"] == UNTOUCHED)]
    frame = one_metric(frame if raw else plain, metric, folders)
    if plan.languages:
        frame = frame[frame["language"].isin(plan.languages) & frame["donor"].isin([*plan.languages, ""])]
    check_rows(frame, folders)
    provenance = replace(provenance_of(frame, folders), condition=condition)
    if raw:
        return Source(raw_from(frame, plan), plan, provenance)
    codes = plan.languages or tuple(sorted({*frame["language"], *frame["donor"]} - {""}))
    seeds = tuple(sorted(int(seed) for seed in frame["seed"].unique()))
    scores = scores_from(frame, codes, seeds, inverted=not bool(frame["higher_is_better"].iloc[0]))
    return Source(scores, plan, provenance, holes(scores, plan), _untouched(beside, scores))


def under(frame: "pd.DataFrame", condition: str) -> "pd.DataFrame":
    """The scores under a condition, as if they were plain ones.

    Raises:
        UserError: there are none; names the conditions that there are.
    """
    if condition not in (known := set(frame["condition"]) - {""}):
        raise unknown("condition", condition, known)
    return frame[frame["condition"] == condition].assign(condition="")


def _untouched(frame: "pd.DataFrame", scores: Scores) -> Mapping[str, float]:
    """The untouched model's score of each language, mean over seeds, an error rate e as 1 - e."""
    means = frame[frame["metric"] == scores.metric].groupby("language")["value"].mean()
    known = means[means.index.isin(scores.languages) & np.isfinite(means)]
    return {str(code): float(1 - value if scores.inverted else value) for code, value in known.items()}


def read_plan(folder: Path) -> Plan:
    """Reads what the analysis needs of a resolved grid; a folder without one gives an empty plan named after it.

    Raises:
        UserError: the file is no TOML, or a value is not what a grid file may say.
    """
    path = Store(folder).grid_path
    if not path.is_file():
        return Plan(name=folder.resolve().name)
    return read_toml(path, "grid file", lambda table: _plan(table, folder.resolve().name))


def _plan(table: Mapping[str, Any], name: str) -> Plan:
    """What a grid file says; it may lack any key."""
    known = {field.name for field in fields(Grid)} - {"seeds"}
    values = check_table(Grid, {key: value for key, value in table.items() if key in known})
    exclude, evaluate, mode = values.get("exclude", {}), values.get("evaluate", ""), values.get("mode", "matrix")
    return Plan(
        name=values.get("name", name),
        task=values.get("task", ""),
        corpus=values.get("corpus", ""),
        blocks=values.get("blocks", ""),
        evaluate=evaluate if isinstance(evaluate, str) else ", ".join(evaluate),
        samples=values.get("samples") or None,
        languages=tuple(code for code in values.get("languages", ()) if code not in exclude),
        draws=Seeds.parse(table["seeds"]) if "seeds" in table else Seeds(),
        exclude=tuple(Exclusion(code, reason) for code, reason in exclude.items()),
        matrix=mode == "matrix",
        curve=mode == "curve",
        sizes=values.get("sizes", ()),
    )


def read_rows(
    folders: Sequence[Path], plan: Plan, roles: Sequence[str] = MATRIX_ROLES, *, conditions: bool = False
) -> "pd.DataFrame":
    """The rows of these roles in all folders, each score once, with those of `COLUMNS` that there are.

    Args:
        folders: results folders.
        plan: says N, with which new result files enter the table.
        roles: to read.
        conditions: read scores under a condition too.

    Raises:
        UserError: a folder has no scores, its table can't be read, or two folders disagree.
    """
    import pandas as pd

    frames = [_read_one(folder, plan, roles, conditions) for folder in folders]
    identified = all(Store(folder).identity_path.is_file() for folder in folders)
    frame = frames[0] if len(frames) == 1 else one_row_a_score(pd.concat(frames, ignore_index=True), identified)
    if not frame["role"].isin(MATRIX_ROLES).any() and not (conditions and len(frame)):
        wanted = f"{', '.join(MATRIX_ROLES[:-1])} or {MATRIX_ROLES[-1]}"
        raise UserError(f"{_names(folders)} has no score of a {wanted} trial; nothing to analyse yet")
    return frame


def _read_one(folder: Path, plan: Plan, roles: Sequence[str], conditions: bool) -> "pd.DataFrame":
    """The rows of one folder; result files that came since the table was written are entered into it first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = Store(folder)
    path = store.scores_path
    if store.has_trials and store.grid_path.is_file():
        try:
            store.compact(plan.samples or 0)
        except OSError as error:
            raise UserError(f"cannot bring {str(path)!r} up to date with its trials: {error.strerror}") from None
    if not path.is_file():
        raise UserError(f"{str(folder)!r} has no {path.name}; give a results folder, a scores CSV or a matrix CSV")
    try:
        there = pq.read_schema(path).names
        missing = sorted({*NEEDED} - {*there})
        if missing:
            raise UserError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        wanted: list[tuple[str, str, Any]] = [("role", "in", list(roles))]
        wanted += [] if conditions else [("condition", "=", "")]
        table = pq.read_table(path, columns=[c for c in COLUMNS if c in there], filters=wanted)
        table = table.cast(pa.schema([SCORES_SCHEMA.field(name) for name in table.column_names]))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    if empty := [name for name in NEEDED if name != "value" and table[name].null_count]:
        raise UserError(f"{path} has rows without {', '.join(empty)}")
    frame: pd.DataFrame = table.to_pandas()
    return frame.assign(folder=str(folder))


def one_metric(frame: "pd.DataFrame", metric: str | None, folders: Sequence[Path]) -> "pd.DataFrame":
    """The rows of the metric asked for, or of the primary one.

    Raises:
        UserError: there is no such metric, or not one primary metric.
    """
    if metric is not None:
        if metric not in set(frame["metric"]):
            raise unknown("metric", metric, frame["metric"].unique())
        return frame[frame["metric"] == metric]
    primary = frame[frame["primary"].astype(bool)]
    count = primary["metric"].nunique()
    if count != 1:
        names = sorted((primary if count else frame)["metric"].unique())
        raise UserError(f"{_names(folders)} has {count} primary metrics; choose one with --metric: {', '.join(names)}")
    return primary


def check_rows(frame: "pd.DataFrame", folders: Sequence[Path]) -> None:
    """Refuses what has no meaning: no row, a value that is no number, two directions, a score twice.

    Raises:
        UserError: one of these.
    """
    where = _names(folders)
    if frame.empty:
        raise UserError(f"{where} has no score of the grid's languages")
    bad = frame[~(frame["value"].abs() <= LARGEST)]
    if len(bad):
        trial, name = bad["trial"].iloc[0], bad["metric"].iloc[0]
        raise UserError(f"{where}: trial {trial!r} has a {name} that is no finite number")
    if frame["higher_is_better"].nunique() != 1:
        raise UserError(f"{where}: {frame['metric'].iloc[0]} is marked both as higher and as lower is better")
    place = [name for name in ("role", "language", "donor", "seed", "condition", "samples") if name in frame]
    twice = frame[frame.duplicated(place, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        what = f"{first['role']} score of {first['language']!r} (donor {first['donor']!r}, seed {first['seed']})"
        trials = ", ".join(map(repr, sorted(twice["trial"].unique())[:2]))
        raise UserError(f"{where} has the {what} more than once: trials {trials}")


def provenance_of(frame: "pd.DataFrame", folders: Sequence[Path]) -> Provenance:
    """The hashes, versions and sizes found in the rows used."""

    def values(column: str) -> tuple[str, ...]:
        return tuple(sorted(map(str, frame[column].dropna().unique()))) if column in frame else ()

    def span(column: str) -> tuple[int, int] | None:
        known = frame[column].dropna() if column in frame else ()
        return (int(min(known)), int(max(known))) if len(known) else None

    parts = tuple(Part(folder, sha256_of(Store(folder).scores_path)) for folder in folders)
    together = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return Provenance(
        source=folders[0], file=Store(folders[0]).scores_path.name,
        sha256=parts[0].sha256 if len(parts) == 1 else together,
        config_sha=values("config_sha"), data_sha=values("data_sha"), code_version=values("code_version"),
        device=values("device"), n_train=span("n_train"), n_test=span("n_test"), parts=parts,
    )  # fmt: skip


def _names(folders: Sequence[Path]) -> str:
    """The folders as a message names them."""
    return " + ".join(str(Store(folder).scores_path) for folder in folders)
