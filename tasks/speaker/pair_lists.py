"""Lists of verification pairs that somebody else made: VoxCeleb's, Kaldi's, and names followed by a label.

One text file a language, `<language>.txt`, one pair a line, all lines of one format:

    1 a.wav b.wav               label first (VoxCeleb)
    a.wav b.wav target          or nontarget (Kaldi)
    a.wav b.wav 1               label last

A name is a clip's file name, with or without its suffix. Clips of another language are named `es/a.wav`.
"""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grids.errors import UserError
from grids.files import sha256_of
from tasks.data.clips import Clip

if TYPE_CHECKING:
    import pandas as pd

LABELS = {"1": True, "target": True, "0": False, "nontarget": False}
LINES_AT_ONCE = 200_000  # bounds the memory of reading
FORMATS = "label a b, or a b label, with 1, 0, target or nontarget as label"


def list_path(folder: Path, language: str) -> Path:
    """Where the list of a language lies."""
    return folder / f"{language}.txt"


def lists_sha(folder: Path) -> str:
    """Hash of all lists of a folder, names and bytes; one that is not there has that of no list."""
    every = [f"{path.name} {sha256_of(path)}" for path in sorted(folder.glob("*.txt"))]
    return hashlib.sha256("\n".join(every).encode()).hexdigest()


def read_list(path: Path, clips: Sequence[Clip], *, alone: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads a list, in bounded memory beside its result.

    Args:
        path: of the list.
        clips: those that it may name; the first is of the list's own language.
        alone: the clips of other languages are not at hand; a name with a slash may be one of theirs (place -1).

    Returns:
        Left and right, (P,) int64 indices into the clips, and same, (P,) bool.

    Raises:
        UserError: the file can't be read, a line is no pair, or its clip is unknown (names file and line); or all
            pairs are of one kind.
    """
    import pandas as pd

    places = _places(clips)
    names, numbers = pd.Index(list(places)), np.array(list(places.values()), dtype=np.int64)
    parts: list[np.ndarray] = []
    try:
        with pd.read_csv(
            path, sep=r"\s+", header=None, names=list(range(4)), dtype=str, na_filter=False, quoting=csv.QUOTE_NONE,
            skip_blank_lines=False, chunksize=LINES_AT_ONCE, encoding="utf-8",
        ) as chunks:  # fmt: skip
            columns: tuple[int, ...] = ()
            for chunk in chunks:
                lines = chunk.fillna("")
                columns = columns or _columns(lines, path)
                parts.append(_rows(lines, columns, names, f"{path}:", alone=alone))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
        raise UserError(f"cannot read the pairs in {str(path)!r}: {why}") from None
    left, right, label = np.concatenate(parts, axis=1)
    same = label.astype(bool)
    if not same.any() or same.all():
        raise UserError(f"{path}: all {len(same)} pairs are of one kind; a score needs same and different speakers")
    return numbers[left], numbers[right], same


def _places(clips: Sequence[Clip]) -> Mapping[str, int]:
    """What a list may call each clip -> its index; a whole file name goes before one without its suffix."""
    own, places = clips[0].language, dict[str, int]()
    whole = [clip.name for clip in clips]
    for names in (whole, [name.removesuffix(Path(name).suffix) for name in whole]):
        for number, (name, clip) in enumerate(zip(names, clips, strict=True)):
            if clip.language == own:
                places.setdefault(name, number)
            places.setdefault(f"{clip.language}/{name}", number)
    return places


def _columns(lines: "pd.DataFrame", path: Path) -> tuple[int, int, int]:
    """Where the first line has its two names and its label."""
    if lines.empty:
        raise UserError(f"{path} is empty; needed are lines of {FORMATS}")
    first = [str(word) for word in lines.iloc[0]]
    if first[2] in LABELS and first[0] not in ("0", "1"):
        return 0, 1, 2
    if first[0] in ("0", "1"):
        return 1, 2, 0
    raise UserError(f"{path}:1: {' '.join(first).strip()!r} is no pair; needed is {FORMATS}")


def _rows(lines: "pd.DataFrame", columns: Sequence[int], names: "pd.Index", where: str, *, alone: bool) -> np.ndarray:
    """(3, P) places of both names, and the label.

    Raises:
        UserError: names the first line that is no pair of known clips.
    """
    import pandas as pd

    left, right = (names.get_indexer(pd.Index(lines[column])) for column in columns[:2])
    unknown = [(place < 0) & ~(alone & lines[column].str.contains("/", regex=False).to_numpy())
               for place, column in zip((left, right), columns[:2], strict=True)]  # fmt: skip
    label = lines[columns[2]].map(LABELS)
    malformed = (label.isna() | (lines[[0, 1, 2]] == "").any(axis=1) | (lines[3] != "")).to_numpy()
    bad = np.flatnonzero(malformed | unknown[0] | unknown[1])
    if len(bad):
        first = bad[0]
        line, words = lines.index[first] + 1, lines.iloc[first]
        if malformed[first]:
            raise UserError(f"{where}{line}: {' '.join(words).strip()!r} is no pair; needed is {FORMATS}")
        name = words[columns[0] if unknown[0][first] else columns[1]]
        hint = "; clips of another language need evaluate = 'all'" if "/" in name else ""
        raise UserError(f"{where}{line}: {name!r} is no test clip that is scored here{hint}")
    return np.stack([left, right, label.to_numpy(dtype=np.int64)])
