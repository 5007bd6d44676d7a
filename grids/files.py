"""Files that are either complete or absent."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from grids.errors import UserError

PARTIAL = ".partial-"  # what the name of a file that is being written begins with


def expanded(name: str | Path) -> Path:
    """The path with the home folder in place of "~"; a "~name" that nobody has stays as it is."""
    with suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


def named_file(key: str, name: str, allowed: str) -> Path:
    """The file that a key of [options] names.

    Args:
        key: the key.
        name: its value.
        allowed: what the file is, for people.

    Raises:
        UserError: no such file, or the path is relative: workers have another working directory.
    """
    path = expanded(name)
    if not (path.is_absolute() and path.is_file()):
        what = "no such file" if path.is_absolute() else "no absolute path"
        raise UserError(f"{key} in [options] is {name!r}: {what}; allowed: {allowed}")
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder to write to; what was written takes the place of `path`.

    Whoever looks sees the old file or the new one, never a part. If the block or the disk fails, the old one stays. The
    temporary name keeps the suffix, since libraries choose a format by it.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing_to(folder: Path, name: str = "the folder") -> Iterator[None]:
    """Makes a folder for what the block writes there.

    Args:
        folder: it and its parents are made.
        name: what it is, for people.

    Raises:
        UserError: the folder cannot be made, or the block cannot write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"cannot write to {name} {str(folder)!r}: {error.strerror or error}") from None


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or a quota, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file as `replacing` does; a text as UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
