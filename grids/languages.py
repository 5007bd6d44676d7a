"""The language table, `languages.toml`: what is known of a language beside its code.

Nothing here decides which languages can run. A code that the table lacks runs too; its family is then unknown, and
what compares families has to say so.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from grids.schema import from_table


@dataclass(frozen=True)
class Language:
    """One row of the table; "" for what is unknown.

    Attributes:
        code: as the corpus writes it, e.g. "ca", "zh-CN", "en@Scottish English".
        name: in English.
        family: the top-level family, e.g. "Indo-European"; an isolate is one of its own.
        genus: the branch, e.g. "Romance".
        script: ISO 15924, e.g. "Latn".
        iso639_3: three letters.
        glottocode: four letters or digits, then four digits.
    """

    code: str
    name: str
    family: str = ""
    genus: str = ""
    script: str = ""
    iso639_3: str = ""
    glottocode: str = ""


def language(code: str) -> Language:
    """What the table knows of a code.

    A code may name an accent after "@"; it is then the row of the code before it, under a name of its own. A code that
    the table lacks is its own name, and the rest is unknown.
    """
    base, _, accent = code.partition("@")
    known = table().get(base)
    if known is None:
        return Language(code, name=code)
    return replace(known, code=code, name=f"{known.name} ({accent})") if accent else known


@cache
def table() -> Mapping[str, Language]:
    """The whole table, read once.

    Raises:
        UserError: a row has an unknown key, no name, or a value that is no text.
    """
    rows = tomllib.loads((Path(__file__).parent / "languages.toml").read_text(encoding="utf-8"))
    return MappingProxyType(read_rows(rows))


def read_rows(rows: Mapping[str, Mapping[str, str]]) -> dict[str, Language]:
    """The languages that rows of TOML describe, by code.

    Raises:
        UserError: a row has an unknown key, no name, or a value that is no text.
    """
    return {
        code: from_table(Language, {**row, "code": code}, f"[{code}] of the languages") for code, row in rows.items()
    }
