"""`python -m tests.mutations`: see the package's docstring."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from grids.errors import UserError, one_line_errors, unknown
from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import Mutation, Verdict, attempt, failing_unbroken


def main() -> int:
    """Tries the mutations asked for and prints a line each; returns 1 unless all are caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Breaks the code on purpose.")
    parser.add_argument("mutation", nargs="*", help="numbers or names; default: all")
    parser.add_argument("-n", type=int, default=1, metavar="PROCESSES", help="mutations at once")
    options = parser.parse_args()
    return one_line_errors(lambda: _run(chosen(options.mutation), max(options.n, 1)))


def chosen(asked: Sequence[str]) -> list[tuple[int, Mutation]]:
    """The mutations asked for, with their numbers; all if none is.

    Raises:
        UserError: there is none of that number or name.
    """
    known = {str(number): (number, one) for number, one in enumerate(MUTATIONS, start=1)}
    known |= {one.name: (number, one) for number, one in known.values()}
    for name in asked:
        if name not in known:
            raise unknown("mutation", name, [f"1 to {len(MUTATIONS)}", *(one.name for one in MUTATIONS)])
    return [known[name] for name in asked] or list(enumerate(MUTATIONS, start=1))


def _run(some: Sequence[tuple[int, Mutation]], at_once: int) -> int:
    """Tries them, after the same tests without a mutation."""
    if why := failing_unbroken(one for _, one in some):
        raise UserError(f"without any mutation a test fails, which says nothing of those with one: {why}")
    caught = 0
    with ThreadPoolExecutor(at_once) as pool:
        for (number, one), done in zip(some, pool.map(attempt, [one for _, one in some]), strict=True):
            caught += done.verdict is Verdict.CAUGHT
            print(f"{number:>3} {done.verdict:<8} {one.name}: {done.detail} ({done.seconds:.0f} s)", flush=True)  # noqa: T201
    print(f"{caught} of {len(some)} mutations are caught")  # noqa: T201
    return int(caught < len(some))


if __name__ == "__main__":
    sys.exit(main())
