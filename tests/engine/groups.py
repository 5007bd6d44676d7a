"""A group of training processes on this machine, as Ray Train would start one."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def run_group(work: Callable[..., None], size: int, folder: Path, *arguments: Any) -> None:
    """Runs `work(rank, size, folder, *arguments)` in `size` processes that talk by gloo, one thread each."""
    multiprocessing.spawn(_member, (work, size, folder, arguments), nprocs=size)


def _member(rank: int, work: Callable[..., None], size: int, folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / f"store-{size}"), size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    work(rank, size, folder, *arguments)
    gc.collect()  # DDP holds the group in a cycle; gloo's threads abort a process whose interpreter ended before them
    distributed.destroy_process_group()
