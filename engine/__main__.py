"""`python -m engine`: plan, run, status, sync, dashboard, doctor."""

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
    command = commands.add_parser("sync", help="send a results folder's W&B runs; the same command goes on")
    command.add_argument("results", type=Path, help="results folder")
    command.add_argument("--dry-run", action="store_true", help="say what would be sent")
    command.add_argument("-n", type=int, default=8, metavar="N", help="runs on their way at a time (default: 8)")
    command = commands.add_parser("dashboard", help="make a W&B workspace and a report for a results folder's project")
    command.add_argument("results", type=Path, help="results folder")
    command.add_argument("--entity", default="", help="W&B user or team (default: your own)")
    command = commands.add_parser("doctor", help="check this machine, each finding with its fix")
    command.add_argument("grid", nargs="?", help="a grid file whose model is looked for")
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
    if options.command == "sync":
        return lambda: commands.sync(options.results, options.n, options.dry_run)
    if options.command == "dashboard":
        return lambda: commands.dashboard(options.results, options.entity)
    return lambda: commands.doctor(options.grid)


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
