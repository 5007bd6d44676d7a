"""What one cluster needs to be told, in one TOML file; `sites/` holds examples. What it says is checked here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grids.errors import require
from grids.machine import LONGEST_SOCKET_PATH, RAY_SOCKET
from grids.schema import from_table, read_toml

JOB_FOLDER = "/r-0123456789"  # a job's folder in `temp_dir`
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
NAMES = ("account", "partition", "qos", "memory", "interface")


@dataclass(frozen=True)
class Container:
    """An Apptainer image that everything runs in.

    Attributes:
        image: the image's path; empty: no container.
        binds: folders of the node to see inside, e.g. "/project" or "/scratch:/data". Apptainer itself binds the home
            folder, /tmp and the working directory.
        options: further options of `apptainer exec`, e.g. "--nv" for NVIDIA GPUs.
    """

    image: str = ""
    binds: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def command(self) -> tuple[str, ...]:
        """What stands before a command that runs inside."""
        if not self.image:
            return ()
        return ("apptainer", "exec", *self.options, *(f"--bind={bind}" for bind in self.binds), self.image)


@dataclass(frozen=True)
class Site:
    """One cluster.

    Attributes:
        account: that pays; empty, here and below: SLURM's default.
        partition: the queue.
        qos: quality of service.
        sbatch: further options of sbatch, e.g. "--constraint=a100".
        cpus_per_node: cores to ask for on each node; 0: whole nodes.
        gpus_per_node: GPUs to ask for on each node.
        memory: to ask for on each node, e.g. "64G"; "0": all of it.
        modules: to load.
        python: the interpreter, here or in the container; empty: the one that submits.
        container: the image that everything runs in.
        temp_dir: short, node-local folder for Ray's sockets.
        node_local: folder on each node's own disk; may hold $VARIABLES of the job. If it is given, each node copies the
            prepared audio that it uses there, once.
        interface: network device that nodes reach each other by, e.g. "ib0"; empty: as SLURM's addresses are routed.
        grace_seconds: how long before the limit the job begins to stop; longer than most trainings, if possible.
        environment: further variables, e.g. CLTM_CACHE or HF_HOME. No secrets: scripts are read by others.
    """

    account: str = ""
    partition: str = ""
    qos: str = ""
    sbatch: tuple[str, ...] = ()
    cpus_per_node: int = 0
    gpus_per_node: int = 0
    memory: str = ""
    modules: tuple[str, ...] = ()
    python: str = ""
    container: Container = Container()
    temp_dir: str = "/tmp"
    node_local: str = ""
    interface: str = ""
    grace_seconds: int = 180
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in NAMES:
            value = getattr(self, name)
            plain = re.fullmatch(r"[\w.,@+:-]*", value) is not None
            require(plain, f"{name} is {value!r}; allowed: letters, digits and any of . , @ + : - _")
        for name in ("cpus_per_node", "gpus_per_node"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; allowed: >= 0")
        require(self.grace_seconds >= 30, f"grace_seconds is {self.grace_seconds}; allowed: >= 30")
        named = bool(self.container.image) or self.container == Container()
        require(named, "[container] has no image; it names the file that apptainer runs")
        for option in self.sbatch:
            right = re.fullmatch(r"--?\w[^\n]*", option) is not None
            require(right, f"sbatch holds {option!r}; allowed: options such as '--constraint=a100'")
        self._check_folders()
        for name in self.environment:
            known = re.fullmatch(r"[A-Za-z_]\w*", name) is not None and not SECRET.search(name)
            require(known, f"environment names {name!r}; allowed: names of variables that hold no key or token")

    def _check_folders(self) -> None:
        """The temporary folder is short enough for sockets; the node-local one holds variables and no commands."""
        plain = re.fullmatch(r"/[\w./-]*", self.temp_dir) is not None
        require(plain, f"temp_dir is {self.temp_dir!r}; allowed: an absolute path of letters, digits, . / - _")
        longest = LONGEST_SOCKET_PATH - len(JOB_FOLDER + RAY_SOCKET)
        short = len(self.temp_dir) <= longest
        require(short, f"temp_dir is {self.temp_dir!r}, {len(self.temp_dir)} bytes; sockets allow {longest}")
        right = re.fullmatch(r"([/$][\w./${}-]*)?", self.node_local) is not None
        require(right, f"node_local is {self.node_local!r}; allowed: an absolute path, which may hold $VARIABLES")


def load_site(path: Path | None) -> Site:
    """Reads a site file; without one, SLURM's defaults.

    Raises:
        UserError: no such file, no TOML, an unknown key, a wrong value.
    """
    return Site() if path is None else read_toml(path, "site file", lambda table: from_table(Site, table))
