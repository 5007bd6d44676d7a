"""Which of a language's listed clips are decoded: pure functions of the listing, before any audio is opened."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from grids.errors import UserError, nearest
from grids.grid import Data
from tasks.data.common_voice import Listing, Row
from tasks.data.report import Drop, Reason

MAX_CAPPED_SPEAKER_CLIPS = 64
SHOWN_ACCENTS = 10
SPLIT_RANK = {"test": 0, "dev": 1, "train": 2}


@dataclass(frozen=True)
class Selection:
    """What of a listing is worth decoding.

    Attributes:
        rows: in the order of the store: test, dev, train; in these by speaker and clip, in hash order.
        dropped: rows that can't be used, with the reason.
        beyond_cap: usable train rows that the cap leaves out.
        two_genders: speakers listed as female and as male.
    """

    rows: tuple[Row, ...]
    dropped: tuple[Drop, ...]
    beyond_cap: int
    two_genders: tuple[str, ...]


def rank(*parts: str) -> bytes:
    """A fixed pseudo-random order: the sort key of something named by `parts`. The first part keys the order."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def select(listing: Listing, visitors: frozenset[str], rules: Data, accent: str = "") -> Selection:
    """Drops what the listing alone rules out, settles genders and caps the train clips.

    Args:
        listing: what the release lists of one language.
        visitors: client_ids at home in another language.
        rules: which clips count. For the cap see `_cap`.
        accent: of `Row.units`; rows of other accents are no part of the selection. "": all of them.

    Raises:
        UserError: no row has the accent.
    """
    dropped = [
        Drop(line, split, "malformed row", "wrong number of fields, or no path") for line, split in listing.malformed
    ]
    rows = sorted(listing.rows, key=lambda row: SPLIT_RANK[row.split])
    rows = _without_repeats(rows, dropped)
    rows = _keep(rows, dropped, {r.speaker for r in rows} & visitors, "speaker at home in another language")
    for claimed, freed in ((("test",), ("dev", "train")), (("dev",), ("train",))):
        taken = {row.speaker for row in rows if row.split in claimed} - {""}
        rows = _keep(rows, dropped, taken, "speaker in another split", freed)
    both = _speakers(rows, "female") & _speakers(rows, "male")
    rows = [replace(row, gender="") if row.speaker in both else row for row in rows]
    if rules.min_vote_margin:
        rows = _without_doubted(rows, dropped, rules.min_vote_margin)
    if accent:
        own = _of_accent(listing.rows, accent)
        rows, dropped = [row for row in rows if row.name in own], [drop for drop in dropped if drop.name in own]
    rows.sort(key=lambda row: (SPLIT_RANK[row.split], *_order(row)))
    train = [row for row in rows if row.split == "train"]
    capped = _cap(train, rules.max_train_clips) if rules.max_train_clips else train
    held_out = [row for row in rows if row.split != "train"]
    return Selection((*held_out, *capped), tuple(dropped), len(train) - len(capped), tuple(sorted(both)))


def _of_accent(rows: Sequence[Row], accent: str) -> frozenset[str]:
    """The names of the rows of an accent or variant.

    Raises:
        UserError: there are none.
    """
    own = frozenset(row.name for row in rows if accent.casefold() in row.units)
    if not own:
        listed = Counter(unit for row in rows for unit in row.units)
        most = ", ".join(repr(unit) for unit, _ in listed.most_common(SHOWN_ACCENTS)) or "none is listed"
        raise UserError(f"no clip of the accent or variant {accent!r}{nearest(accent, listed)}; most have: {most}")
    return own


def _without_doubted(rows: Sequence[Row], dropped: list[Drop], margin: int) -> list[Row]:
    """The rows without train clips of a smaller margin of votes, which are listed as dropped."""
    doubted = {row.name: row for row in rows if row.split == "train" and row.vote_margin < margin}
    dropped += [Drop(name, row.split, "too few votes", str(row.vote_margin)) for name, row in doubted.items()]
    return [row for row in rows if row.name not in doubted]


def _without_repeats(rows: Iterable[Row], dropped: list[Drop]) -> list[Row]:
    """The first row of each file name; rows of test come before dev and train."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.name in first:
            dropped.append(Drop(row.name, row.split, "duplicate path", f"also in {first[row.name].split}.tsv"))
        else:
            first[row.name] = row
    return list(first.values())


def _keep(
    rows: Sequence[Row],
    dropped: list[Drop],
    speakers: frozenset[str] | set[str],
    reason: Reason,
    splits: tuple[str, ...] = tuple(SPLIT_RANK),
) -> list[Row]:
    """The rows without those of `speakers` in `splits`, which are listed as dropped."""
    out = [row for row in rows if row.speaker in speakers and row.split in splits]
    dropped += [Drop(row.name, row.split, reason, row.speaker) for row in out]
    gone = {row.name for row in out}
    return [row for row in rows if row.name not in gone]


def _speakers(rows: Iterable[Row], gender: str) -> set[str]:
    """The speakers with a row of this gender."""
    return {row.speaker for row in rows if row.gender == gender} - {""}


def _order(row: Row) -> tuple[bytes, str, bytes]:
    """Speakers in hash order, a speaker's clips in hash order; a clip without a speaker stands alone."""
    speaker = row.speaker or row.name
    return rank("store", speaker), speaker, rank("store", row.name)


def _cap(train: Sequence[Row], most: int) -> list[Row]:
    """Whole speakers in the given order, at most 64 clips of each, up to `most` clips.

    It ends before the first speaker that no longer fits, so that a smaller cap's clips are part of a larger one's.
    """
    kept: list[Row] = []
    speakers: dict[str, list[Row]] = {}
    for row in train:
        speakers.setdefault(row.speaker or row.name, []).append(row)
    for rows in speakers.values():
        taken = rows[: min(MAX_CAPPED_SPEAKER_CLIPS, most)]
        if len(kept) + len(taken) > most:
            break
        kept += taken
    return kept
