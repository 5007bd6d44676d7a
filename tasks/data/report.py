"""What became of every clip that a release lists: the record beside the prepared audio, and its reasons."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from grids.errors import UserError
from grids.files import write_atomically
from grids.schema import from_table

Reason = Literal[
    "malformed row",
    "missing",
    "empty",
    "undecodable",
    "truncated",
    "silent",
    "too short",
    "too long",
    "duplicate path",
    "duplicate samples",
    "too few votes",
    "too noisy",
    "speaker in another split",
    "speaker at home in another language",
]
BROKEN: tuple[Reason, ...] = ("malformed row", "missing", "empty", "undecodable", "truncated")
NOT_LOOKED_AT = -2


@dataclass(frozen=True, slots=True)
class Drop:
    """A listed clip that is not in the prepared store.

    Attributes:
        name: the clip's file, or the line of a malformed row ("train.tsv:17").
        split: where the release lists it.
        reason: why it was dropped.
        detail: what was found, for a person.
        bytes: size of the file where the file was the reason, -1 if it was missing, otherwise `NOT_LOOKED_AT`.
    """

    name: str
    split: str
    reason: Reason
    detail: str = ""
    bytes: int = NOT_LOOKED_AT


@dataclass(frozen=True)
class LanguageReport:
    """What a language's folder lists and what of it was prepared. Every mapping counts by split.

    Attributes:
        language: the code.
        release: the folder that was read.
        fingerprint: stands for the release's tables, the rules and the recipe; another one means preparing again.
        listed: rows in the release.
        beyond_cap: train clips left undecoded by `max_train_clips`.
        kept: prepared clips.
        seconds: their duration.
        speakers: their speakers, each counted once a split, by "<split> female", "<split> male", "<split> unknown".
        two_genders: speakers listed as female and as male, whose gender counts as unknown.
        dropped: each listed clip that was dropped, with the reason.
    """

    language: str
    release: str
    fingerprint: str
    listed: Mapping[str, int]
    beyond_cap: int
    kept: Mapping[str, int]
    seconds: Mapping[str, float]
    speakers: Mapping[str, int]
    two_genders: tuple[str, ...]
    dropped: tuple[Drop, ...]

    @property
    def dropped_by_reason(self) -> Mapping[str, int]:
        """Number of dropped clips by reason, the most frequent first."""
        return dict(Counter(drop.reason for drop in self.dropped).most_common())

    def write(self, path: Path) -> None:
        """Writes the report as JSON."""
        write_atomically(path, json.dumps(asdict(self), ensure_ascii=False, indent=1))


def read(path: Path) -> LanguageReport:
    """Reads a report that `LanguageReport.write` wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        return from_table(LanguageReport, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and prepare again") from None
