"""Reads a results folder (`scores.parquet`, `grid.toml`) into arrays of scores, one axis a seed.

Used are the scores of base, self and cross trials without condition, of the primary metric or of one named metric.
Every finished seed is used, whether the grid still lists it or not, and none is filled in: what a grid expects and the
folder lacks is a `Hole`. Other roles (zero-shot, third languages, fractions) are not read here.
"""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.uncertainty import Floats
from engine.store import Store
from grids.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("base", "self", "cross")
COLUMNS = ("trial", "role", "donor", "seed", "language", "metric", "condition", "primary", "value",
           "higher_is_better", "n_train", "n_test", "device", "config_sha", "data_sha", "code_version")  # fmt: skip


@dataclass(frozen=True)
class Hole:
    """A score that the grid expects and the folder does not have.

    Attributes:
        role: "base", "self" or "cross".
        target: the language scored.
        donor: the language added; the target itself for "self", "" for "base".
        seed: the draw.
    """

    role: str
    target: str
    donor: str
    seed: int


@dataclass(frozen=True)
class Exclusion:
    """A language left out by the grid, before any score was there."""

    language: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What the grid file says; empty or None where it says nothing (or where there is no grid file).

    Attributes:
        languages: the matrix's languages, without the excluded ones.
        seeds: the draws.
        samples: N, samples of a block.
        matrix: False if the grid lists mixtures of its own instead of a matrix's, so that no cell is expected.
    """

    name: str
    task: str = ""
    corpus: str = ""
    blocks: str = ""
    evaluate: str = ""
    samples: int | None = None
    languages: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    matrix: bool = True


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from.

    Attributes:
        source: the folder or file that was read.
        file: name of the file that holds the numbers.
        sha256: of that file.
        config_sha, data_sha, code_version, device: the values found in it, sorted.
        n_train, n_test: smallest and largest size found, or None.
    """

    source: Path
    file: str
    sha256: str
    config_sha: tuple[str, ...] = ()
    data_sha: tuple[str, ...] = ()
    code_version: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    n_train: tuple[int, int] | None = None
    n_test: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one metric, higher is better (an error rate e is held as 1 - e); NaN where there is none.

    Attributes:
        languages: L codes, in the grid's order.
        seeds: S draws, ascending.
        metric: its name in the file.
        inverted: the values are 1 - e.
        base: (L, S) P(i).
        self_: (L, S) P(i+i).
        cross: (L, L, S) P(i+j); the diagonal is NaN.
    """

    languages: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str
    inverted: bool
    base: Floats
    self_: Floats
    cross: Floats


def read_scores(folder: Path, plan: Plan, metric: str | None = None) -> tuple[Scores, Provenance]:
    """Reads the scores of one metric.

    Args:
        folder: holds `scores.parquet`.
        plan: what the grid says, for the languages and their order; without it every language found counts.
        metric: another metric than the primary one.

    Raises:
        UserError: no scores, a column missing, an unknown metric, a value that is no number, a score twice.
    """
    path = Store(folder).scores_path
    frame = _one_metric(_read_table(path), path, metric)
    if plan.languages:
        frame = frame[frame["language"].isin(plan.languages) & frame["donor"].isin([*plan.languages, ""])]
    _check_rows(frame, path)
    codes = plan.languages or tuple(sorted({*frame["language"], *frame["donor"]} - {""}))
    seeds = tuple(sorted(int(seed) for seed in frame["seed"].unique()))
    inverted = not bool(frame["higher_is_better"].iloc[0])
    scores = _arrays(frame, codes, seeds, inverted)
    return scores, _provenance(frame, folder, path)


def read_plan(folder: Path) -> Plan:
    """Reads what the analysis needs of a resolved grid; a folder without one gives an empty plan named after it.

    Raises:
        UserError: the file is no TOML.
    """
    path = Store(folder).grid_path
    if not path.is_file():
        return Plan(name=folder.resolve().name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    exclude = table.get("exclude", {})
    evaluate, seeds = table.get("evaluate", ""), table.get("seeds", ())
    return Plan(
        name=str(table.get("name", folder.resolve().name)),
        task=str(table.get("task", "")),
        corpus=str(table.get("corpus", "")),
        blocks=str(table.get("blocks", "")),
        evaluate=evaluate if isinstance(evaluate, str) else ", ".join(map(str, evaluate)),
        samples=table.get("samples"),
        languages=tuple(code for code in table.get("languages", ()) if code not in exclude),
        seeds=tuple(range(seeds) if isinstance(seeds, int) else seeds),
        exclude=tuple(Exclusion(code, str(reason)) for code, reason in exclude.items()),
        matrix=table.get("mode", "matrix") == "matrix",
    )


def holes(scores: Scores, plan: Plan) -> tuple[Hole, ...]:
    """Every score that the plan's languages and seeds (without any: those found) call for and that is not there."""
    if not plan.matrix or not plan.languages:
        return ()
    return tuple(_holes(scores, plan.seeds or scores.seeds))


def _holes(scores: Scores, seeds: Sequence[int]) -> Iterator[Hole]:
    """The holes, base and self first, in the order of languages and seeds."""
    column = {seed: position for position, seed in enumerate(scores.seeds)}
    absent = np.full_like(scores.cross[..., :1], np.nan)  # where a seed outside `scores.seeds` points to
    cross = np.concatenate([scores.cross, absent], axis=-1)
    for role, values in (("base", scores.base), ("self", scores.self_)):
        padded = np.concatenate([values, absent[:, 0]], axis=-1)
        for i, code in enumerate(scores.languages):
            donor = code if role == "self" else ""
            yield from (Hole(role, code, donor, s) for s in seeds if np.isnan(padded[i, column.get(s, -1)]))
    wanted = [column.get(seed, -1) for seed in seeds]
    for i, j, s in np.argwhere(np.isnan(cross[..., wanted])):
        if i != j:
            yield Hole("cross", scores.languages[i], scores.languages[j], seeds[s])


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_table(path: Path) -> "pd.DataFrame":
    """The rows without condition of base, self and cross trials, with those of `COLUMNS` that there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{str(path.parent)!r} has no {path.name}; give a results folder or a square matrix CSV")
    try:
        there = pq.read_schema(path).names
        missing = sorted({*COLUMNS[:10]} - {*there})
        if missing:
            raise UserError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        wanted = [("condition", "=", ""), ("role", "in", list(ROLES))]
        table = pq.read_table(path, columns=[c for c in COLUMNS if c in there], filters=wanted)
        frame: pd.DataFrame = table.to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    if frame.empty:
        raise UserError(f"{path} has no score of a {', '.join(ROLES[:2])} or {ROLES[2]} trial; nothing to analyse yet")
    return frame


def _one_metric(frame: "pd.DataFrame", path: Path, metric: str | None) -> "pd.DataFrame":
    """The rows of the metric asked for, or of the primary one."""
    if metric is not None:
        if metric not in set(frame["metric"]):
            raise unknown("metric", metric, frame["metric"].unique())
        return frame[frame["metric"] == metric]
    frame = frame[frame["primary"].astype(bool)]
    names = sorted(frame["metric"].unique())
    if len(names) != 1:
        raise UserError(f"{path} has {len(names)} primary metrics ({', '.join(names)}); choose one with --metric")
    return frame


def _check_rows(frame: "pd.DataFrame", path: Path) -> None:
    """Refuses what has no meaning: no row, a value that is no number, two directions, a score twice."""
    if frame.empty:
        raise UserError(f"{path} has no score of the grid's languages")
    bad = frame[~np.isfinite(frame["value"].astype(float))]
    if len(bad):
        trial, name = bad["trial"].iloc[0], bad["metric"].iloc[0]
        raise UserError(f"{path}: trial {trial!r} has a {name} that is no finite number")
    if frame["higher_is_better"].nunique() != 1:
        raise UserError(f"{path}: {frame['metric'].iloc[0]} is marked both as higher and as lower is better")
    twice = frame[frame.duplicated(["role", "language", "donor", "seed"], keep=False)]
    if len(twice):
        first = twice.iloc[0]
        what = f"{first['role']} score of {first['language']!r} (donor {first['donor']!r}, seed {first['seed']})"
        trials = ", ".join(map(repr, sorted(twice["trial"].unique())[:2]))
        raise UserError(f"{path} has the {what} more than once: trials {trials}")


def _arrays(frame: "pd.DataFrame", codes: tuple[str, ...], seeds: tuple[int, ...], inverted: bool) -> Scores:
    """Puts each row's value at its place."""
    place: Mapping[str, int] = {code: position for position, code in enumerate(codes)}
    n, s = len(codes), len(seeds)
    arrays = {"base": np.full((n, s), np.nan), "self": np.full((n, s), np.nan), "cross": np.full((n, n, s), np.nan)}
    value = frame["value"].to_numpy(dtype=np.float64)
    value = 1 - value if inverted else value
    target = frame["language"].map(place).to_numpy(dtype=np.int64)
    donor = frame["donor"].map(place).fillna(0).to_numpy(dtype=np.int64)
    seed = np.searchsorted(seeds, frame["seed"].to_numpy())
    for role in ROLES:
        row = (frame["role"] == role).to_numpy()
        at: Any = (target[row], donor[row], seed[row]) if role == "cross" else (target[row], seed[row])
        arrays[role][at] = value[row]
    return Scores(codes, seeds, str(frame["metric"].iloc[0]), inverted, arrays["base"], arrays["self"], arrays["cross"])


def _provenance(frame: "pd.DataFrame", folder: Path, path: Path) -> Provenance:
    """The hashes, versions and sizes found in the rows used."""

    def values(column: str) -> tuple[str, ...]:
        return tuple(sorted(map(str, frame[column].dropna().unique()))) if column in frame else ()

    def span(column: str) -> tuple[int, int] | None:
        known = frame[column].dropna() if column in frame else ()
        return (int(min(known)), int(max(known))) if len(known) else None

    return Provenance(
        source=folder, file=path.name, sha256=sha256_of(path),
        config_sha=values("config_sha"), data_sha=values("data_sha"), code_version=values("code_version"),
        device=values("device"), n_train=span("n_train"), n_test=span("n_test"),
    )  # fmt: skip
