"""What a job runs on each of its nodes, as job steps.

    python -m cluster.node address --peer HOST        this node's address, as HOST sees it
    python -m cluster.node ports JOB                  ports that begin a free block, a line each
    python -m cluster.node start head|worker ...      one node of Ray at RAY_ADDRESS, until SIGTERM
    python -m cluster.node wait N                     until N nodes of Ray are there

When `start` ends, nothing of its Ray is left: no process, and no file.
"""

import argparse
import fcntl
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import get_args

from engine.mps import serving
from grids.errors import UserError, one_line_errors
from grids.machine import OBJECT_STORE_BYTES, no_descendants
from grids.resources import Sharing

PORTS = (
    "port", "dashboard-port", "ray-client-server-port", "node-manager-port", "object-manager-port",
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port",
)  # fmt: skip
HEAD_PORTS = PORTS[:3]
FIRST_PORT, BLOCK, BLOCKS, CANDIDATES = 10_000, 20, 1_000, 20  # all below what systems hand out by themselves
START_SECONDS = 300.0
SIOCGIFADDR = 0x8915  # linux/sockios.h


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster.node", description="What a job runs on its nodes.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("address")
    command.add_argument("--peer", required=True)
    command.add_argument("--interface", default="")
    commands.add_parser("ports").add_argument("job", type=int)
    commands.add_parser("wait").add_argument("nodes", type=int)
    command = commands.add_parser("start")
    command.add_argument("kind", choices=["head", "worker"])
    command.add_argument("--temp", type=Path, required=True)
    command.add_argument("--interface", default="")
    command.add_argument("--stage", default="")
    command.add_argument("--sharing", choices=get_args(Sharing), default="processes")
    options = parser.parse_args(arguments)
    if options.command == "address":
        print(own_address(options.peer, options.interface))  # noqa: T201
    elif options.command == "ports":
        print(*free_blocks(options.job), sep="\n")  # noqa: T201
    elif options.command == "wait":
        return _wait(options.nodes)
    else:
        return _start(options.kind == "head", options.temp, options.interface, options.stage, options.sharing)
    return 0


def own_address(peer: str, interface: str = "") -> str:
    """The IPv4 address of a network device, or else the one that packets to `peer` leave from.

    Raises:
        UserError: no such device, or no way to the peer.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            if interface:
                request = struct.pack("256s", interface.encode()[:15])
                return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24])
            probe.connect((peer, 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError as error:
            where = f"network device {interface!r}" if interface else f"way to {peer!r}"
            raise UserError(f"{socket.gethostname()} has no {where}: {error.strerror}") from None


def free_blocks(job: int) -> list[int]:
    """First ports of free blocks of ports, out of those that a job's number leads to; other jobs' come first there."""
    starts = (FIRST_PORT + BLOCK * ((job + 37 * number) % BLOCKS) for number in range(CANDIDATES))
    return [start for start in starts if all(_is_free(start + offset) for offset in range(len(PORTS)))]


def ray_command(head: bool, address: str, own: str, temp: Path) -> list[str]:
    """The command that starts a node of Ray with the job's ports and SLURM's resources.

    Args:
        head: whether this is Ray's head.
        address: HOST:PORT of the head; the port begins the block.
        own: this node's address.
        temp: folder for sockets and logs.
    """
    first = int(address.rpartition(":")[2])
    ports = [f"--{name}={first + offset}" for offset, name in enumerate(PORTS) if head or name not in HEAD_PORTS]
    return [
        sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block",
        *(["--head"] if head else [f"--address={address}"]), f"--node-ip-address={own}", *ports,
        "--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--num-cpus={os.environ['SLURM_CPUS_ON_NODE']}", f"--num-gpus={os.environ.get('SLURM_GPUS_ON_NODE', '0')}",
        *([f"--temp-dir={temp}"] if head else []),
    ]  # fmt: skip


def _start(head: bool, temp: Path, interface: str, stage: str, sharing: Sharing) -> int:
    """Holds one node of Ray until it ends or SIGTERM comes. Returns its exit status."""
    address = os.environ["RAY_ADDRESS"]
    host = address.rpartition(":")[0]
    own = host if head else own_address(host, interface)
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        stack.enter_context(_own_folder(temp))
        stack.enter_context(serving(sharing == "mps", temp))  # ends after its clients
        environment = {**os.environ, "TMPDIR": str(temp)}
        if stage:
            stack.enter_context(_own_folder(Path(stage)))
            environment["CLTM_STAGE"] = stage
        stack.enter_context(no_descendants())
        if not head and not _answers(address):
            raise UserError(f"Ray's head at {address} does not answer within {START_SECONDS:g} s")
        return subprocess.Popen(ray_command(head, address, own, temp), env=environment).wait()


def _wait(nodes: int) -> int:
    """Waits until all nodes of Ray are there, or the time is over. Returns 0 if there is a head at all."""
    import ray

    address = os.environ["RAY_ADDRESS"]
    if not _answers(address):
        return 1
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    end = time.monotonic() + START_SECONDS
    while (found := sum(node["Alive"] for node in ray.nodes())) < nodes and time.monotonic() < end:
        time.sleep(0.5)
    if found < nodes:
        print(f"{found} of {nodes} nodes of Ray have started; going on with these")  # noqa: T201
    return 0


def _answers(address: str) -> bool:
    """Waits until somebody listens there."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        time.sleep(0.2)
    return False


def _is_free(port: int) -> bool:
    """Whether nobody listens on a port of this node."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


@contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """A new folder that only its owner may enter, gone afterwards; what an earlier run of the job left goes before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the step in order; a second one changes nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
