"""What the docstrings of public names must say, as far as it can be measured: shapes, errors, arguments.

Ruff asks for a docstring everywhere, in Google's form. Not covered: whether a formula's source is named, or true.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_house import ROOT, SOURCES

ARRAYS = re.compile(r"\b(ndarray|NDArray|Floats|Bools|Ints|Tensor)\b")
SHAPE = re.compile(r"shape \(\)|\((?:[A-Z][A-Z0-9]*|n|\.\.\.|len\(\w+\)|\d+)(?:,[^()]*)?\)")  # (B, T), (L,), (..., S)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_names(path: Path) -> Iterator[Function | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of the latter."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (one for one in node.body if isinstance(one, Function) and not one.name.startswith("_"))


def functions(path: Path) -> Iterator[tuple[Function, str, dict[str, str]]]:
    """Public functions, their docstrings, and the annotations of what they take ("return": what they give)."""
    for node in public_names(path):
        if isinstance(node, Function):
            given = node.args
            further = [one for one in (given.vararg, given.kwarg) if one]
            taken = [*given.posonlyargs, *given.args, *given.kwonlyargs, *further]
            types = {one.arg: ast.unparse(one.annotation or one) for one in taken}
            yield node, ast.get_docstring(node) or "", types | {"return": ast.unparse(node.returns or node.args)}


def raised(node: Function) -> set[str]:
    """The errors that a function itself raises, by name; what it calls may raise more."""
    errors = (one.exc for one in ast.walk(node) if isinstance(one, ast.Raise) and one.exc is not None)
    calls = {ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in errors}
    return {name for name in calls if name.endswith("Error")} - {"AssertionError"}


by_module = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


@by_module
def test_public_names_have_a_docstring(path: Path) -> None:
    assert [node.name for node in public_names(path) if not ast.get_docstring(node)] == []


@by_module
def test_arrays_come_with_their_shape(path: Path) -> None:
    silent = [
        node.name for node, text, types in functions(path)
        if any(ARRAYS.search(kind) for kind in types.values()) and not SHAPE.search(text)
    ]  # fmt: skip
    assert silent == []


@by_module
def test_errors_are_named_where_they_are_raised(path: Path) -> None:
    silent = [(node.name, error) for node, text, _ in functions(path) for error in raised(node) if error not in text]
    assert silent == []


@by_module
def test_an_args_section_names_every_argument_and_no_other(path: Path) -> None:
    wrong = []
    for node, text, taken in functions(path):
        section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", text, re.MULTILINE)
        listed = re.findall(r"^ {4}(\w+(?:, \w+)*):", section[1], re.MULTILINE) if section else []
        named = {name for names in listed for name in names.split(", ")}
        if section and (differing := (named ^ {*taken}) - {"self", "cls", "return"}):
            wrong.append((node.name, differing))
    assert wrong == []


@by_module
def test_records_are_frozen(path: Path) -> None:
    decorated = [one for node in public_names(path) for one in node.decorator_list if "dataclass" in ast.unparse(one)]
    assert [ast.unparse(one) for one in decorated if "frozen=True" not in ast.unparse(one)] == []


def test_the_rules_see_what_they_are_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'def silent(values: "Floats", other: int) -> None:\n    """Does.\n\n    Args:\n        other: it.\n    """\n'
        "    raise UserError\n"
    )
    rules = (
        test_arrays_come_with_their_shape, test_errors_are_named_where_they_are_raised,
        test_an_args_section_names_every_argument_and_no_other,
    )  # fmt: skip
    for rule in rules:
        with pytest.raises(AssertionError):
            rule(module)
