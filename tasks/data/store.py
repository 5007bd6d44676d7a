"""The prepared store: a flat file of samples and a manifest a language. Opening it needs neither release nor grid."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from grids.errors import UserError
from tasks.data.audio import SAMPLE_TYPE
from tasks.data.cache import slug
from tasks.data.clips import SENTENCE_ITEM, Clip
from tasks.data.common_voice import Row
from tasks.data.staging import staged

AUDIO = "audio.i16"
MANIFEST = "manifest.parquet"
REPORT = "report.json"
OPEN_LANGUAGES = 64
CLIP_COLUMNS = tuple(field.name for field in fields(Clip) if field.name != "language")
REPEATING_COLUMNS = ("speaker", "gender", "split", "item", "accent")
FURTHER_COLUMNS = ("accents", "variant", "age")


@dataclass(frozen=True)
class PreparedLanguage:
    """A language's clips and their samples.

    Attributes:
        language: the code.
        clips: test, dev and train.
        sha: hash of what the clips are (name, speaker, gender, accent, sentence, split, samples), not where they lie.
        samples: (T,) int16, all clips one after the other; read-only and memory-mapped.
    """

    language: str
    clips: tuple[Clip, ...]
    sha: str
    samples: npt.NDArray[np.int16]

    def wave(self, clip: Clip) -> npt.NDArray[np.int16]:
        """The clip's samples, (T,) int16 at 16 kHz: a read-only view of the file."""
        return self.samples[clip.offset : clip.offset + clip.length]


@lru_cache(maxsize=OPEN_LANGUAGES)
def open_language(folder: Path, language: str) -> PreparedLanguage:
    """Opens a prepared language; a process opens it once.

    Args:
        folder: `Corpus.folder`.
        language: the code.

    Raises:
        UserError: it is not prepared, or the audio file has not the length that the manifest says.
    """
    place = language_place(folder, language)
    if not (place / MANIFEST).is_file():
        raise UserError(f"language {language!r} is not prepared in {folder}; run: python -m tasks.data prepare")
    sha = read_sha(folder, language)
    with _whole(place / MANIFEST):
        table = pq.read_table(place / MANIFEST, columns=list(CLIP_COLUMNS))
        columns = [_values(table, name) for name in CLIP_COLUMNS]
        clips = tuple(Clip(language, *values) for values in zip(*columns, strict=True))
        end = clips[-1].offset + clips[-1].length
    audio = staged(place / AUDIO, sha, clips)
    with _whole(place / AUDIO):
        samples = np.memmap(audio, dtype=SAMPLE_TYPE, mode="r").view(np.ndarray)
    if end != samples.size:
        raise UserError(f"{audio} is damaged: {samples.size} samples, not {end}; remove {place} and prepare again")
    return PreparedLanguage(language, clips, sha, samples)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turns what a damaged file raises into one line.

    Raises:
        UserError: the file is damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}; remove {path.parent} and prepare again") from None


def _values(table: pa.Table, column: str) -> list[Any]:
    """A column's values; texts that repeat are one object each, which halves what an open language occupies."""
    values = table.column(column).to_pylist()
    return [sys.intern(value) for value in values] if column in REPEATING_COLUMNS else values


def language_place(folder: Path, language: str) -> Path:
    """Where a language lies in a prepared folder."""
    return folder / slug(language)


def refused_report(folder: Path, language: str) -> Path:
    """Where the report of a language lies that was refused."""
    place = language_place(folder, language)
    return place.with_name(f"{place.name}.refused.json")


def read_sha(folder: Path, language: str) -> str:
    """The language's `PreparedLanguage.sha`, without reading its clips.

    Raises:
        UserError: the manifest is damaged.
    """
    path = language_place(folder, language) / MANIFEST
    with _whole(path):
        return str(pq.read_schema(path).metadata[b"sha"].decode())


def write_manifest(path: Path, clips: Sequence[Clip], rows: Sequence[Row]) -> None:
    """Writes the manifest: the clips, in the order of the audio file, and what else the release says of each.

    Args:
        path: the Parquet file.
        clips: of one language, at least one.
        rows: the listed row of each clip.
    """
    columns = {name: [getattr(clip, name) for clip in clips] for name in CLIP_COLUMNS}
    columns |= {name: [getattr(row, name) for row in rows] for name in FURTHER_COLUMNS}
    table = pa.table(columns).replace_schema_metadata({"sha": _content_sha(clips)})
    pq.write_table(table, path, compression="zstd")


def _content_sha(clips: Sequence[Clip]) -> str:
    """Hash of the clips' content, in their order.

    An item that follows from the sentence, and an unknown accent, add nothing to it.
    """
    digest = hashlib.sha256()
    for clip in clips:
        content: tuple[str, ...] = (clip.name, clip.speaker, clip.gender, clip.sentence, clip.split, clip.sha)
        content += () if clip.item.startswith(SENTENCE_ITEM) or not clip.item else (clip.item,)
        content += ("accent", clip.accent) if clip.accent else ()
        digest.update(json.dumps(content).encode() + b"\n")
    return digest.hexdigest()
