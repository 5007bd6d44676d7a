"""Reads a CSV of scores with the columns of the public reference (Pol-Buitrago/cltm-framework).

Columns `model_id, type, lang_src, lang_tgt, seed` and one of `f1, auc, eer, wer`. There `lang_src` is the *target*,
the language scored, and `lang_tgt` the donor. `type` is "single", P(i) (`lang_tgt` is not looked at), or "dual",
P(i+j), which is the self run P(i+i) where both languages are equal.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.matrix_csv import number
from analysis.scores import LARGEST, Hole, Part, Plan, Provenance, Source, scores_from
from grids.errors import UserError, unknown
from grids.files import sha256_of

METRICS = {"f1": True, "auc": True, "eer": False, "wer": False}  # whether higher is better
FRACTIONS = ("f1", "auc", "eer")  # never above 1; a word error rate may be
MARKS = ("model_id", "type", "lang_src", "lang_tgt", "seed")
SEED = re.compile(r"-?[0-9]{1,18}")
NEEDED = ("type", "lang_src", "lang_tgt", "seed")


@dataclass(frozen=True, order=True)
class Place:
    """Where a score belongs: its role, target, donor and seed."""

    role: str
    target: str
    donor: str
    seed: int


def is_scores_header(header: Sequence[str]) -> bool:
    """Whether a CSV's header is that of scores: it has two of the reference's columns, which name no languages."""
    names = {name.strip().lower() for name in header}
    return len(names & {*MARKS}) >= 2


def read_scores_csv(path: Path, metric: str | None = None) -> Source:
    """Reads a CSV of scores.

    Args:
        path: the file.
        metric: one of its metrics, where there are several.

    Returns:
        The scores of every language and seed found. A row whose score is empty is a hole.

    Raises:
        UserError: a column is missing, a value has no meaning, or a score is there twice with different values.
    """
    rows = _read_rows(path)
    name = _metric(path, rows[0], metric)
    values, empty = dict[Place, float](), list[Hole]()
    for line, row in enumerate(rows, start=2):
        place, value = _place(path, line, row), _value(path, line, row, name)
        if math.isnan(value):
            empty.append(Hole(place.role, place.target, place.donor, place.seed))
        elif values.setdefault(place, value) != value:
            what = f"{place.role} score of {place.target!r} (donor {place.donor!r}, seed {place.seed})"
            raise UserError(f"{path}, line {line}: the {what} is {value:g}, and {values[place]:g} further up")
    if not values:
        raise UserError(f"{path} has no {name} in any row")
    return _source(path, name, values, tuple(hole for hole in empty if Place(**vars(hole)) not in values))


def _source(path: Path, metric: str, values: Mapping[Place, float], empty: tuple[Hole, ...]) -> Source:
    """The scores at their places."""
    import pandas as pd

    frame = pd.DataFrame(
        [(place.role, place.target, place.donor, place.seed, metric, value) for place, value in values.items()],
        columns=["role", "language", "donor", "seed", "metric", "value"],
    )
    asked = {code for hole in empty for code in (hole.target, hole.donor)}
    codes = tuple(sorted({*frame["language"], *frame["donor"], *asked} - {""}))
    scores = scores_from(frame, codes, tuple(sorted(frame["seed"].unique().tolist())), inverted=not METRICS[metric])
    sha = sha256_of(path)
    provenance = Provenance(source=path, file=path.name, sha256=sha, parts=(Part(path, sha),))
    return Source(scores, Plan(name=path.stem, matrix=False), provenance, empty)


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The rows, with column names in lower case."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {str(path)!r} as a CSV: {error}") from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {', '.join(map(repr, twice))} is there more than once")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise UserError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} of a scores CSV")
    if len(lines) < 2:
        raise UserError(f"{path} has no row of scores")
    for line, cells in enumerate(lines, start=1):
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line} has {len(cells)} cells, the header names {len(header)} columns")
    return [dict(zip(header, (cell.strip() for cell in cells), strict=True)) for cells in lines[1:]]


def _metric(path: Path, row: Mapping[str, str], asked: str | None) -> str:
    """The metric asked for, or the only one."""
    there = [name for name in METRICS if name in row]
    if asked is not None:
        if asked not in there:
            raise unknown("metric", asked, there)
        return asked
    if len(there) != 1:
        found = f"{len(there)} of them ({', '.join(there)})" if there else "none of them"
        wanted = "choose one with --metric" if there else "one is needed"
        raise UserError(f"a scores CSV has a column {', '.join(METRICS)}; {path} has {found}: {wanted}")
    return there[0]


def _place(path: Path, line: int, row: Mapping[str, str]) -> Place:
    """Where a row's score belongs."""
    kind, target, donor = row["type"].lower(), row["lang_src"], row["lang_tgt"]
    where = f"{path}, line {line}"
    if kind not in ("single", "dual"):
        raise UserError(f"{where}: type is {row['type']!r}; allowed: single, dual")
    if not f"{target}{donor}".isprintable():
        raise UserError(f"{where}: {target!r} or {donor!r} is no printable text")
    if not target or (kind == "dual" and not donor):
        raise UserError(f"{where}: {'lang_src' if not target else 'lang_tgt'} is empty")
    if not SEED.fullmatch(row["seed"]):
        raise UserError(f"{where}: seed is {row['seed']!r}; a whole number is needed")
    seed = int(row["seed"])
    if kind == "single":
        return Place("base", target, "", seed)
    return Place("self" if donor == target else "cross", target, donor, seed)


def _value(path: Path, line: int, row: Mapping[str, str], metric: str) -> float:
    """A row's score; NaN if it is empty."""
    text = row[metric]
    value, largest = number(text), 1.0 if metric in FRACTIONS else LARGEST
    if value < 0 or value > largest:
        percent = "; scores are fractions, no percentages" if math.isfinite(value) and value > largest else ""
        raise UserError(f"{path}, line {line}: {metric} is {text!r}{percent}")
    return value
