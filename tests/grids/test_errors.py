"""How commands end."""

import subprocess
import sys

MANY_LINES = (
    "from grids.errors import one_line_errors as run; raise SystemExit(run(lambda: print('x\\n' * 100_000) or 0))"
)


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    """As in `python -m engine status results | head`."""
    command = subprocess.Popen([sys.executable, "-c", MANY_LINES], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.read(1)
    command.stdout.close()
    assert command.wait(30) == 141
    assert command.stderr.read() == b""
