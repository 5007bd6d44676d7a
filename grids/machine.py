"""What programs take of a machine and how they leave it, for whoever starts them: `engine` here, `cluster` on nodes."""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONTEXT_BYTES = 600 * 1024**2  # of a GPU: a CUDA context and its libraries, which PyTorch does not count
OBJECT_STORE_BYTES = 256 * 1024**2  # paths travel, arrays do not
LONGEST_SOCKET_PATH = 107  # bytes, of a Unix socket
RAY_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"  # in Ray's temporary folder
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@contextmanager
def no_descendants() -> Iterator[None]:
    """Ends every process that was started in the block, by whatever child, when the block ends.

    Orphans become this process's own children, so that none can be missed and no other is met. Children that were there
    before stay, with theirs.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    try:
        yield
    finally:
        while pids := set(children.read_text().split()) - before:
            for pid in map(int, pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in map(int, pids):
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
