"""W&B runs on disk: how every run of a results folder is opened and closed. Imports neither Ray nor torch."""

from pathlib import Path
from typing import Any

from grids.languages import language


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
    """Ends a run, and says beside it that its end is written."""
    run.finish(exit_code=exit_code)
    if folder := getattr(run, "dir", ""):
        finished_path(Path(folder).parent).touch()


def finished_path(run: Path) -> Path:
    """The file in a W&B run's folder that says that the run's end was written."""
    return run / "finished"


def tags(languages: tuple[str, ...]) -> list[str]:
    """The languages and their families, as far as they are known."""
    return [tag[:64] for tag in dict.fromkeys((*languages, *(language(code).family for code in languages))) if tag]
