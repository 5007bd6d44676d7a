"""W&B runs on disk: how every run of a results folder is opened and closed. Imports neither Ray nor torch.

A `.wandb` file is a 7-byte head and 32 KiB blocks of records: checksum (4 bytes), length (2), type (1 = whole,
2 = first, 3 = middle, 4 = last part) and a part of a protobuf `Record`.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grids.languages import language

logger = logging.getLogger(__name__)
HEAD, BLOCK, RECORD_HEAD = 7, 32 * 1024, 7
END_SECONDS = 30.0  # that the end of a run may take to be on disk


def open_run(folder: Path, **about: Any) -> Any:
    """Opens a W&B run that is written to disk, and to nowhere else.

    Args:
        folder: a results folder; the run lies in its subfolder `wandb`.
        about: project, group, name, id, config and what else `wandb.init` takes.
    """
    import wandb

    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True,
        init_timeout=30,
    )  # fmt: skip
    return wandb.init(**about, dir=str(folder), mode="offline", reinit="finish_previous", settings=settings)


def close_run(run: Any, exit_code: int = 0) -> None:
    """Ends a run, waits until its end is on disk, and says so beside it.

    W&B's service says that a run is finished before it has written it, and would lose it if the process then ended.
    """
    folder = getattr(run, "dir", "")
    run.finish(exit_code=exit_code)
    if not folder:
        return
    path, end = Path(folder).parent, time.monotonic() + END_SECONDS
    while not any(record.HasField("exit") for file in path.glob("*.wandb") for record in records(file)):
        if time.monotonic() > end:
            logger.warning("W&B did not write the end of the run in %s within %.0f s", path, END_SECONDS)
            return
        time.sleep(0.01)
    finished_path(path).touch()


def records(path: Path) -> Iterator[Any]:
    """The complete records (protobuf `Record`) of a run's file, which may still be written to."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # its names are made at import

    content, place, parts = path.read_bytes(), HEAD, b""
    while place + RECORD_HEAD <= len(content):
        if BLOCK - place % BLOCK < RECORD_HEAD:  # what is left of a block holds no head
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + RECORD_HEAD : place + RECORD_HEAD + length]
        place += RECORD_HEAD + length
        if kind in (1, 4) and place <= len(content):
            yield Record.FromString(parts)
            parts = b""


def finished_path(run: Path) -> Path:
    """The file in a W&B run's folder that says that the run's end was written."""
    return run / "finished"


def tags(languages: tuple[str, ...]) -> list[str]:
    """The languages and their families, as far as they are known."""
    return [tag[:64] for tag in dict.fromkeys((*languages, *(language(code).family for code in languages))) if tag]
