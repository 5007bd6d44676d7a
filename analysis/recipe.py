"""How a report was made, kept beside it: command, arguments with paths relative to the report's folder, files written.

`python -m analysis.verify` reads it to compute the same again, also after results and report were moved together. A
later run of the same command into the same folder takes away the files of the earlier one that it did not write.
"""

import argparse
import contextlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grids.errors import UserError
from grids.files import write_atomically

RECIPE_FILE = "recipe.json"
WRITTEN = (".json", ".csv", ".parquet", ".pdf", ".svg", ".png", ".html", ".tex")  # what a recipe can take away


@dataclass(frozen=True)
class Recipe:
    """What `recipe.json` says.

    Attributes:
        folder: the report's.
        command: the parser's name.
        arguments: its command line, but for where it wrote to.
        files: all that it wrote, relative to the folder.
    """

    folder: Path
    command: str
    arguments: tuple[str, ...]
    files: tuple[str, ...]

    def options(self, parser: argparse.ArgumentParser) -> argparse.Namespace:
        """The options, as the command's own parser reads them, with paths that hold here.

        Raises:
            UserError: the parser does not take the arguments.
        """
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                options = parser.parse_args(self.arguments)
        except SystemExit:
            why = said.getvalue().strip().rpartition("error: ")[2].splitlines()[-1]
            raise UserError(f"{self.folder / RECIPE_FILE} is damaged, or of another version: {why}") from None
        for name, value in vars(options).items():
            setattr(options, name, _here(value, self.folder))
        return options


def record(parser: argparse.ArgumentParser, options: argparse.Namespace, out: Path, files: Sequence[Path]) -> None:
    """Takes away what an earlier run of the command wrote and this one did not, and writes the recipe.

    Args:
        parser: the command's; `source` are its positional arguments.
        options: what it read.
        out: the report's folder.
        files: all that was written.
    """
    names = tuple(sorted(path.relative_to(out).as_posix() for path in files))
    with contextlib.suppress(UserError):
        earlier = read_recipe(out)
        if earlier.command == parser.prog:
            _remove(out, {*earlier.files} - {*names})
    content = {"command": parser.prog, "arguments": _arguments(parser, options, out), "files": names}
    write_atomically(out / RECIPE_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_recipe(folder: Path) -> Recipe:
    """Reads a report's recipe.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / RECIPE_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe(folder, found["command"], tuple(found["arguments"]), tuple(found["files"]))
    except OSError:
        raise UserError(f"{str(folder)!r} has no {RECIPE_FILE}; give the folder of a report") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        recipe = None
    if recipe is None or not all(isinstance(text, str) for text in (recipe.command, *recipe.arguments, *recipe.files)):
        raise UserError(f"{path} is damaged, or of another version: command, arguments and files are needed")
    return recipe


def _remove(out: Path, names: set[str]) -> None:
    """Removes files inside a report's folder, and folders that they leave empty."""
    inside = [out / name for name in names if Path(name).suffix in WRITTEN and ".." not in Path(name).parts]
    for path in inside:
        if path.is_file() and path.resolve().is_relative_to(out.resolve()):
            path.unlink()
            if path.parent != out and not any(path.parent.iterdir()):
                path.parent.rmdir()


def _arguments(parser: argparse.ArgumentParser, options: argparse.Namespace, out: Path) -> list[str]:
    """The command line that gives these options: what is not the default, then the sources."""
    arguments = []
    for name, value in sorted(vars(options).items()):
        if name in ("source", "out") or value == parser.get_default(name):
            continue
        option = "--" + name.replace("_", "-")
        repeated = value if isinstance(value, list) and isinstance(value[0], tuple) else [value]
        arguments += [option] if value is True else [f"{option}={_text(one, out)}" for one in repeated]
    return [*arguments, "--", *(_text(path, out) for path in options.source)]


def _text(value: Any, out: Path) -> str:
    """A value as the command line takes it: a path relative to the report, a,list or name=file."""
    if isinstance(value, Path):
        return os.path.relpath(value.resolve(), out.resolve())
    if isinstance(value, list | tuple):
        return ("=" if isinstance(value, tuple) else ",").join(_text(one, out) for one in value)
    return str(value)


def _here(value: Any, folder: Path) -> Any:
    """A value whose paths hold here."""
    if isinstance(value, Path):
        return Path(os.path.normpath(folder / value))
    return type(value)(_here(one, folder) for one in value) if isinstance(value, list | tuple) else value
