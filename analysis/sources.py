"""What the analysis can be given, told apart by content: results folders, a CSV of scores, a square matrix CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path

from analysis.folders import read_folders
from analysis.matrix_csv import read_matrix
from analysis.scores import GivenMatrix, Part, Plan, Provenance, Source
from analysis.scores_csv import is_scores_header, read_scores_csv
from grids.errors import UserError
from grids.files import sha256_of

KINDS = "results folders, a scores CSV or a square matrix CSV"


def read_source(paths: Sequence[Path], metric: str | None = None, condition: str = "") -> Source:
    """Reads whatever was given.

    Args:
        paths: one or more results folders of one experiment, or one CSV.
        metric: another metric than the primary one; not for a bare matrix.
        condition: of the scores; only results folders have any.

    Raises:
        UserError: it is none of these, or can't be used.
    """
    for path in paths:
        if path.suffix == ".parquet":
            raise UserError(f"{str(path)!r} is a file of scores; give its folder, which also holds the grid")
        if not path.exists():
            raise UserError(f"{str(path)!r} does not exist; give {KINDS}")
    files = [path for path in paths if not path.is_dir()]
    if not files:
        twice = sorted({str(path) for path in paths if [p.resolve() for p in paths].count(path.resolve()) > 1})
        if twice:
            raise UserError(f"{', '.join(twice)} is given more than once")
        return read_folders(paths, metric, condition)
    if len(paths) > 1:
        raise UserError(f"{str(files[0])!r} is a file among {len(paths)} sources; only results folders can be merged")
    (path,) = paths
    if condition:
        raise UserError(f"--condition {condition!r} needs results folders; {path} is a file, which has none")
    if is_scores_header(_header(path)):
        return read_scores_csv(path, metric)
    if metric is not None:
        raise UserError(
            f"--metric {metric} needs a results folder or a scores CSV; {path} is a bare matrix of one metric"
        )
    return _given(path)


def _given(path: Path) -> Source:
    """A bare matrix."""
    languages, values = read_matrix(path)
    sha = sha256_of(path)
    provenance = Provenance(source=path, file=path.name, sha256=sha, parts=(Part(path, sha),))
    return Source(GivenMatrix(languages, values), Plan(name=path.stem, matrix=False), provenance)


def _header(path: Path) -> list[str]:
    """The first line of a CSV that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next((line for line in csv.reader(file) if any(cell.strip() for cell in line)), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {str(path)!r} as a CSV: {error}") from None
