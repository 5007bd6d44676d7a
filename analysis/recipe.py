"""How a report was made, kept beside it: the command's options, with paths relative to the report's folder.

`python -m analysis.verify` reads it to compute the same again, also after results and report were moved together.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from grids.errors import UserError
from grids.files import write_atomically

RECIPE_FILE = "recipe.json"


def write_recipe(options: argparse.Namespace, out: Path) -> Path:
    """Writes the options of a command, all but where it wrote to."""
    kept = {name: _pack(value, out) for name, value in sorted(vars(options).items()) if name != "out"}
    write_atomically(out / RECIPE_FILE, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return out / RECIPE_FILE


def read_recipe(folder: Path) -> argparse.Namespace:
    """The options that `write_recipe` wrote.

    Raises:
        UserError: there is no recipe, or it is damaged.
    """
    path = folder / RECIPE_FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return argparse.Namespace(**{name: _unpack(value, folder) for name, value in kept.items()}, out=None)
    except OSError:
        raise UserError(
            f"{str(folder)!r} has no {RECIPE_FILE}; give a report that python -m analysis.cltm wrote"
        ) from None
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _pack(value: Any, out: Path) -> Any:
    """A value as JSON can hold it; a path as {"path": relative to the report}."""
    if isinstance(value, Path):
        return {"path": os.path.relpath(value.resolve(), out.resolve())}
    return [_pack(item, out) for item in value] if isinstance(value, list | tuple) else value


def _unpack(value: Any, folder: Path) -> Any:
    """The way back."""
    if isinstance(value, dict):
        return Path(os.path.normpath(folder / value["path"]))
    return [_unpack(item, folder) for item in value] if isinstance(value, list) else value
