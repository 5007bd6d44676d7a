"""Where a language is spoken and which phones it has, from `typology.toml`; standard library only.

The table is small on purpose: a language of which the authors were not sure is not in it. Whoever compares languages
has to say which ones it lacks.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from grids.errors import UserError
from grids.schema import from_table

EARTH_RADIUS_KM = 6371.0088  # mean radius; Moritz 2000, "Geodetic Reference System 1980"


@dataclass(frozen=True)
class Typology:
    """One row of the table; None or empty for what is unknown.

    Attributes:
        latitude: degrees north, of a point amid the speakers.
        longitude: degrees east.
        phones: consonants and vowels, as IPA symbols separated by spaces.
    """

    latitude: float | None = None
    longitude: float | None = None
    phones: str = ""

    def __post_init__(self) -> None:
        """Refuses half a point, one that is not on Earth, and a phone listed twice."""
        if (self.latitude is None) != (self.longitude is None):
            raise UserError("latitude and longitude belong together; one of them is missing")
        if abs(self.latitude or 0.0) > 90 or abs(self.longitude or 0.0) > 180:
            raise UserError(f"({self.latitude}, {self.longitude}) is no place on Earth; give degrees north and east")
        if len(self.phones.split()) != len(self.inventory):
            raise UserError(f"a phone is listed twice in {self.phones!r}")

    @property
    def inventory(self) -> frozenset[str]:
        """The phones as a set."""
        return frozenset(self.phones.split())


def typology(code: str) -> Typology:
    """What the table knows of a code; an accent after "@" is that of the code before it."""
    return table().get(code.partition("@")[0], Typology())


@cache
def table() -> Mapping[str, Typology]:
    """The whole table, read once.

    Raises:
        UserError: a row has an unknown key or a value that can't be.
    """
    text = (Path(__file__).parent / "typology.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    return MappingProxyType({code: from_table(Typology, row, f"[{code}] of typology") for code, row in rows.items()})


def great_circle_km(one: Typology, other: Typology) -> float | None:
    """Distance over the Earth's surface in kilometres; None if a point is unknown.

    Source: the haversine formula, on a sphere.
    """
    if one.latitude is None or one.longitude is None or other.latitude is None or other.longitude is None:
        return None
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    across = math.radians(other.longitude - one.longitude)
    half = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(half, 1.0)))


def jaccard(one: Typology, other: Typology) -> float | None:
    """1 - shared phones / all phones of the two; None if an inventory is unknown."""
    if not one.phones or not other.phones:
        return None
    return 1 - len(one.inventory & other.inventory) / len(one.inventory | other.inventory)
