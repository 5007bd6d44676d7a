"""What the commands of `python -m cluster` do and print."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.script import Request, job_script
from cluster.site import load_site
from engine.store import Store
from grids.errors import UserError
from grids.files import expanded, write_atomically
from grids.grid import SYNTHETIC, load
from tasks.data.collective import fetch, missing

QUEUE = "%.14i %.10T %.11M %.11l %.5D %R"  # job, state, time used, limit, nodes, nodes' names or why it waits

# In a process of its own: nothing here imports torch. Whoever wants a model's hash needs the model.
FETCH = "import sys, tasks; from grids.grid import load; print(tasks.make_task(load(sys.argv[1])).weights_sha())"


def submit(request: Request, site: Path | None, dry_run: bool) -> int:
    """Shows the job script and hands it to SLURM; keeps it beside the results, named by the job's number."""
    script = job_script(load_site(site), request)
    print(script)  # noqa: T201
    if dry_run:
        return 0
    folder = _jobs_folder(request.results)
    folder.mkdir(parents=True, exist_ok=True)
    job = _slurm(["sbatch", "--parsable"], script).strip().partition(";")[0]
    write_atomically(folder / f"{job}.sh", script)
    print(f"submitted: job {job}; its log: {folder}/{job}*.log")  # noqa: T201
    print(f"to see how it stands: python -m cluster status {request.results}")  # noqa: T201
    return 0


def status(results: Path) -> int:
    """Prints the jobs of a results folder that SLURM still has, then what the folder holds. Returns the engine's.

    Raises:
        UserError: no job was submitted for the folder, or there is no SLURM.
    """
    known = {path.stem for path in _jobs_folder(results).glob("[0-9]*.sh")}
    if not known:
        raise UserError(f"no job was submitted for {str(results)!r}; python -m cluster submit does that")
    head, *lines = _slurm(["squeue", "--me", f"--format={QUEUE}"]).splitlines()
    waiting = [line for line in lines if re.split(r"[_\s]", line.strip())[0] in known]
    print("\n".join([head, *waiting]) if waiting else "no job of this folder is in the queue", flush=True)  # noqa: T201
    if not Store(results).grid_path.exists():
        print("no trial has started yet")  # noqa: T201
        return 1
    return subprocess.run([sys.executable, "-m", "engine", "status", str(results)], check=False).returncode


def prefetch(path: str) -> int:
    """Brings the data and the models that a grid needs to this machine. Returns 0 if all are there.

    Raises:
        UserError: the grid can't be used, or data or a model is not to be had.
    """
    grid = load(path)
    if grid.corpus != SYNTHETIC:
        release = expanded(grid.corpus)
        for language in missing(release, grid.all_languages()):
            print(f"fetching {release.name} {language}", flush=True)  # noqa: T201
            fetch(release, language)
    done = subprocess.run([sys.executable, "-c", FETCH, path], capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1].rpartition("UserError: ")[2])
    print(f"what {path} needs of the model hub is here: {done.stdout.strip() or 'nothing'}")  # noqa: T201
    return 0


def request_for(path: str, results: Path | None, time: str, nodes: int, shards: int, after: str) -> Request:
    """The request that the command line stands for; paths become absolute."""
    grid = load(path)
    folder = results if results is not None else grid.results
    name = f"cltm-{grid.name}"
    absolute = Path(path).resolve(), folder.resolve(), Path.cwd()
    return Request(name, *absolute, sys.executable, time, nodes, shards, after, grid.resources.sharing)


def _jobs_folder(results: Path) -> Path:
    """Where a results folder keeps the scripts and logs of its jobs."""
    return results / "slurm"


def _slurm(command: Sequence[str], script: str | None = None) -> str:
    """What a command of SLURM answers.

    Raises:
        UserError: there is no SLURM here, or it refuses.
    """
    if shutil.which(command[0]) is None:
        raise UserError(f"no {command[0]} on this machine: submit from a login node, or show the script with --dry-run")
    done = subprocess.run(command, input=script, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
