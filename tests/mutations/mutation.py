"""One mutation: the code with one text replaced, and whether the tests notice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "results", "build", "dist", "wandb")
LIMIT_S = 600.0  # for the tests of one mutation
PASSED, FAILED = 0, 1  # exit statuses of pytest; others say that no test could run


class Verdict(StrEnum):
    """What became of a mutation; only the first is good."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    GONE = "GONE"  # the old text is not found exactly once
    UNTESTED = "UNTESTED"  # the tests did not run to their end


@dataclass(frozen=True)
class Mutation:
    """One way to break the code.

    Attributes:
        name: what is broken, in a few words.
        path: of the file, from the root of the repository.
        old: a text that the file has exactly once.
        new: what takes its place.
        breaks: what would be wrong, for a user.
        tests: that must notice: files, or single tests where the file takes long.
        slow: they are marked slow.
    """

    name: str
    path: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    slow: bool = False

    def applied(self, root: Path) -> str | None:
        """The file's text with the mutation; None if the old text is not there exactly once."""
        text = (root / self.path).read_text(encoding="utf-8")
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None


@dataclass(frozen=True)
class Outcome:
    """A verdict with the first test that failed, or why there is none, and the time that it took."""

    verdict: Verdict
    detail: str
    seconds: float = 0.0


def attempt(mutation: Mutation) -> Outcome:
    """Makes a mutation in a copy of the repository, and runs its tests there."""
    mutated = mutation.applied(ROOT)
    if mutated is None:
        return Outcome(Verdict.GONE, f"{mutation.path} does not have its old text exactly once")
    start = time.monotonic()
    with copied() as root:
        (root / mutation.path).write_text(mutated, encoding="utf-8")
        status, output = run_tests(root, mutation.tests, slow=mutation.slow)
    verdict = {PASSED: Verdict.SURVIVED, FAILED: Verdict.CAUGHT}.get(status, Verdict.UNTESTED)
    return Outcome(verdict, mutation.breaks if status == PASSED else _first_failure(output), time.monotonic() - start)


def failing_unbroken(mutations: Iterable[Mutation]) -> str:
    """The first of the tests that fails without any mutation, so that its failure says nothing; "" if none does."""
    mutations = tuple(mutations)
    with copied() as root:
        for slow in (False, True):
            named = dict.fromkeys(test for one in mutations if one.slow == slow for test in one.tests)
            status, output = run_tests(root, named, slow=slow) if named else (PASSED, "")
            if status != PASSED:
                return _first_failure(output)
    return ""


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the repository, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cltm-mutation-") as folder:
        yield Path(shutil.copytree(ROOT, Path(folder, "repository"), ignore=LEFT_OUT))


def run_tests(root: Path, tests: Iterable[str], *, slow: bool) -> tuple[int | None, str]:
    """Runs tests of a copy until one fails.

    Returns:
        Exit status of pytest, None if it took too long; and what it printed.
    """
    marked = "not gpu and not slurm" + ("" if slow else " and not slow")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", marked, "--hypothesis-seed=0", *tests]
    own = {"PYTHONPATH": str(root), "CLTM_CACHE": str(root.parent / "cache"), "TMPDIR": str(root.parent)}
    process = subprocess.Popen(
        command, cwd=root, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, f"ERROR not through after {LIMIT_S:g} s"
    finally:
        with suppress(ProcessLookupError):  # what a broken test has left running
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _first_failure(output: str) -> str:
    """The line of pytest's summary that names the first failure, or else its last line."""
    found = re.search(r"^(?:FAILED|ERROR):? (.*)$", output, re.MULTILINE)
    return found[1] if found else (output.strip().splitlines() or ["pytest printed nothing"])[-1]
