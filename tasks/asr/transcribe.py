"""Writes down what audio files say, with a kept checkpoint.

    python -m tasks.asr.transcribe FILE... --checkpoint results/mine/checkpoints/ca-100_seed0_1a2b3c4d

One line a file: its name, the language, the text. `--language auto` takes the view (`tasks.asr.system`) that is surest
of the file; a recogniser with one view for all languages names none.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from grids.errors import UserError, one_line_errors, unknown
from tasks.asr import checkpoint
from tasks.asr.system import CtcSystem, Recogniser
from tasks.base import Batch
from tasks.data.audio import FULL_SCALE, DecodeError, decode

AUTO = "auto"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tasks.asr.transcribe", description="Writes down what files say.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="anything that libsndfile reads")
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="a folder of checkpoints/")
    parser.add_argument("--language", default=AUTO, metavar="CODE", help="of the files; default: auto")
    asked = parser.parse_args(arguments)
    task, network = checkpoint.read(asked.checkpoint)
    for path in asked.files:
        language, text = transcribed(task, network, wave(path), asked.language)
        sys.stdout.write(f"{path}\t{language}\t{text}\n")
    return 0


def wave(path: Path) -> np.ndarray:
    """(T,) float32, 16 kHz.

    Raises:
        UserError: the file gives no samples.
    """
    try:
        return decode(path).astype(np.float32) / FULL_SCALE
    except DecodeError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.reason}; allowed: WAV, FLAC, MP3, Ogg") from None


def transcribed(task: CtcSystem, network: Recogniser, wave_T: np.ndarray, language: str = AUTO) -> tuple[str, str]:
    """The language and the text of a wave.

    Args:
        task: of the network.
        network: ready to evaluate.
        wave_T: (T,) float32, 16 kHz.
        language: a code, or "auto".

    Raises:
        UserError: the network has no view of the language.
    """
    codes = [view.language for view in network.views]
    if language != AUTO and network.view_of(language) < 0:
        raise unknown("language of the checkpoint", language, codes)
    with torch.no_grad():
        batch = Batch(torch.from_numpy(wave_T)[None], torch.tensor([len(wave_T)]))
        (output,) = task.outputs(network, batch)
    sure = int(output["log_probability"].argmax())
    number = sure if language == AUTO else network.view_of(language)
    return codes[number] or (language if language != AUTO else ""), str(output["text"][number])


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
