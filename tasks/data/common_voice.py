"""Reads what a Common Voice release lists: clips, speakers, and which speaker is at home in which language.

Layout: `<release>/<language>/{train,dev,test}.tsv`, `clips/`, `clip_durations.tsv`. Columns are found by name, since
they changed over the releases; quote marks are text, since sentences are full of them. Only the three split files are
read: `validated.tsv` and the others are not needed. Audio is not opened here.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from grids.errors import UserError, unknown
from grids.files import expanded, write_atomically
from tasks.data.cache import cache_folder, short_hash, slug
from tasks.data.clips import SENTENCE_ITEM, Split

SPLITS: tuple[Split, ...] = get_args(Split)
DURATIONS = "clip_durations.tsv"
MILLISECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]*)?")
VOTES = re.compile(r"[0-9]{1,9}")
BETWEEN_ACCENTS = re.compile(r"[|,](?![^(]*\))")  # names of accents have commas in parentheses
GENDER_VALUES = {"female": "female", "female_feminine": "female", "male": "male", "male_masculine": "male"}


@dataclass(frozen=True, slots=True)
class Row:
    """A clip as the release lists it; what the release does not say is an empty text.

    Attributes:
        name: the file in `clips/`.
        item: column `item`, or else `sentence_id` behind `SENTENCE_ITEM`; see `clips.Clip.item`.
        seconds: the listed duration; None if it is not listed or not read (`with_seconds`).
        vote_margin: votes for the clip less votes against it.
    """

    name: str
    split: Split
    speaker: str
    gender: str
    sentence: str
    accents: str
    variant: str
    age: str
    seconds: float | None = None
    vote_margin: int = 0
    item: str = ""

    @property
    def accent(self) -> str:
        """The first accent that the speaker names, or else the variant."""
        return self._first_accent or self.variant

    @property
    def _first_accent(self) -> str:
        return BETWEEN_ACCENTS.split(self.accents)[0].strip()

    @property
    def units(self) -> frozenset[str]:
        """What may stand after "@" for this clip, in small letters: the first accent its speaker names, its variant.

        An accent also goes by what stands before its parenthesis: "India and South Asia (India, Pakistan, Sri Lanka)".
        """
        first = self._first_accent
        names = (first, first.partition("(")[0], self.variant)
        return frozenset(name.strip().casefold() for name in names) - {""}


@dataclass(frozen=True)
class Listing:
    """The rows of a language, and the lines ("train.tsv:17") that are no rows, with the split they stand in."""

    rows: tuple[Row, ...]
    malformed: tuple[tuple[str, Split], ...]


def open_release(corpus: str | Path) -> Path:
    """Checks that a folder is a release and returns its resolved path.

    Raises:
        UserError: no such folder, or another one of the layout (one language, or the folder above the release).
    """
    folder = expanded(corpus).resolve()
    wanted = "a corpus is 'synthetic' or the folder that holds one folder a language (<folder>/ca/train.tsv)"
    if not folder.is_dir():
        raise UserError(f"corpus {str(corpus)!r} is no folder; {wanted}")
    if languages(folder):
        return folder
    if _is_language(folder):
        raise UserError(f"corpus {str(folder)!r} is the folder of one language; give the one above: {folder.parent}")
    below = " or ".join(str(child) for child in sorted(folder.iterdir()) if child.is_dir() and languages(child))
    raise UserError(f"corpus {str(folder)!r} holds no language; {f'did you mean {below}?' if below else wanted}")


def languages(release: Path) -> tuple[str, ...]:
    """The codes of a release's languages, sorted."""
    return tuple(sorted(child.name for child in release.iterdir() if child.is_dir() and _is_language(child)))


def split_code(release: Path, language: str) -> tuple[str, str]:
    """The folder's name and the accent that a code stands for: "en@Scottish English" is a part of the folder "en".

    A folder whose own name has an "@" is a language like any other.
    """
    if language in languages(release):
        return language, ""
    code, _, accent = language.partition("@")
    return code, accent.strip()


def language_folder(release: Path, language: str) -> Path:
    """The folder of a language, or of the language of an accent, that is complete enough to be read.

    Raises:
        UserError: unknown code, or a split file or `clips/` is missing.
    """
    code, _ = split_code(release, language)
    if code not in (known := languages(release)):
        raise unknown(f"language of {release.name}", code, known)
    folder = release / code
    missing = [f"{split}.tsv" for split in SPLITS if not (folder / f"{split}.tsv").is_file()]
    if not (folder / "clips").is_dir():
        missing.append("clips/")
    if missing:
        raise UserError(f"language {language!r} of {release} is not complete: {', '.join(missing)} is missing")
    return folder


def read_language(release: Path, language: str) -> Listing:
    """Everything that a language's split files list, in the order of the files; of an accent, its language's.

    Raises:
        UserError: as `language_folder`; or a file can't be read, is not UTF-8, or has no column `path` or one twice.
    """
    folder = language_folder(release, language)
    rows: list[Row] = []
    malformed: list[tuple[str, Split]] = []
    for split in SPLITS:
        for line, values in read_records(folder / f"{split}.tsv", "path"):
            if values is None or not _is_plain(values["path"]):
                malformed.append((f"{split}.tsv:{line}", split))
            else:
                rows.append(_row(split, values))
    return Listing(tuple(rows), tuple(malformed))


def with_seconds(release: Path, language: str, rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows with their listed durations; releases before 16.1 list none.

    Raises:
        UserError: the file of durations has not the columns `clip` and `duration[ms]`.
    """
    found = {row.name: row for row in rows}
    path = release / language / DURATIONS
    for _, values in read_records(path, "clip", "duration[ms]") if path.is_file() else ():
        name = _file_name(values["clip"]) if values else ""
        if values and name in found and MILLISECONDS.fullmatch(values["duration[ms]"]):
            found[name] = replace(found[name], seconds=float(values["duration[ms]"]) / 1000)
    return tuple(found.values())


def source_files(release: Path, language: str) -> tuple[tuple[str, int, int], ...]:
    """Name, bytes and modification time (ns) of the tables of a language that exist."""
    paths = [release / language / name for name in (*(f"{split}.tsv" for split in SPLITS), DURATIONS)]
    stats = [(path.name, path.stat()) for path in paths if path.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def home_languages(release: Path) -> Mapping[str, str]:
    """The one home language of each client_id that is found in several languages of the folder."""
    return {client: codes[0] for client, codes in _census(release).items()}


def visitors(release: Path, language: str) -> frozenset[str]:
    """The client_ids in a language that are at home in another one."""
    return frozenset(client for client, codes in _census(release).items() if language in codes[1:])


def _census(release: Path) -> Mapping[str, tuple[str, ...]]:
    """Clients of several languages: the languages of each by falling number of clips, then by code.

    It depends on every language of the folder and not on those of a grid. Kept in the cache, since a whole release
    has millions of rows.
    """
    sources = [(code, source_files(release, code)) for code in languages(release)]
    kept = cache_folder() / "homes" / f"{slug(release.name)}-{short_hash(json.dumps([str(release), sources]))}.json"
    with suppress(OSError, ValueError, AttributeError, TypeError):  # not counted yet, or damaged
        return {client: tuple(codes) for client, codes in json.loads(kept.read_text(encoding="utf-8")).items()}
    counts: dict[str, Counter[str]] = {}
    for code, _ in sources:
        for client, count in Counter(_clients(release / code)).items():
            counts.setdefault(client, Counter())[code] = count
    census = {
        client: tuple(sorted(found, key=lambda code, found=found: (-found[code], code)))  # type: ignore[misc]
        for client, found in sorted(counts.items())
        if len(found) > 1
    }
    with suppress(OSError):  # a cache that can't be written costs time and nothing else
        write_atomically(kept, json.dumps(census))
    return census


def _clients(folder: Path) -> Iterator[str]:
    """The client_id of every row of a language."""
    for split in SPLITS:
        if not (path := folder / f"{split}.tsv").is_file():
            continue
        lines = read_lines(path)
        _, header = next(lines)
        if "client_id" in header:
            column = header.index("client_id")
            yield from (fields[column] for _, fields in lines if len(fields) == len(header) and fields[column])


def _is_language(folder: Path) -> bool:
    return any((folder / f"{split}.tsv").is_file() for split in SPLITS)


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the header and of each line that is not blank.

    Nothing but a newline ends a line, and nothing but a tab a field: quotes, NA and null are text.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield 1, file.readline().rstrip("\r\n").split("\t")
            for number, line in enumerate(file, start=2):
                if text := line.rstrip("\r\n"):
                    yield number, text.split("\t")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_records(path: Path, *required: str) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    """Line number and values by column name of each line; None for a line with another number of fields.

    Raises:
        UserError: as `read_lines`; or a column is missing or there twice.
    """
    lines = read_lines(path)
    _, header = next(lines)
    if missing := [name for name in required if name not in header]:
        raise UserError(f"{path} has no column {missing[0]!r}; its columns: {', '.join(header)}")
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{path} has the column {twice[0]!r} more than once")
    for number, fields in lines:
        yield number, dict(zip(header, fields, strict=True)) if len(fields) == len(header) else None


def _is_plain(name: str) -> bool:
    """Whether it names a file inside `clips/`."""
    return name not in ("", "..") and "\0" not in name and Path(name).name == name


def _file_name(path: str) -> str:
    """The clip's file name; releases before 5 leave ".mp3" out."""
    return path if Path(path).suffix else f"{path}.mp3"


def _row(split: Split, values: Mapping[str, str]) -> Row:
    """One clip out of the old or the new columns."""
    return Row(
        name=_file_name(values["path"]),
        split=split,
        speaker=sys.intern(values.get("client_id", "")),
        gender=GENDER_VALUES.get(values.get("gender", ""), ""),
        sentence=values.get("sentence", ""),
        accents=values.get("accents", values.get("accent", "")),
        variant=values.get("variant", ""),
        age=values.get("age", ""),
        vote_margin=_votes(values.get("up_votes", "")) - _votes(values.get("down_votes", "")),
        item=sys.intern(values.get("item") or _sentence_item(values.get("sentence_id", ""))),
    )


def _votes(text: str) -> int:
    """A number of votes; 0 where the release gives none."""
    return int(text) if VOTES.fullmatch(text) else 0


def _sentence_item(sentence_id: str) -> str:
    """The item of a sentence: 64 bits of the release's own hash tell any two apart."""
    return SENTENCE_ITEM + sentence_id[:16] if sentence_id else ""
