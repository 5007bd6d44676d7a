"""Parallel corpora in layouts of their own, as releases in Common Voice layout: FLEURS, CoVoST 2, MaSS, any other.

`open_parallel(folder)` recognises one of four layouts, writes tables into the cache and links the audio there; nothing
is copied or decoded, and all else reads a release as any other. Each row has an `item`, the id of its meaning, which
all languages share. `translations.tsv` beside the languages has a row an item and a column a language.

    FLEURS    <language>/{train,dev,test}.tsv without header, audio/<split>/*.wav (the archives unpacked)
    CoVoST 2  <language>/covost_v2.<source>_<target>.tsv beside Common Voice's clips/ and tables
    MaSS      <language>/**/*_verse_<n>.wav and .txt, as its scripts cut and name the verses
    another   parallel.tsv with the columns item, language, path, split, sentence; also client_id and gender; paths from
              the folder on

A language's text of a meaning may come without audio (CoVoST's targets): it is in `translations.tsv` alone. An item is
in one split: in test if any language's tables say test, else in dev if any says dev. MaSS publishes no splits: a tenth
of the verses are test, a tenth dev, by a hash of the verse.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from grids.errors import UserError
from grids.files import expanded
from tasks.data.cache import cache_folder, explained, new_folder, short_hash, slug
from tasks.data.clips import Split
from tasks.data.common_voice import SPLITS, read_lines, read_records
from tasks.data.selection import SPLIT_RANK, rank

RECIPE = 1  # raise it with every change of what is written
COLUMNS = ("client_id", "path", "sentence", "gender", "item")
GENERIC, TRANSLATIONS, FOUND = "parallel.tsv", "translations.tsv", "found.tsv"
COVOST = re.compile(r"covost_v2\.(?P<source>[^_]+)_(?P<target>[^_]+)\.tsv")
VERSE = re.compile(r"(?P<book>[AB][0-9]{2})_+(?P<chapter>[0-9]{1,3})_.*_verse_(?P<verse>[0-9]{1,3})")
MASS_CODES = {
    "basque": "eu", "english": "en", "finnish": "fi", "french": "fr", "hungarian": "hu", "romanian": "ro",
    "russian": "ru", "spanish": "es",
}  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """A recording of a meaning.

    Attributes:
        language: the code.
        item: the meaning.
        audio: the file; it may be missing.
        split: as the corpus says.
        sentence: what is said; "" if unknown.
        speaker: "" if unknown.
        gender: "female", "male", or "" if unknown.
        translations: the same in languages that have no recording of it.
    """

    language: str
    item: str
    audio: Path
    split: Split
    sentence: str
    speaker: str = ""
    gender: str = ""
    translations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its file name in the release."""
        return self.audio.name


@dataclass(frozen=True)
class Layout:
    """One of the four layouts: its name, the tables that it is read from, and what they list."""

    name: str
    tables: tuple[Path, ...]
    read: Callable[[Sequence[Path]], Iterator[Spoken]]


def layout_of(folder: Path) -> Layout | None:
    """The layout that a folder has; None if it is no parallel corpus in a layout of its own."""
    if (folder / GENERIC).is_file():
        return Layout("parallel.tsv", (folder / GENERIC,), _generic)
    if covost := tuple(sorted(path for path in folder.glob("*/covost_v2.*.tsv") if COVOST.fullmatch(path.name))):
        return Layout("CoVoST 2", covost, _covost)
    tables = tuple(sorted(path for split in SPLITS for path in folder.glob(f"*/{split}.tsv")))
    if tables and _is_fleurs(tables[0]):
        return Layout("FLEURS", tables, _fleurs)
    verses = () if tables else tuple(sorted(path for path in folder.glob("*/**/*_verse_*.wav") if _verse(path)))
    return Layout("MaSS", verses, _mass) if verses else None


def open_parallel(corpus: str | Path) -> Path | None:
    """The release that stands for a parallel corpus, made unless it is there; None for any other folder.

    Raises:
        UserError: a table is not as its layout says, or lists nothing that is there.
    """
    folder = expanded(corpus).resolve()
    layout = layout_of(folder) if folder.is_dir() else None
    if layout is None:
        return None
    stats = [(str(path), stat.st_size, stat.st_mtime_ns) for path in layout.tables for stat in [path.stat()]]
    release = cache_folder() / "parallel" / f"{slug(folder.name)}-{short_hash(json.dumps([RECIPE, stats]))}"
    if not release.is_dir():
        spoken = tuple(layout.read(layout.tables))
        with explained(f"the tables of {folder}", release.parent), new_folder(release) as temporary:
            _write(temporary, _one_split(spoken), check=layout.name == "CoVoST 2")
    return release


def shares_found(release: Path) -> Mapping[str, tuple[int, int]]:
    """Language -> paths listed and found, of a release that lists only what was found; else empty."""
    if not (release / FOUND).is_file():
        return {}
    rows = [values for _, values in read_records(release / FOUND, "language", "listed", "found") if values]
    return {row["language"]: (int(row["listed"]), int(row["found"])) for row in rows}


def _one_split(spoken: Sequence[Spoken]) -> list[Spoken]:
    """The same, with each item in the most held-out split that any of its rows has."""
    split: dict[str, Split] = {}
    for row in spoken:
        split[row.item] = min(split.get(row.item, row.split), row.split, key=SPLIT_RANK.__getitem__)
    return [replace(row, split=split[row.item]) for row in spoken]


def _write(release: Path, spoken: Sequence[Spoken], *, check: bool) -> None:
    """Writes tables, links and translations; with `check`, of files that are there alone, and the share of these."""
    kept = [row for row in spoken if not check or row.audio.is_file()]
    if not kept:
        raise UserError(f"none of {len(spoken)} listed paths is there, e.g. {spoken[0].audio if spoken else 'none'}")
    listed, found = (Counter(row.language for row in rows) for rows in (spoken, kept))
    if check:
        lines = [(language, str(count), str(found[language])) for language, count in sorted(listed.items())]
        _write_tsv(release / FOUND, [("language", "listed", "found"), *lines])
    for language in sorted(found):
        _write_language(release / language, [row for row in kept if row.language == language])
    _write_tsv(release / TRANSLATIONS, _translations(kept))


def _write_language(folder: Path, rows: Sequence[Spoken]) -> None:
    """One language's tables, and its audio as links, each file once."""
    (folder / "clips").mkdir(parents=True)
    files: dict[str, Path] = {}
    for row in rows:
        if files.setdefault(row.name, row.audio) != row.audio:
            raise UserError(f"{row.audio} and {files[row.name]} have one name; a language's file names must differ")
    for name, audio in files.items():
        (folder / "clips" / name).symlink_to(audio)
    for split in SPLITS:
        own = ((r.speaker, r.name, r.sentence, r.gender, r.item) for r in rows if r.split == split)
        _write_tsv(folder / f"{split}.tsv", [COLUMNS, *own])


def _translations(spoken: Iterable[Spoken]) -> Iterator[tuple[str, ...]]:
    """Header and rows: each item in each language, in what it was first said or translated there."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for row in spoken:
        for language, text in ((row.language, row.sentence), *row.translations.items()):
            if text:
                texts[row.item].setdefault(language, text)
    codes = sorted({language for said in texts.values() for language in said})
    yield ("item", *codes)
    for item, said in sorted(texts.items()):
        yield (item, *(said.get(code, "") for code in codes))


def _write_tsv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Writes rows; tabs and line ends inside a cell become spaces."""
    lines = ("\t".join(" ".join(cell.split()) for cell in row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _generic(tables: Sequence[Path]) -> Iterator[Spoken]:
    """The rows of `parallel.tsv`."""
    (path,) = tables
    for line, row in read_records(path, "item", "language", "path", "split", "sentence"):
        if row is None or not row["item"] or not row["language"] or not row["path"]:
            raise UserError(f"{path}, line {line}: not as many cells as the header, or no item, language or path")
        audio = (path.parent / row["path"]).resolve()
        if not audio.is_relative_to(path.parent.resolve()):
            raise UserError(f"{path}, line {line}: path {row['path']!r} leaves the folder")
        split = _split(row["split"], f"{path}, line {line}")
        speaker, gender = row.get("client_id", ""), row.get("gender", "")
        yield Spoken(row["language"], row["item"], audio, split, row["sentence"], speaker, gender)


def _is_fleurs(table: Path) -> bool:
    """Whether a table begins as FLEURS' do: seven cells, a number, a WAV file."""
    _, cells = next(read_lines(table))
    return len(cells) == 7 and cells[0].isdecimal() and cells[1].endswith(".wav")


def _fleurs(tables: Sequence[Path]) -> Iterator[Spoken]:
    """Rows of id, file_name, raw_transcription, transcription, chars, num_samples, gender.

    Raises:
        UserError: a row has other cells, or the archive of a split is not unpacked.
    """
    for table in tables:
        language, split = table.parent.name, _split(table.stem, str(table))
        audio = table.parent / "audio" / split
        if not audio.is_dir():
            raise UserError(f"{audio} is no folder; unpack {audio}.tar.gz there")
        for line, cells in read_lines(table):
            if len(cells) != 7 or not cells[0].isdecimal() or Path(cells[1]).name != cells[1]:
                raise UserError(f"{table}, line {line}: 7 cells, the first a number and the second a file; got {cells}")
            yield Spoken(language, cells[0], audio / cells[1], split, cells[2], gender=cells[6].lower())


def _covost(tables: Sequence[Path]) -> Iterator[Spoken]:
    """Rows of path, translation, split, client_id; clips of one sentence, by Common Voice's tables, are one item."""
    for source in sorted({_covost_pair(table)[0] for table in tables}):
        own = [table for table in tables if _covost_pair(table)[0] == source]
        sentences = _covost_sentences(own[0].parent)
        rows: dict[str, Spoken] = {}
        for table in own:
            for line, row in read_records(table, "path", "translation", "split", "client_id"):
                if row is None:
                    continue  # a tab in a translation; the published files have a few
                name, where = Path(row["path"]).name, f"{table}, line {line}"
                sentence = sentences.get(name, "")
                item = f"{source}-{short_hash(sentence or name)}"
                audio = table.parent / "clips" / name
                made = Spoken(source, item, audio, _split(row["split"], where), sentence, row["client_id"])
                said = {**rows.get(name, made).translations, _covost_pair(table)[1]: row["translation"]}
                rows[name] = replace(made, translations=said)
        yield from rows.values()


def _covost_pair(table: Path) -> tuple[str, str]:
    """Source and target of a table."""
    found = COVOST.fullmatch(table.name)
    assert found, "the layout lists only such names"
    return found["source"], found["target"]


def _covost_sentences(folder: Path) -> Mapping[str, str]:
    """File name -> sentence, of the Common Voice tables that lie beside."""
    tables = (folder / f"{name}.tsv" for name in ("validated", *SPLITS))
    records = (row for path in tables if path.is_file() for _, row in read_records(path, "path", "sentence"))
    return {Path(row["path"]).name: row["sentence"] for row in records if row}


def _mass(tables: Sequence[Path]) -> Iterator[Spoken]:
    """Verses; the text of each is the file of its name beside it or in another folder of the language."""
    for folder in sorted({_language_of(path) for path in tables}):
        texts = {path.stem: path for path in folder.rglob("*_verse_*.txt")}
        name = folder.name.removesuffix("_corpus")
        for audio in (path for path in tables if _language_of(path) == folder):
            item = _verse(audio)
            text = texts[audio.stem].read_text(encoding="utf-8") if audio.stem in texts else ""
            tenth = rank("MaSS", item)[0] % 10
            split: Split = "test" if tenth == 0 else "dev" if tenth == 1 else "train"
            yield Spoken(MASS_CODES.get(name, name), item, audio, split, text)


def _language_of(audio: Path) -> Path:
    """The language's folder, whose parent is the corpus: the outermost one with the language's verses."""
    names = {*MASS_CODES, *(f"{name}_corpus" for name in MASS_CODES)}
    return next((parent for parent in audio.parents if parent.name in names), audio.parent.parent)


def _verse(path: Path) -> str:
    """Book, chapter and verse, which all translations number alike ("B01-05-003"); "" for another file."""
    found = VERSE.match(path.stem)
    return f"{found['book']}-{int(found['chapter']):02}-{int(found['verse']):03}" if found else ""


def _split(text: str, where: str) -> Split:
    """The split that a text names; "validation" and "valid" are dev.

    Raises:
        UserError: none.
    """
    for split in SPLITS:
        if {"validation": "dev", "valid": "dev"}.get(text, text) == split:
            return split
    raise UserError(f"{where}: split {text!r}; allowed: {', '.join(SPLITS)}")
