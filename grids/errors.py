"""The one exception for a user's mistake, and how its text is made.

A `UserError`, and an `OSError` that names a file, is printed as one line, without a traceback, by every command line of
the project. Anything else that is raised is a defect of ours and keeps its traceback.
"""

import difflib
from collections.abc import Callable, Iterable
from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses of every command line of the project."""

    COMPLETE = 0
    HOLES = 1  # trials are missing that have failed, or a check did
    MISTAKE = 2  # the user's, a full disk among them
    MORE = 75  # EX_TEMPFAIL: run the same command again; it was asked to stop, or other runs have the rest
    INTERRUPTED = 130  # Ctrl-C, or a second request to stop
    UNREAD = 141  # whoever read the output has gone, as in `| head`


class UserError(ValueError):
    """A mistake in what the user gave: the message says what, what it was, and what is allowed."""


def require(condition: bool, message: str) -> None:
    """Raises a `UserError` with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


def nearest(got: str, allowed: Iterable[str]) -> str:
    """Returns " (did you mean 'x'?)" for the closest allowed name, or an empty text if none is close."""
    close = difflib.get_close_matches(got, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(what: str, got: str, allowed: Iterable[str]) -> UserError:
    """Returns the error for a name that is not one of the `allowed` ones, with the nearest of them."""
    names = sorted(allowed)
    return UserError(f"unknown {what} {got!r}{nearest(got, names)}; allowed: {', '.join(names) or 'none'}")


def one_line_errors(main: Callable[[], int]) -> int:
    """Runs a command's `main` and turns a `UserError`, or a file that cannot be used, into one line on standard error.

    Args:
        main: what the command does; returns its exit status.

    Returns:
        The exit status: main's own, or as `Exit` says after a `UserError`, after Ctrl-C, and when nobody reads on.
    """
    import os
    import sys

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a language's name on an ASCII terminal
    try:
        status = main()
        sys.stdout.flush()
        return status
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)  # noqa: T201
        return Exit.MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNREAD
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: cannot use {str(error.filename)!r}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return Exit.MISTAKE
