"""Bad input, made at random: values, damaged files, arguments; and what may come of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st

from grids.errors import Exit, UserError, one_line_errors

T = TypeVar("T")

NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"))
WORDS = ("", " ", "ca", "ca,es", "no", "all", "base", "toy", "synthetic", "0-3", "1e999999999", "²", "1_0", "nan",
         "-inf", "../..", "/", "/dev/null", "~nobody/x", "x" * 300, "a\nb", "a\x00b", "a\udcffb", "%s", "$HOME",
         "[bold]", "{x}", "語", "--", "-1", "ca+es", "ca>es", "0.1*ca", "1/0*ca", "*", "+", ">", ",")  # fmt: skip
numbers = st.sampled_from(NUMBERS) | st.integers() | st.floats()
words = st.sampled_from(WORDS) | st.text(max_size=12)
scalars = numbers | words | st.booleans() | st.dates() | st.none()
garbage = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


def changed(valid: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Nested tables that were right before keys were replaced, added or taken away, at any depth."""

    def damage(table: dict[str, Any], keys: list[str], value: Any, gone: bool) -> dict[str, Any]:
        key, *deeper = [key for key in keys if key in table] or keys
        if deeper and isinstance(table.get(key), dict):
            return {**table, key: damage(table[key], deeper, value, gone)}
        return {k: v for k, v in table.items() if k != key} if gone else {**table, key: value}

    names = sorted({*valid, *(key for inner in valid.values() if isinstance(inner, dict) for key in inner)})
    keys = st.lists(st.sampled_from(names) | words, min_size=1, max_size=3)
    hits = st.lists(st.tuples(keys, garbage, st.booleans()), min_size=1, max_size=3)

    def apply(found: list[tuple[list[str], Any, bool]]) -> dict[str, Any]:
        table = valid
        for path, value, gone in found:
            table = damage(table, path, value, gone)
        return table

    return hits.map(apply)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """A file's bytes, cut short, with bytes replaced, inserted or doubled; or any other bytes."""

    def apply(cut: int, places: list[tuple[int, bytes]]) -> bytes:
        data = bytearray(content[:cut])
        for place, piece in places:
            place %= len(data) + 1
            data[place : place + len(piece) // 2] = piece
        return bytes(data)

    pieces = st.tuples(st.integers(0, 2**16), st.binary(max_size=6) | words.map(_utf8))
    cuts = st.integers(0, len(content)) | st.just(len(content))
    return st.builds(apply, cuts, st.lists(pieces, max_size=4)) | st.binary(max_size=200)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def read(call: Callable[[], T], named: object = "", refused: type[Exception] = UserError) -> T | None:
    """What a reader gives, or None where it refuses and names the file; whatever else it raises fails the test."""
    try:
        return call()
    except refused as error:
        message = str(error)
    assert message.strip()
    assert str(named) in message
    return None


def ends_well(main: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> int:
    """The exit status of a command: argparse's, or its own with one line about a mistake, and no traceback."""
    sys.stderr.reconfigure(errors="backslashreplace")  # as the interpreter has it
    try:
        status = one_line_errors(main)
    except SystemExit as left:
        status, told = int(left.code or 0), True  # by argparse
    else:
        told = status != Exit.MISTAKE
    said = capsys.readouterr().err
    assert status in (Exit.COMPLETE, Exit.HOLES, Exit.MISTAKE)
    if not told:
        assert said.startswith("error: ")
        assert said.count("\n") == 1
    return status


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file with these bytes."""
    path = folder / name
    path.write_bytes(content)
    return path
