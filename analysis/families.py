"""Which family a language belongs to: from the project's language table, or from a CSV of the user's.

An unknown family is "": such a language is a family of one wherever families are counted, never one with another
unknown.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from grids.errors import UserError


def label(family: str, genus: str) -> str:
    """The one way a family is written: "Indo-European (Romance)", "Turkic", "Language isolate: Basque"; "" if unknown.

    A genus that is unknown, or that only repeats the family's last words, is left out.
    """
    return family if not family or not genus or family.endswith(genus) else f"{family} ({genus})"


def families_of(languages: Sequence[str], path: Path | None = None) -> tuple[str, ...]:
    """The family label of each language, "" if unknown.

    Args:
        languages: codes, in the order of the matrix.
        path: a CSV with columns code and family; it then is the only source.

    Raises:
        UserError: the file can't be used.
    """
    if path is not None:
        table = read_families(path)
        return tuple(table.get(code, "") for code in languages)
    from grids.languages import language

    known = [language(code) for code in languages]
    return tuple(label(one.family, one.genus) for one in known)


def read_families(path: Path) -> dict[str, str]:
    """Reads code -> family label from a CSV; further columns are ignored.

    Raises:
        UserError: no such file, no column code or family, a code twice with different families.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read families file {str(path)!r}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"families file {str(path)!r} is not a CSV: {error}") from None
    families: dict[str, str] = {}
    for row in rows:
        if "code" not in row or "family" not in row:
            raise UserError(f"{path}: columns are {', '.join(map(str, row))}; needed: code, family")
        code, family = (row["code"] or "").strip(), (row["family"] or "").strip()
        if families.setdefault(code, family) != family:
            raise UserError(f"{path}: {code!r} has two families, {families[code]!r} and {family!r}")
    if not families:
        raise UserError(f"{path} has no row; needed: a header code,family and one row a language")
    return families


def groups(families: Sequence[str]) -> tuple[int, ...]:
    """A number for each language, equal where the families are; every unknown one gets its own."""
    numbers: dict[str, int] = {}
    keys = [family or f"\0{position}" for position, family in enumerate(families)]
    return tuple(numbers.setdefault(key, len(numbers)) for key in keys)
