"""Speech to text while it is still coming in, with a kept checkpoint of `asr/emformer`.

    python -m tasks.asr.stream FILE --checkpoint results/mine/checkpoints/ca-480_seed0_1a2b3c4d

The text is printed as it grows, then what a listener waits for, and the real-time factor: seconds of computing a second
of audio, on one core. `streamed` computes segment by segment what `Transducer.forward` computes in one pass.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from grids.errors import UserError, one_line_errors
from tasks.asr.decoding import greedy
from tasks.asr.emformer import Emformer, StreamingRecogniser
from tasks.asr.frames import HOP
from tasks.asr.system import CtcSystem
from tasks.asr.transcribe import wave
from tasks.asr.transducer import States, Transducer
from tasks.checkpoint import read
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
def said(task: Emformer, network: StreamingRecogniser, pieces: Iterable[torch.Tensor]) -> Iterator[str]:
    """What has been heard of a clip so far, after each segment.

    Args:
        task: of the network.
        network: in evaluation mode, with one view.
        pieces: (T,) float32 waves, as `streamed` takes them.
    """
    (view,) = network.views
    heard, frames = network.encoder.first(), list[torch.Tensor]()
    for encodings_FE in streamed(network.encoder, pieces):
        if task.options.ctc_weight == 1:
            frames.append(network.head(encodings_FE))
            yield view.vocabulary.decode(greedy(torch.cat(frames)))
        else:
            heard = network.encoder.heard(heard, encodings_FE)
            yield view.vocabulary.decode(heard.symbols)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: no such file or checkpoint, or one that cannot stream.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks.asr.stream", description="Speech to text as it comes in.")
    parser.add_argument("file", type=Path, metavar="FILE", help="anything that libsndfile reads")
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="a folder of checkpoints/")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    task, network = read(asked.checkpoint, CtcSystem)
    if not (isinstance(task, Emformer) and isinstance(network, StreamingRecogniser) and len(network.views) == 1):
        raise UserError(f"{str(asked.checkpoint)!r} cannot stream; allowed: 'asr/emformer' with one head for all")
    wave_T = torch.from_numpy(wave(asked.file))
    text, start = "", time.perf_counter()
    for now in said(task, network, wave_T.split(round(PIECE_SECONDS * SAMPLE_RATE_HZ))):
        if now != text:
            sys.stdout.write(f"{now}\n")
        text = now
    factor, shape = (time.perf_counter() - start) * SAMPLE_RATE_HZ / len(wave_T), network.encoder.shape
    sys.stdout.write(
        f"look-ahead {1000 * shape.look_ahead_seconds:.0f} ms, latency of a segment's first frame "
        f"{1000 * shape.latency_seconds:.0f} ms, real-time factor {factor:.3f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
