"""`python -m cluster`: a grid as a SLURM job: submit, status, prefetch."""

import argparse
import sys
from pathlib import Path

from grids.errors import one_line_errors


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    from cluster import commands

    if options.command == "status":
        return commands.status(options.results)
    if options.command == "prefetch":
        return commands.prefetch(options.grid)
    asked = (options.grid, options.results, options.time, options.nodes, options.shards, options.after)
    return commands.submit(commands.request_for(*asked), options.site, options.dry_run)


def _parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description="Run a grid on a SLURM cluster.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "write a job script, show it, submit it"
    command = commands.add_parser("submit", help=what, description=what)
    command.add_argument("grid", help="a grid file, e.g. grids/demo.toml")
    command.add_argument("--time", required=True, help="limit of a job, e.g. 12:00:00; it queues itself again")
    command.add_argument("--nodes", type=int, default=1, help="nodes of the job (1)")
    command.add_argument("--shards", type=int, default=0, metavar="K", help="instead: K independent jobs of one node")
    command.add_argument("--site", type=Path, metavar="FILE", help="what this cluster needs; see cluster/sites")
    command.add_argument("--results", type=Path, help="shared results folder (default: results/<grid name>)")
    command.add_argument("--after", default="", metavar="JOB", help="start when this job has ended")
    command.add_argument("--dry-run", action="store_true", help="show the script and submit nothing")
    what = "say what the queue and the results folder hold"
    command = commands.add_parser("status", help=what, description=what)
    command.add_argument("results", type=Path, help="results folder")
    what = "bring what compute nodes cannot fetch; run it on the login node"
    command = commands.add_parser("prefetch", help=what, description=what)
    command.add_argument("grid", help="a grid file")
    return parser


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
