"""Prepared audio on a node's own disk: where `CLTM_STAGE` names a folder, each language is copied there once a node.

For clusters whose shared storage is slow at reading many small pieces. Copies are named by their content, so that a
language that was prepared anew is copied anew. Who sets the variable removes the folder.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grids.errors import UserError
from grids.files import replacing
from tasks.data.audio import SAMPLE_TYPE, samples_sha
from tasks.data.cache import lock
from tasks.data.clips import Clip

VARIABLE = "CLTM_STAGE"


def staged(audio: Path, sha: str, clips: Sequence[Clip]) -> Path:
    """The file to read a language's samples from.

    Args:
        audio: the prepared file, on shared storage.
        sha: `PreparedLanguage.sha`.
        clips: those in the file; their hashes are compared with the copy's samples.

    Returns:
        The copy on the node's disk if there is to be one, otherwise `audio`.

    Raises:
        UserError: the copy has other samples than the manifest says, or its disk is full.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return audio
    copy = Path(folder, f"{sha}.i16")
    try:
        with lock(copy.with_suffix(".lock")):  # the node's other processes wait
            if not copy.exists():
                with replacing(copy) as partial:
                    shutil.copyfile(audio, partial)
                    _verify(partial, clips, audio)
    except OSError as error:
        raise UserError(f"cannot copy {audio} to {folder}: {error.strerror}; unset node_local") from None
    return copy


def _verify(copy: Path, clips: Sequence[Clip], audio: Path) -> None:
    """Compares every clip's samples with its hash."""
    samples = np.memmap(copy, dtype=SAMPLE_TYPE, mode="r")
    for clip in clips:
        if samples_sha(samples[clip.offset : clip.offset + clip.length]) != clip.sha:
            raise UserError(f"{audio} is damaged: {clip.name} is not what its manifest says; remove it, prepare again")
