"""`python -m engine`: plan, run, status, doctor."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from grids.errors import one_line_errors


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 only if the grid has no holes left."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="Run a grid of transfer experiments.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("plan", "say what a grid will train, what is missing and what it will take"),
        ("run", "train and score what is missing; exit status 0 when the grid, or the part asked for, has no holes"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("grid", help="a grid file, e.g. grids/demo.toml")
        command.add_argument("--results", type=Path, help="results folder (default: results/<grid name>)")
        command.add_argument("--languages", default="", help="only trials all of whose languages are among: ca,es")
        command.add_argument("--seeds", default="", help="only these seeds: 0-3,7")
        command.add_argument("--only", nargs="+", default=[], help="only these kinds of trials: base self cross")
    commands.choices["plan"].add_argument(
        "--pilot", action="store_true", help="train three cells first; say hours, effects that can be called, seeds"
    )
    command = commands.add_parser("status", help="say what a results folder holds; reads the folder alone")
    command.add_argument("results", type=Path, help="results folder")
    commands.add_parser("doctor", help="check this machine, each finding with its fix")
    options = parser.parse_args(arguments)
    return _command(options)()


def _command(options: argparse.Namespace) -> Callable[[], int]:
    """The function behind a command, imported only when it is used."""
    from engine import commands

    if options.command in ("plan", "run"):
        asked = commands.Asked(options.grid, options.results, options.languages, options.seeds, tuple(options.only))
        return (
            (lambda: commands.plan(asked, options.pilot)) if options.command == "plan" else lambda: commands.run(asked)
        )
    if options.command == "status":
        return lambda: commands.status(options.results)
    return commands.doctor


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
