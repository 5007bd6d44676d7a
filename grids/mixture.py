"""What one model is trained on (`Mixture`), with which draw (`Trial`), and what a score of it means (`Role`).

A mixture is a value: ordered stages, each a set of languages with the number of samples of each. The numbers are
absolute, so `ca+ca` at N = 60 and `ca` at N = 120 are equal: they are the same training. A language's samples are
nested for a seed: the first 60 of 120 are the 60. Block A of method and papers is the first N, block B the next N.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, get_args

from grids.errors import UserError
from grids.schema import from_table

Role = Literal["base", "self", "cross", "third", "zero", "untouched", "other"]
ROLES: tuple[Role, ...] = get_args(Role)
MATRIX_ROLES: tuple[Role, ...] = ("base", "self", "cross")  # of what a transfer matrix is made of

SLUG_LENGTH = 80
FACTOR = re.compile(r"[+-]?[\d./]{1,30}(e[+-]?\d{1,2})?", re.ASCII)  # `Fraction` would compute "1e999999999" too
AS_JSON = json.JSONEncoder(sort_keys=True).encode


@dataclass(frozen=True, order=True)
class Part:
    """`samples` training samples of one language (of a class, where the task has classes)."""

    language: str
    samples: int


@dataclass(frozen=True, order=True)
class Mixture:
    """The blocks one model is trained on.

    Attributes:
        stages: trained one after the other; each is a tuple of parts sorted by language, every language once.
            No stage at all is the untouched model.
    """

    stages: tuple[tuple[Part, ...], ...] = ()

    @classmethod
    def of(cls, *stages: Mapping[str, int]) -> "Mixture":
        """Makes a mixture from one mapping (language to number of samples) a stage."""
        return cls(tuple(tuple(Part(*item) for item in sorted(stage.items())) for stage in stages))

    @classmethod
    def parse(cls, text: str, samples: int) -> "Mixture":
        """Reads a mixture as people write it: "ca", "ca+ca", "ca+0.1*en", "en>ca"; "" is the untouched model.

        Args:
            text: stages divided by ">", parts by "+", each part a language with an optional factor "0.1*".
            samples: N, what the factor 1 stands for.

        Raises:
            UserError: an empty part, a factor that is no positive number, or one that gives no whole sample number.
        """
        if not text.strip():
            return cls()
        stages = []
        for stage in text.split(">"):
            total: Counter[str] = Counter()
            for part in stage.split("+"):
                factor_text, _, language = part.rpartition("*")
                total[language.strip()] += _whole_samples(factor_text.strip() or "1", samples, text)
            if "" in total:
                raise UserError(f"mixture {text!r} has an empty part; write it like 'ca+0.1*en' or 'en>ca'")
            stages.append(total)
        return cls.of(*stages)

    def text(self, samples: int) -> str:
        """The mixture for people, in units of a block: "ca", "ca+ca", "ca+0.1*en", "en>ca"; "" if untouched.

        In a curve (`samples` = 0), whose blocks have many sizes, the unit is a sample: "60*ca".
        """
        return ">".join("+".join(_part_text(part, samples) for part in stage) for stage in self.stages)

    @cached_property
    def slug(self) -> str:
        """The readable part of the names of its trials."""
        stages = ["_".join(f"{part.language}-{part.samples}" for part in stage) for stage in self.stages]
        return re.sub(r"[^A-Za-z0-9_-]+", "-", "_then_".join(stages) or "untouched")[:SLUG_LENGTH]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages trained on, sorted."""
        return tuple(sorted({part.language for stage in self.stages for part in stage}))

    @property
    def total_samples(self) -> dict[str, int]:
        """The largest number of samples that any stage takes of each language."""
        most: dict[str, int] = {}
        for part in (part for stage in self.stages for part in stage):
            most[part.language] = max(most.get(part.language, 0), part.samples)
        return most

    def block(self, samples: int) -> int:
        """N that this mixture is read with: the grid's, or in a curve (`samples` = 0) the size of its own block."""
        return samples or max(self.total_samples.values(), default=0)

    def kind(self, samples: int) -> Role:
        """What a training on this mixture is for: its role for a language of its own; "untouched" without a stage."""
        return self.role(self.languages[0], samples)[0] if self.stages else "untouched"

    def role(self, language: str, samples: int) -> tuple[Role, str]:
        """What a score of this mixture on `language` is in a matrix with blocks of `samples`, or in a curve (0).

        Returns:
            The role and its donor: ("base", ""), ("self", language), ("cross", donor), ("zero", donor) for a model
            of one language scored on another, ("third", "a+b") for one of two others, ("untouched", "") for the
            model without training, ("other", "") for fractions, multiples and ordered stages.
        """
        if not self.stages:
            return "untouched", ""
        samples = self.block(samples)
        parts = {part.language: part.samples for part in self.stages[0]}
        others = [code for code in parts if code != language]
        whole = len(self.stages) == 1 and sum(parts.values()) <= 2 * samples
        whole = whole and all(count in (samples, 2 * samples) for count in parts.values())
        if not whole:
            return "other", ""
        if language not in parts:
            return ("zero" if len(others) == 1 else "third"), "+".join(others)
        if others:
            return "cross", others[0]
        return ("base", "") if parts[language] == samples else ("self", language)


@dataclass(frozen=True, order=True)
class Trial:
    """One training: a mixture and a seed (one draw of everything)."""

    mixture: Mixture
    seed: int

    @cached_property
    def slug(self) -> str:
        """The trial's name in files, folders and dashboards. Safe, unique, and never parsed back."""
        digest = hashlib.sha256(AS_JSON(self.as_dict()).encode()).hexdigest()[:8]
        return f"{self.mixture.slug}_seed{self.seed}_{digest}"

    def as_dict(self) -> dict[str, Any]:
        """The trial as JSON can hold it; `from_dict` is the way back."""
        return {"stages": [{p.language: p.samples for p in stage} for stage in self.mixture.stages], "seed": self.seed}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Trial":
        """The trial that `as_dict` described.

        Raises:
            UserError: it described no trial.
        """
        described = from_table(_Described, values, "trial")
        return cls(Mixture.of(*described.stages), described.seed)


@dataclass(frozen=True)
class _Described:
    """A trial as JSON holds it: language -> samples of each stage, and the seed."""

    stages: tuple[Mapping[str, int], ...]
    seed: int


def _whole_samples(factor_text: str, samples: int, text: str) -> int:
    """The number of samples that a factor stands for, exactly."""
    try:
        count = Fraction(factor_text if FACTOR.fullmatch(factor_text) else "") * samples
    except (ValueError, ZeroDivisionError):
        raise UserError(f"mixture {text!r}: {factor_text!r} is no number; write a part like '0.1*en'") from None
    if not 0 < count < 2**63 or count.denominator != 1:
        raise UserError(f"mixture {text!r}: {factor_text} x {samples} samples = {float(count):g}, no whole number > 0")
    return int(count)


def _part_text(part: Part, samples: int) -> str:
    """One part in units of a block."""
    factor = Fraction(part.samples, samples or 1)
    if samples and factor in (1, 2):
        return "+".join([part.language] * int(factor))
    decimal = f"{float(factor):g}"
    exact = decimal if Fraction(decimal) == factor else str(factor)
    return f"{exact}*{part.language}"
