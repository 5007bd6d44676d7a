"""`python -m engine`: plan, run, status, sync, dashboard, doctor."""

import argparse
import sys
from pathlib import Path

from grids.errors import one_line_errors


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 only if the grid has no holes left."""
    options = _parser().parse_args(arguments)
    from engine import commands

    match options.command:
        case "status":
            return commands.status(options.results)
        case "sync":
            return commands.sync(options.results, options.n, options.dry_run)
        case "dashboard":
            return commands.dashboard(options.results, options.entity)
        case "doctor":
            return commands.doctor(options.grid)
    asked = commands.Asked(options.grid, options.results, options.languages, options.seeds, options.only)
    return commands.plan(asked, options.pilot) if options.command == "plan" else commands.run(asked)


def _parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="Run a grid of transfer experiments.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("plan", "say what a grid will train, what is missing and what it will take"),
        ("run", "train and score what is missing; exit status 0 when the grid, or the part asked for, has no holes"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("grid", metavar="GRID", help="a grid file, e.g. grids/demo.toml")
        where = "results folder (default: results/<grid name>)"
        command.add_argument("--results", type=Path, metavar="DIR", help=where)
        among = "only trials all of whose languages are among these"
        command.add_argument("--languages", default="", metavar="ca,es", help=among)
        command.add_argument("--seeds", default="", metavar="0-3,7", help="only these seeds")
        command.add_argument("--only", default="", metavar="base,self,cross", help="only these kinds of trials")
    commands.choices["plan"].add_argument(
        "--pilot", action="store_true", help="train three cells first; say hours, effects that can be called, seeds"
    )
    for name, what in (
        ("status", "say what a results folder holds, and why trials failed; reads the folder alone"),
        ("sync", "send a results folder's W&B runs; the same command goes on"),
        ("dashboard", "make a W&B workspace and a report for a results folder's project"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("results", type=Path, metavar="RESULTS", help="results folder")
    command = commands.choices["sync"]
    command.add_argument("--dry-run", action="store_true", help="say what would be sent")
    command.add_argument("-n", type=int, default=8, metavar="N", help="runs on their way at a time (default: 8)")
    commands.choices["dashboard"].add_argument("--entity", default="", help="W&B user or team (default: your own)")
    what = "check this machine, each finding with its fix"
    command = commands.add_parser("doctor", help=what, description=what)
    command.add_argument("grid", nargs="?", metavar="GRID", help="a grid file whose model is looked for")
    return parser


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
