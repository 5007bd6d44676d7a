"""Sends W&B runs that lie in a results folder: `python -m engine sync RESULTS`, and a driver that is online.

`wandb sync` does the sending, several runs at a time; beside a run that has arrived it leaves a file `.synced`, so that
the same command goes on where it stopped. What is still being written is left for later. Everything is bounded in time:
a server that fails or says "later" costs a run a second, and the runs stay on disk.
"""

import logging
import netrc
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from engine.offline import finished_path

logger = logging.getLogger(__name__)
DEFAULT_URL = "https://api.wandb.ai"
ANSWER_SECONDS = 5.0
CHUNK = 64  # runs handed to one `wandb sync`
CHUNK_SECONDS = 600.0  # in which a chunk must arrive; a report and its figures take their time
LAST_SECONDS = 60.0  # that a driver which is through waits for what is not sent
PAUSE_SECONDS = 30.0  # between two rounds of a driver that is online
QUIET_SECONDS = 600.0  # an unfinished run that nobody has written to for so long was cut off


def unsent(results: Path, finished_alone: bool = False) -> list[Path]:
    """The folders of runs that have not arrived, oldest first.

    Args:
        results: a results folder.
        finished_alone: leave out those whose end was not written, also where nobody writes to them any more.
    """
    found = []
    for file in sorted(results.glob("wandb/offline-run-*/*.wandb")):
        if not file.with_name(file.name + ".synced").exists():
            ended = finished_path(file.parent).exists()
            if ended or not (finished_alone or time.time() - file.stat().st_mtime < QUIET_SECONDS):
                found.append(file.parent)
    return found


def answers() -> str:
    """Why the W&B server takes no runs just now; "" if it does."""
    url = os.environ.get("WANDB_BASE_URL", DEFAULT_URL).rstrip("/")
    request = urllib.request.Request(
        f"{url}/graphql", b'{"query": "{ serverInfo { __typename } }"}', {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code} {error.reason}" if error.code == 429 or error.code >= 500 else ""
    except (OSError, ValueError) as error:
        return f"{url} cannot be reached: {getattr(error, 'reason', error)}"
    return ""


def send(runs: list[Path], at_once: int, seconds: float, stopped: Callable[[], bool] = lambda: False) -> str:
    """Sends runs, in chunks.

    Args:
        runs: their folders.
        at_once: runs on their way at a time.
        seconds: in which a chunk must arrive.
        stopped: whether to leave off; asked four times a second.

    Returns:
        Why not every run was sent; "" if all were.
    """
    for start in range(0, len(runs), CHUNK):
        if why := answers():
            return why
        command = [sys.executable, "-m", "wandb", "sync", "-n", str(at_once), *map(str, runs[start : start + CHUNK])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + seconds
            while process.poll() is None:
                if stopped() or time.monotonic() > end:
                    return "no time was left" if stopped() else f"not everything arrived within {seconds:.0f} s"
                time.sleep(0.25)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            return f"wandb sync ended with status {process.returncode}; run it by hand to see why: wandb sync {runs[0]}"
    return ""


@contextmanager
def sending(results: Path, online: bool) -> Iterator[None]:
    """Sends runs as they finish, while the block runs; once more after it, unless it raised, and says what is left."""
    if not online:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_keep_sending, args=(results, over), name="wandb-sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    end = time.monotonic() + LAST_SECONDS  # for all chunks together: a cluster may be waiting
    why = send(unsent(results, finished_alone=True), 8, LAST_SECONDS, lambda: time.monotonic() > end)
    if left := unsent(results):
        logger.warning("%d W&B runs are not sent (%s): python -m engine sync %s", len(left), why, results)


def _keep_sending(results: Path, over: threading.Event) -> None:
    """Sends what is finished, every so often; after a failure less and less often."""
    pause = PAUSE_SECONDS
    while not over.wait(pause):
        try:
            failed = bool(send(unsent(results, finished_alone=True), 8, CHUNK_SECONDS, over.is_set))
        except OSError as error:
            failed = True
            logger.info("W&B: %s", error)
        pause = min(2 * pause, CHUNK_SECONDS) if failed else PAUSE_SECONDS


def has_key() -> bool:
    """Whether W&B knows who sends."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", DEFAULT_URL)).hostname or ""
    try:
        return bool(os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators(host))
    except (OSError, netrc.NetrcParseError):
        return False
