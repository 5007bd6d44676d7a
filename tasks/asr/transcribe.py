"""Writes down what audio files say, with a kept checkpoint.

    python -m tasks.asr.transcribe FILE... --checkpoint results/mine/checkpoints/ca-100_seed0_1a2b3c4d

One line a file: its name, the language, the text. `--language auto` takes the view (`tasks.asr.system`) that is surest
of the file; a recogniser with one view for all languages names none. With `--lid`, a kept checkpoint of the task `lid`
names each file's language, and the view of that language writes it. Where there is none, a warning says so, and the
surest view writes it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from grids.errors import UserError, one_line_errors, require, unknown
from tasks.asr.system import CtcSystem, Recogniser
from tasks.base import Batch
from tasks.checkpoint import read
from tasks.data.audio import FULL_SCALE, DecodeError, decode
from tasks.lid import Language
from tasks.pooled import PooledClassifier

AUTO = "auto"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: a file, a folder or a language that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks.asr.transcribe", description="Writes down what files say.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="anything that libsndfile reads")
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="a folder of checkpoints/")
    parser.add_argument("--language", default=AUTO, metavar="CODE", help="of the files; default: auto")
    parser.add_argument("--lid", type=Path, metavar="DIR", help="a folder of checkpoints/ of lid, to name languages")
    asked = parser.parse_args(arguments)
    require(asked.lid is None or asked.language == AUTO, f"--lid names languages; --language is {asked.language!r}")
    task, network = read(asked.checkpoint, CtcSystem)
    lid = read(asked.lid, Language) if asked.lid else None
    if lid and not any(network.view_of(code) >= 0 for code in lid[1].names):
        raise UserError(
            f"{asked.lid} tells apart {', '.join(lid[1].names)}, and {asked.checkpoint} writes none of them"
        )
    for path in asked.files:
        wave_T, code = wave(path), asked.language
        if lid and network.view_of(code := language_of(*lid, wave_T)) < 0:
            sys.stderr.write(f"warning: {path} is in {code!r}, which the recogniser does not write\n")
            code = AUTO
        language, text = transcribed(task, network, wave_T, code)
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


def language_of(task: Language, network: PooledClassifier, wave_T: np.ndarray) -> str:
    """The likeliest language of a wave.

    Args:
        task: of the network.
        network: ready to evaluate.
        wave_T: (T,) float32, 16 kHz.
    """
    with torch.no_grad():
        (output,) = task.outputs(network, _batch(wave_T))
    return network.names[int(output["probability"].argmax())]


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
        (output,) = task.outputs(network, _batch(wave_T))
    sure = int(output["log_probability"].argmax())
    number = sure if language == AUTO else network.view_of(language)
    return codes[number] or (language if language != AUTO else ""), str(output["text"][number])


def _batch(wave_T: np.ndarray) -> Batch:
    """One wave."""
    return Batch(torch.from_numpy(wave_T)[None], torch.tensor([len(wave_T)]))


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
