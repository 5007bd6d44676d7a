"""Which seeds bases, self runs and pairs are trained with, as a grid file says it: a number, a list or a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grids.errors import UserError, unknown
from grids.mixture import MATRIX_ROLES, Role

NATURAL = range(2**63)
MOST = 10_000


@dataclass(frozen=True)
class Seeds:
    """The draws of a grid. A base is part of every gain, so it has every seed; the others are paired with it.

    Attributes:
        base: of bases, and of whatever is no part of a matrix (fractions, stages, curves).
        self_: of self runs; each is one of `base`.
        cross: of pairs; each is one of `base`.
    """

    base: tuple[int, ...] = ()
    self_: tuple[int, ...] = ()
    cross: tuple[int, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> "Seeds":
        """Reads what a grid file says.

        Args:
            value: 5 stands for the seeds 0 to 4; a list; or a table with base, self and cross, in which a number n
                for self or cross stands for the first n of base.

        Raises:
            UserError: no number, list or table; a key unknown or missing; an unpaired, negative or repeated seed.
        """
        if not isinstance(value, dict):
            every = _listed(value, NATURAL, "seeds")
            return cls(every, every, every)
        for key in value:
            if key not in MATRIX_ROLES:
                raise unknown("key of seeds", key, MATRIX_ROLES)
        absent = [kind for kind in MATRIX_ROLES if kind not in value]
        if absent:
            raise UserError(f"seeds lacks {', '.join(absent)}; write it like {{ base = 12, self = 12, cross = 4 }}")
        base = _listed(value["base"], NATURAL, "base of seeds")
        return cls(base, _paired(value["self"], base, "self"), _paired(value["cross"], base, "cross"))

    @property
    def all(self) -> tuple[int, ...]:
        """Every seed: those of the bases."""
        return self.base

    def of(self, role: Role) -> tuple[int, ...]:
        """The seeds of mixtures with this role."""
        return {"self": self.self_, "cross": self.cross}.get(role, self.base)

    def joined(self, other: "Seeds") -> "Seeds":
        """The seeds of both, ascending."""
        return Seeds(*(tuple(sorted({*self.of(kind), *other.of(kind)})) for kind in MATRIX_ROLES))

    def as_toml(self) -> list[int] | dict[str, list[int]]:
        """What `parse` reads back: a list where all are equal, or else a table."""
        if self.base == self.self_ == self.cross:
            return [*self.base]
        return {kind: [*self.of(kind)] for kind in MATRIX_ROLES}

    def __str__(self) -> str:
        if self.base == self.self_ == self.cross:
            return f"{len(self.base)}: {_ranges(self.base)}"
        return ", ".join(f"{kind} {len(self.of(kind))}: {_ranges(self.of(kind))}" for kind in MATRIX_ROLES)


def _paired(value: Any, base: tuple[int, ...], kind: str) -> tuple[int, ...]:
    """The seeds of self runs or pairs, which are some of the bases'."""
    if _is_number(value) and value > len(base):
        raise UserError(f"seeds has {value} for {kind} and {len(base)} for base; allowed: at most as many as base")
    seeds = _listed(value, base, f"{kind} of seeds")
    odd = sorted({*seeds} - {*base})
    if odd:
        raise UserError(f"seeds has {odd[0]} for {kind}, which base lacks; allowed: seeds of base, so that they pair")
    return seeds


def _listed(value: Any, counted: Sequence[int], what: str) -> tuple[int, ...]:
    """The seeds of a list, or where the value is a number, so many of those `counted`."""
    if not _is_number(value) and not isinstance(value, list):
        raise UserError(f"{what} is {value!r}; allowed: a number of seeds, or a list of integers")
    if (count := value if _is_number(value) else len(value)) > MOST:
        raise UserError(f"{what} has {count} seeds; allowed: at most {MOST}")
    seeds = tuple(counted[: max(value, 0)] if _is_number(value) else value)
    if not seeds:
        raise UserError(f"{what} is empty; allowed: a number >= 1 or a list of integers")
    odd = [seed for seed in seeds if not _is_number(seed) or seed not in NATURAL]
    if odd:
        raise UserError(f"{what} has {odd[0]!r}; allowed: integers from 0 to 2^63 - 1")
    twice = sorted(seed for seed, count in Counter(seeds).items() if count > 1)
    if twice:
        raise UserError(f"{what} has {', '.join(map(str, twice))} more than once")
    return seeds


def _is_number(value: Any) -> bool:
    """Whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _ranges(seeds: tuple[int, ...]) -> str:
    """Seeds for people: "0-4", "3 7"."""
    together = len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-{seeds[-1]}" if together else " ".join(map(str, seeds))
