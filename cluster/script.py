"""The job script: a pure function of the site and of what is asked for. `job.sh` is its second, constant part."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.site import Site
from grids.errors import UserError
from grids.resources import Sharing

BODY = Path(__file__).with_name("job.sh")
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
END_SECONDS = 15  # of the grace, for ending Ray and queueing again
SWITCHES = {
    "WANDB_MODE": "offline",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # what compute nodes have no network for; a site's environment stands above it


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        name: of the job.
        grid: the grid file, absolute.
        results: the results folder, absolute, on storage that all nodes share.
        folder: the working directory, absolute.
        python: the interpreter, unless the site names one.
        time: the limit as SLURM writes it, e.g. "12:00:00".
        nodes: of the job.
        shards: independent jobs of one node each, that fill one results folder; 0: one job.
        after: job that has to end before; empty: none.
        sharing: how trials share a GPU, as the grid says; "mps" starts a daemon on each node.
    """

    name: str
    grid: Path
    results: Path
    folder: Path
    python: str
    time: str
    nodes: int = 1
    shards: int = 0
    after: str = ""
    sharing: Sharing = "processes"

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.shards < 0:
            raise UserError(f"--nodes is {self.nodes} and --shards {self.shards}; allowed: >= 1")
        if self.shards and self.nodes > 1:
            raise UserError(f"--shards sends jobs of one node each; got --nodes {self.nodes} too")
        if not re.fullmatch(r"(\d+(_\d+)?)?", self.after):
            raise UserError(f"--after is {self.after!r}; allowed: the number of a job")
        if odd := sorted(set(str(self.results)) & set("%\n\"'\\")):
            raise UserError(f"results folder {str(self.results)!r} holds {odd[0]!r}, which SLURM reads in its own way")


def seconds(time: str) -> int:
    """What a time limit means: minutes, m:s, h:m:s, d-h, d-h:m or d-h:m:s.

    Raises:
        UserError: it is none of these. Source: sbatch(1), --time.
    """
    match = TIME.fullmatch(time)
    if match is None:
        raise UserError(f"--time is {time!r}; allowed: minutes, h:m:s or d-h:m:s, e.g. 12:00:00")
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    if days is not None or len(numbers) == 3:
        hours, minutes, last = [*numbers, 0, 0][:3]
    else:
        hours, (minutes, last) = 0, [*numbers, 0][:2]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + last


def job_script(site: Site, request: Request) -> str:
    """The text of the job script.

    Raises:
        UserError: the time limit leaves no time to work.
    """
    if seconds(request.time) <= site.grace_seconds:
        raise UserError(f"--time is {request.time!r}, no longer than the site's grace_seconds = {site.grace_seconds}")
    command = (*site.container.command(), site.python or request.python)
    stage = f"{site.node_local}/cltm-$SLURM_JOB_ID" if site.node_local else ""
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {option}" for option in _options(site, request)),
        "",
        *(f"module load {shlex.quote(module)}" for module in site.modules),
        "set -euo pipefail",
        f"cd {shlex.quote(str(request.folder))}",
        *_exports({**SWITCHES, **site.environment}),
        f"python=({_words(command)})",
        f"grid={shlex.quote(str(request.grid))}",
        f"results={shlex.quote(str(request.results))}",
        f"temp_dir={shlex.quote(site.temp_dir)}",
        f'stage="{stage}"',
        f"interface={shlex.quote(site.interface)}",
        f"sharing={request.sharing}",
        f"patience={site.grace_seconds - END_SECONDS}",
        "",
    ]
    return "\n".join(lines) + BODY.read_text(encoding="utf-8")


def _options(site: Site, request: Request) -> Iterator[str]:
    """What sbatch reads on top of the script."""
    each = "%A_%a" if request.shards else "%j"
    cores = f"--cpus-per-task={site.cpus_per_node}" if site.cpus_per_node else "--exclusive"
    yield from (f"--job-name={shlex.quote(request.name)}", f"--time={request.time}", f"--nodes={request.nodes}")
    yield from ("--ntasks-per-node=1", cores, "--requeue", "--open-mode=append")
    yield f"--signal=B:USR1@{site.grace_seconds}"
    yield f"--output={shlex.quote(f'{request.results}/slurm/{each}.log')}"
    for name, value in (
        ("account", site.account), ("partition", site.partition), ("qos", site.qos), ("mem", site.memory),
        ("gpus-per-node", site.gpus_per_node), ("dependency", request.after and f"afterany:{request.after}"),
        ("array", request.shards and f"0-{request.shards - 1}"),
    ):  # fmt: skip
        if value:
            yield f"--{name}={value}"
    yield from site.sbatch


def _exports(variables: dict[str, str]) -> Iterator[str]:
    """A line a variable."""
    return (f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _words(words: Sequence[str]) -> str:
    """Words of a command, each quoted."""
    return " ".join(shlex.quote(word) for word in words)
