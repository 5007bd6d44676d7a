"""TOML tables checked into frozen dataclasses: unknown keys, missing keys and wrong types are `UserError`s.

The field types it understands are those that TOML can hold: bool, int, float, str, `Literal`, `tuple[X, ...]`,
`Mapping[str, X]`, unions of these, and nested dataclasses. Ranges are checked by each class's `__post_init__`.
"""

import math
import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from grids.errors import UserError, nearest

T = TypeVar("T")
PLACE = {"place": True}  # metadata of a field that says where a file lies whose hash another field has
LATER = {"later": True}  # of a field that came when there were results: at its default it is no part of their identity
WHOLE = range(-(2**63), 2**63)  # integers that TOML, Parquet and torch can hold


def read_toml(path: Path, what: str, make: Callable[[dict[str, Any]], T]) -> T:
    """What `make` makes of a TOML file's table.

    Args:
        path: the file.
        what: it is, for messages.
        make: may raise a `UserError`, which then names the file.

    Raises:
        UserError: no such file, no TOML, or `make` refuses.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {what} {str(path)!r}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, 5,000 digits, a NUL in the path, deep nesting
        raise UserError(f"{path} is not TOML: {error}") from None
    try:
        return make(table)
    except (UserError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from None


def settings(values: Any) -> dict[str, Any]:
    """A dataclass as the table that `from_table` reads: tables in tables, without what follows from the settings."""
    pairs = ((field.name, getattr(values, field.name)) for field in fields(values) if field.init)
    return {name: settings(value) if is_dataclass(value) else value for name, value in pairs}


def from_table(cls: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """Builds the frozen dataclass `cls` from a TOML table.

    Args:
        cls: a dataclass; its fields are the table's keys.
        table: what tomllib read.
        where: the table's name for messages, e.g. "[train]"; empty for the top level.

    Raises:
        UserError: unknown key, missing key, wrong type, or a value that `cls` refuses.
    """
    return cls(**check_table(cls, table, where, partial=False))


def check_table(cls: type, table: Mapping[str, Any], where: str = "", *, partial: bool = True) -> dict[str, Any]:
    """Checks the keys and types of a table against the fields of `cls` and returns the converted values.

    Args:
        cls: a dataclass.
        table: what tomllib read.
        where: the table's name for messages.
        partial: keys without a default may be missing (the values override somebody else's).

    Raises:
        UserError: unknown key, missing key, or wrong type.
    """
    inside = f" in {where}" if where else ""
    if not isinstance(table, Mapping):
        raise UserError(f"{where or 'the file'} is {_name(type(table))}; expected a table")
    allowed = {field.name: field for field in fields(cls) if field.init}
    hints = _hints(cls)
    for key in table:
        if key not in allowed:
            valid = ", ".join(allowed) or "none"
            raise UserError(f"unknown key {key!r}{inside}{nearest(key, allowed)}; valid keys: {valid}")
    if not partial:
        for name, field in allowed.items():
            if name not in table and field.default is MISSING and field.default_factory is MISSING:
                raise UserError(f"key {name!r} is missing{inside}; it has no default")
    return {key: _convert(value, hints[key], f"{key}{inside}") for key, value in table.items()}


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields."""
    return get_type_hints(cls)


def _convert(value: Any, hint: Any, what: str) -> Any:
    """Returns `value` as the type `hint` says, or raises a `UserError` that names both."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, int) and value not in WHOLE:
        raise UserError(f"{what} is {value}; allowed: integers from -2^63 to 2^63 - 1")
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{what} is {value!r}; no text holds the character NUL")
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
        close = nearest(value, [a for a in arguments if isinstance(a, str)]) if isinstance(value, str) else ""
        raise UserError(f"{what} is {value!r}{close}; allowed: {', '.join(map(repr, arguments))}")
    if origin in (types.UnionType, Union):
        return _convert_union(value, arguments, hint, what)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, arguments[0], f"an item of {what}") for item in value)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _convert(item, arguments[1], f"{key!r} of {what}") for key, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return from_table(hint, value, f"[{what}]")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{what} is {value}; expected a finite number")
    if isinstance(hint, type) and origin is None and type(value) is hint:
        return value
    raise UserError(f"{what} is {value!r}, of type {_name(type(value))}; expected {_name(hint)}")


def _convert_union(value: Any, members: tuple[Any, ...], hint: Any, what: str) -> Any:
    """The first member of the union that takes the value."""
    given = [member for member in members if member is not types.NoneType]
    if value is None and len(given) < len(members):  # in JSON; TOML has no None
        return None
    if len(given) == 1:
        return _convert(value, given[0], what)
    for member in given:
        try:
            return _convert(value, member, what)
        except UserError:
            continue
    raise UserError(f"{what} is {value!r}, of type {_name(type(value))}; expected {_name(hint)}")


def _name(hint: Any) -> str:
    """What a person calls a type: "an integer", "a list of strings"."""
    plain = {
        bool: "true or false", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table",
    }  # fmt: skip
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return "a list, each item " + _name(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (types.UnionType, Union):
        return " or ".join(_name(member) for member in arguments if member is not types.NoneType)
    if is_dataclass(hint) or (origin is not None and issubclass(origin, Mapping)):
        return "a table"
    return plain.get(hint, getattr(hint, "__name__", str(hint)))
