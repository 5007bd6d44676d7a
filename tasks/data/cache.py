"""Where prepared data lives, how a name becomes a folder's name, and how a folder appears complete or not at all."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
import soundfile

from grids.errors import UserError
from grids.files import expanded, is_full

LEFTOVER_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """The folder of everything that can be made again: `$CLTM_CACHE`, otherwise the user's cache folder."""
    named = os.environ.get("CLTM_CACHE")
    return expanded(named).resolve() if named else platformdirs.user_cache_path("cltm")


def short_hash(text: str) -> str:
    """Twelve hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def slug(text: str) -> str:
    """A folder name for any text: the text itself if it is safe, otherwise what is safe of it and a hash.

    Safe codes (`no`, `zh-CN`, `cmn_hans_cn`) stay as they are; two texts never share a slug.
    """
    safe = re.sub(r"^\.+|[^A-Za-z0-9_.-]+", "-", text)[:80]
    return text if text and safe == text else f"{safe}~{short_hash(text)}"


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Gives an empty folder beside `place` to fill; it takes the place when the block ends, and goes if it fails.

    A folder that was there before is replaced; who has its files open keeps them.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    temporary = _temporary(place)
    temporary.mkdir()
    try:
        yield temporary
        while not _take(temporary, place):
            old = _temporary(place)
            with suppress(FileNotFoundError):  # another process was faster
                place.rename(old)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock; on file systems without locks it does not wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _temporary(path: Path) -> Path:
    """A name of its own for each call, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _take(temporary: Path, place: Path) -> bool:
    """Renames the folder; False if another one is in the place."""
    try:
        temporary.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _sweep(folder: Path) -> None:
    """Removes the temporary folders of processes that were killed a day ago or earlier."""
    for leftover in folder.glob(".*.tmp"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (leftover, *leftover.glob("*")))
            if time.time() - newest > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def explained(what: str, folder: Path) -> Iterator[None]:
    """Turns what keeps a file from being written into one line.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except (OSError, soundfile.LibsndfileError) as error:
        full = is_full(error) or not isinstance(error, OSError)  # libsndfile fails without a number on a full disk
        reason = "no space left (an hour of audio takes 115 MB)" if full else getattr(error, "strerror", str(error))
        hint = "the environment variable CLTM_CACHE names another folder"
        raise UserError(f"cannot write {what} to {folder}: {reason}; {hint}") from error
