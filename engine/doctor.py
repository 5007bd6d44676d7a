"""Checks of a machine: what a run needs, whether it is there, and how to mend it."""

import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.mps import PROGRAM, in_use
from engine.sync import answers, has_key
from grids.files import expanded
from grids.grid import NO_BACKBONE, Grid
from grids.machine import LONGEST_SOCKET_PATH, RAY_SOCKET
from grids.resources import Resources, Tracking
from tasks.data.cache import cache_folder

SHARED_MEMORY_BYTES = 512 * 1024**2
FREE_DISK_BYTES = 5 * 1024**3
ANSWER_SECONDS = 5.0  # of a cluster or a SLURM controller


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, whether it is fine, what was found, and the mend."""

    what: str
    fine: bool
    found: str
    fix: str


def examine(grid: Grid | None = None) -> list[Finding]:
    """Every check, with a grid also what it asks for. One that cannot even be made counts as wrong, with its error."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python, _torch, _audio, _synthetic, _cache, _shared_memory, _socket_path, _slurm, _ray, _wandb,
    )  # fmt: skip
    findings = []
    for check in checks:
        try:
            findings.append(check())
        except Exception as error:  # a broken package may raise anything
            name = check.__name__.strip("_")
            fix = "set up again: rm -rf .venv && make setup"
            if isinstance(error, OSError):
                fix = f"make {error.filename or 'it'} readable and writable, or set CLTM_CACHE to such a folder"
            findings.append(Finding(name, False, f"{type(error).__name__}: {error}", fix))
    return [*findings, *([_sharing(grid.resources), _model(grid.model.backbone)] if grid else [])]


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0], "use Python 3.11 or newer")


def _torch() -> Finding:
    import torch
    import torchaudio

    device = "no GPU"
    if torch.cuda.is_available():
        device = f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    found = f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, {device}"
    if device == "no GPU" and shutil.which("nvidia-smi"):
        fix = f"torch is made for CUDA {torch.version.cuda}; update the driver, or ask SLURM for a GPU (nvidia-smi)"
        return Finding("torch", subprocess.run(["nvidia-smi"], capture_output=True).returncode != 0, found, fix)
    same = torch.__version__.split("+")[0] == torchaudio.__version__.split("+")[0]
    return Finding("torch", same, found, "install the pair that constraints.txt pins: torch and torchaudio must agree")


def _audio() -> Finding:
    """Writes a second of MP3 and decodes it."""
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(48_000) / 20), 48_000, format="MP3")
    buffer.seek(0)
    samples, rate = soundfile.read(buffer)
    fine = rate == 48_000 and abs(len(samples) - 48_000) < 4_800
    return Finding("MP3", fine, f"libsndfile {soundfile.__libsndfile_version__}", "pip install --upgrade soundfile")


def _synthetic() -> Finding:
    there = all(importlib.util.find_spec(name) for name in ("espeakng_loader", "babel"))
    fix = "pip install 'cltm-engine[synthetic]' (only the synthetic corpus needs it)"
    return Finding("synthetic", there, "espeak-ng is installed" if there else "espeak-ng is missing", fix)


def _cache() -> Finding:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    fix = "set CLTM_CACHE to a folder on a larger disk"
    return Finding("cache", free > FREE_DISK_BYTES, f"{folder}, {free / 1024**3:.0f} GiB free", fix)


def _shared_memory() -> Finding:
    free = shutil.disk_usage("/dev/shm").free
    fix = "give the container a larger /dev/shm (docker: --shm-size=1g), or Ray falls back to /tmp"
    return Finding("/dev/shm", free > SHARED_MEMORY_BYTES, f"{free / 1024**2:.0f} MiB free", fix)


def _socket_path() -> Finding:
    length = len(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()) + "/ray" + RAY_SOCKET)
    fix = "set RAY_TMPDIR to a short, node-local path such as /tmp"
    return Finding(
        "temp path", length <= LONGEST_SOCKET_PATH, f"sockets of {length} bytes, {LONGEST_SOCKET_PATH} allowed", fix
    )


def _slurm() -> Finding:
    there = shutil.which("scontrol")
    if not there:
        return Finding("SLURM", True, "not on this machine", "")
    asked = subprocess.run([there, "ping"], capture_output=True, text=True, timeout=ANSWER_SECONDS)
    found = f"{there}, job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else there
    settled = "SLURM_CONF" in os.environ or Path("/etc/slurm/slurm.conf").exists()
    fix = "scontrol ping fails: use a login or compute node, or ask who runs the cluster"
    return Finding("SLURM", asked.returncode == 0 or not settled, found, fix)


def _ray() -> Finding:
    """Version, address and token; that a cluster answers at the address."""
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    found = f"{ray.__version__}, {f'cluster {address}' if address else 'local'}"
    found += f", token {'found' if token.exists() else 'not made yet'}"
    if token.exists() and token.stat().st_mode & 0o044 and all(p.stat().st_mode & 0o011 for p in token.parents):
        return Finding("Ray", False, f"{found}, which others can read", f"chmod 600 {token}")
    if address and os.environ.get("RAY_AUTH_MODE") == "disabled":
        return Finding("Ray", False, found, "unset RAY_AUTH_MODE: a cluster's token authentication stays on")
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if address:
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        return Finding("Ray", False, f"{found}: {error}", "set RAY_ADDRESS to host:port of a running head, or unset it")
    return Finding("Ray", True, found, "")


def _wandb() -> Finding:
    import wandb

    mode = Tracking().mode(os.environ)
    why = "" if mode != "online" else answers() if has_key() else "no key"
    found = f"{wandb.__version__}, {mode}" + (f": {why}" if why else "")
    return Finding("W&B", not why, found, "export WANDB_API_KEY, or WANDB_MODE=offline and engine sync later")


def _sharing(resources: Resources) -> Finding:
    """Whether trials can share a GPU as the grid asks. A GPU in an exclusive mode takes a single process."""
    what, modes = "GPU sharing", _compute_modes()
    if resources.gpus and not modes and "RAY_ADDRESS" not in os.environ:
        fix = "run it where a GPU is, or set gpus_per_trial = 0 in [resources]"
        return Finding(what, False, f"gpus_per_trial = {resources.gpus:g}, but no GPU is here", fix)
    if resources.sharing == "processes" or not modes:
        return Finding(what, True, f"{resources.sharing}{'' if modes else ', no GPU is here'}", "")
    if in_use():
        return Finding(what, True, "mps, by a daemon that runs already", "")
    if shutil.which(PROGRAM) is None:
        fix = "install the part of NVIDIA's driver that has it (nvidia-compute-utils), or set sharing = 'processes'"
        return Finding(what, False, f"mps, but {PROGRAM} is not on PATH", fix)
    fix = "ask who runs the machine for the compute mode Default, or for an MPS daemon of the site's own"
    return Finding(what, modes == {"Default"}, f"mps, compute mode {', '.join(sorted(modes))}", fix)


def _compute_modes() -> set[str]:
    """The compute modes of this machine's GPUs; none where there is no GPU."""
    command = ["nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return set()
    return set(asked.stdout.split()) if asked.returncode == 0 else set()


def _model(backbone: str) -> Finding:
    """Whether a hub's model is in the cache; needed where nothing can be downloaded."""
    from huggingface_hub import constants, try_to_load_from_cache

    from tasks.backbones import BUILT_IN

    here = backbone in (*BUILT_IN, NO_BACKBONE) or expanded(backbone).is_dir()
    here = here or isinstance(try_to_load_from_cache(backbone, "config.json"), str)
    found = f"{backbone}: {'here' if here else 'not here'}{', no downloads' if constants.HF_HUB_OFFLINE else ''}"
    fix = "python -m cluster prefetch GRID on a machine with a network, with the same HF_HOME"
    return Finding("model", here or not constants.HF_HUB_OFFLINE, found, fix)
