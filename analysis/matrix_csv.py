"""Reads and writes a matrix as CSV: first column `target`, then one column a donor; an empty cell is unknown."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.scores import LARGEST
from analysis.uncertainty import Floats
from grids.errors import UserError

UNKNOWN = {"", "nan", "na"}
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)  # `float` reads "1_0" too
DIAGONAL_TOLERANCE = 0.005  # a published matrix is rounded to two decimals


def read_matrix(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Reads a square matrix of r; rows and columns may be in different order.

    Returns:
        The codes in the order of the rows, and the (L, L) values, rows targets, columns donors: NaN where a cell is
        empty, 1 on the diagonal.

    Raises:
        UserError: no CSV, not square, a code twice, other codes in rows than in columns, text in a cell, or a
            diagonal that is not 1, so that it is no normalised matrix.
    """
    targets, values = read_square(path)
    wrong = np.abs(np.diag(values) - 1) > DIAGONAL_TOLERANCE
    if wrong.any():
        first = int(np.argmax(wrong))
        what = f"the cell ({targets[first]}, {targets[first]}) is {values[first, first]:g}"
        raise UserError(f"{path}: {what}; a normalised matrix has 1 on its diagonal")
    np.fill_diagonal(values, 1.0)
    return targets, values


def read_square(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Reads any square CSV, (L, L), as `read_matrix` does but with the diagonal as it is.

    Raises:
        UserError: no CSV, not square, a code twice, other codes in rows than in columns, or text in a cell.
    """
    header, rows = _read_rows(path)
    donors, targets = header[1:], [row[0] for row in rows]
    _check_names(path, targets, donors)
    values = np.array([[_number(path, row[0], donor, text) for donor, text in zip(donors, row[1:], strict=True)]
                       for row in rows])  # fmt: skip
    values = values[:, [donors.index(target) for target in targets]]
    return tuple(targets), values


def matrix_text(languages: Sequence[str], values: Floats) -> str:
    """The CSV text of a matrix, (L, L), in full precision; NaN becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["target", *languages])
    for code, row in zip(languages, values.tolist(), strict=True):
        writer.writerow([code, *("" if math.isnan(value) else value for value in row)])
    return text.getvalue()


def number(text: str) -> float:
    """What a cell says: NaN if it is empty, infinity if it is no number or a larger one than `LARGEST`."""
    if text.lower() in UNKNOWN:
        return math.nan
    value = float(text) if DECIMAL.fullmatch(text) else math.inf
    return value if abs(value) <= LARGEST else math.inf


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, stripped, all of one length."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {str(path)!r} as a CSV: {error}") from None
    lines = [line for line in lines if any(line)]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise UserError(f"{path} holds no matrix; needed: a header target,<donor>,... and one row a target")
    header, rows = lines[0], lines[1:]
    for row in rows:
        if len(row) != len(header):
            cells = f"row {row[0]!r} has {len(row) - 1} cells"
            raise UserError(f"{path}: {cells}, the header names {len(header) - 1} donors")
    return header, rows


def _check_names(path: Path, targets: list[str], donors: list[str]) -> None:
    """Refuses duplicates and a matrix whose rows and columns name different languages."""
    for what, codes in (("row", targets), ("column", donors)):
        if odd := [code for code in codes if not code or not code.isprintable()]:
            raise UserError(f"{path}: a {what} is named {odd[0]!r}; a printable text is needed")
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise UserError(f"{path}: {what} {', '.join(map(repr, twice))} is there more than once")
    only_rows, only_columns = sorted({*targets} - {*donors}), sorted({*donors} - {*targets})
    if only_rows or only_columns:
        shape = "not square: " if len(targets) != len(donors) else ""
        sides = [f"only in the {side}: {', '.join(codes)}" for side, codes in
                 (("rows", only_rows), ("columns", only_columns)) if codes]  # fmt: skip
        size = f"{len(targets)} rows and {len(donors)} columns"
        raise UserError(f"{path} is {shape}{size} that name different languages; {'; '.join(sides)}")


def _number(path: Path, target: str, donor: str, text: str) -> float:
    """One cell; NaN if it is empty."""
    if math.isinf(value := number(text)):
        raise UserError(f"{path}: the cell ({target}, {donor}) is {text!r}; a number or an empty cell is needed")
    return value
