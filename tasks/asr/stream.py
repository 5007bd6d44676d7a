"""Speech to text while it is still coming in, with a kept checkpoint of `asr/emformer`.

    python -m tasks.asr.stream clip.wav --checkpoint results/demo_asr_emformer/checkpoints/ca-480_seed0_....safetensors

A grid with `keep = ["checkpoints"]` leaves them; the network's sizes are those of the `grid.toml` beside their folder.
The text is printed as it grows, then what a listener waits for, and the real-time factor: seconds of computing a second
of audio, on one core. `streamed` computes segment by segment what `Transducer.forward` computes in one pass.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional

from grids.errors import UserError, one_line_errors
from grids.grid import load
from grids.mixture import Mixture
from tasks import make_task
from tasks.asr.decoding import greedy
from tasks.asr.emformer import Emformer, StreamingRecogniser
from tasks.asr.frames import HOP
from tasks.asr.transducer import States, Transducer
from tasks.asr.vocabulary import Vocabulary
from tasks.base import Setup
from tasks.data.audio import FULL_SCALE, DecodeError, decode
from tasks.data.clips import SAMPLE_RATE_HZ

PIECE_SECONDS = 0.1  # of audio that comes in at once


@torch.no_grad()
def streamed(network: Transducer, pieces: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Encodes a clip that comes in piece by piece, a segment as soon as its look-ahead is there.

    Args:
        network: in evaluation mode.
        pieces: (T,) float32 waves, 16 kHz, of any lengths, one clip in all.

    Yields:
        (F, E) encodings of the next segment; all of them together are those of `Transducer.forward`.
    """
    shape, features = network.shape, network.features
    ahead, state, heard = shape.segment + shape.right, None, False
    waiting_T = torch.zeros(0, device=network.device)
    for piece_T in pieces:
        waiting_T = torch.cat([waiting_T, piece_T.to(waiting_T.device)])
        while len(waiting_T) >= (ahead - 1) * HOP + features.reach:
            features_1CF, _ = features(waiting_T[None], torch.tensor([len(waiting_T)], device=waiting_T.device))
            encodings_FE, state = _segment(network, features_1CF[:, :, :ahead], state)
            yield encodings_FE
            waiting_T, heard = waiting_T[shape.segment * HOP :], True
    if heard and len(waiting_T) < features.reach:
        return
    features_1CF, _ = features(waiting_T[None], torch.tensor([len(waiting_T)], device=waiting_T.device))
    for start in range(0, features_1CF.shape[2], shape.segment):
        left_1CF = features_1CF[:, :, start : start + ahead]
        encodings_FE, state = _segment(network, functional.pad(left_1CF, (0, ahead - left_1CF.shape[2])), state)
        yield encodings_FE[: -(-(features_1CF.shape[2] - start) // shape.reduction)]


def _segment(network: Transducer, features_1CF: torch.Tensor, state: States | None) -> tuple[torch.Tensor, States]:
    """(1, C, segment + right) features -> the segment's (F, E) encodings, and the state after it."""
    length = torch.tensor([features_1CF.shape[2]], device=features_1CF.device)
    encodings_1FE, _, after = network.rnnt.transcribe_streaming(features_1CF.transpose(1, 2), length, state)
    return encodings_1FE[0], after


@torch.no_grad()
def said(network: StreamingRecogniser, pieces: Iterable[torch.Tensor]) -> Iterator[str]:
    """What has been heard of a clip so far, after each segment.

    Args:
        network: in evaluation mode.
        pieces: (T,) float32 waves, as `streamed` takes them.
    """
    heard, frames = network.encoder.first(), list[torch.Tensor]()
    for encodings_FE in streamed(network.encoder, pieces):
        if network.ctc:
            frames.append(network.log_probabilities(encodings_FE[None])[0])
            yield network.vocabulary.decode(greedy(torch.cat(frames)))
        else:
            heard = network.encoder.heard(heard, encodings_FE)
            yield network.vocabulary.decode(heard.symbols)


def open_checkpoint(path: Path) -> StreamingRecogniser:
    """The network of a kept checkpoint, in evaluation mode.

    Raises:
        UserError: no such checkpoint, none of `asr/emformer`, or no grid beside it.
    """
    if not path.is_file():
        raise UserError(f"--checkpoint is {str(path)!r}: no such file; allowed: a kept checkpoint (*.safetensors)")
    task = make_task(load(path.parent.parent / "grid.toml"))
    if not isinstance(task, Emformer):
        raise UserError(f"{path} is no checkpoint of 'asr/emformer'")
    weights = load_file(path)
    characters = tuple(map(chr, weights["characters"].tolist()))
    network = StreamingRecogniser(
        task.options, Vocabulary(characters, task.options.unknown), Setup(Mixture(), (), 0)
    ).eval()
    network.load_state_dict(weights)
    return network


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m tasks.asr.stream", description="Speech to text as it comes in.")
    parser.add_argument("file", type=Path, help="audio that libsndfile reads")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a kept checkpoint of asr/emformer")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network = open_checkpoint(options.checkpoint)
    try:
        wave_T = torch.from_numpy(decode(options.file).astype(np.float32) / FULL_SCALE)
    except DecodeError as error:
        raise UserError(f"{options.file} is {error.reason}: {error}") from None
    text, start = "", time.perf_counter()
    for now in said(network, wave_T.split(round(PIECE_SECONDS * SAMPLE_RATE_HZ))):
        if now != text:
            print(now, flush=True)  # noqa: T201
        text = now
    factor = (time.perf_counter() - start) * SAMPLE_RATE_HZ / len(wave_T)
    shape = network.encoder.shape
    print(  # noqa: T201
        f"look-ahead {1000 * shape.look_ahead_seconds:.0f} ms, latency of a segment's first frame "
        f"{1000 * shape.latency_seconds:.0f} ms, real-time factor {factor:.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
