"""The order of examples and the first rows of heads: randomness that mixtures of one seed share.

Everything here is a keyed hash of (seed, name), so a clip's place relative to another clip and a class's first weights
do not depend on what else is in the mixture. That keeps P(i), P(i+i) and P(i+j) of a seed paired.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from tasks.base import Example
from tasks.data.clips import Clip


def keyed(*key: object) -> int:
    """A 64-bit number that is a pure function of the key's parts."""
    text = "\x1f".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def shuffled(clips: Sequence[Clip], seed: int, epoch: int) -> list[Example]:
    """One example a clip, in an order in which two clips keep their places relative to each other in every mixture."""
    ordered = sorted(clips, key=lambda clip: (keyed("order", seed, epoch, clip.language, clip.name), clip.name))
    return [Example((clip,)) for clip in ordered]


def head_rows(names: Sequence[str], width: int, seed: int) -> torch.Tensor:
    """First weights of a linear layer with one row a class: a function of (seed, class) alone.

    Args:
        names: the classes.
        width: inputs of the layer.
        seed: the trial's.

    Returns:
        (len(names), width) float32, uniform in +-1/sqrt(width), as `torch.nn.Linear` draws its weights.
    """
    if not names:
        return torch.zeros(0, width)
    rows = [np.random.Generator(np.random.PCG64(keyed("head", seed, name))).random(width) for name in names]
    return torch.from_numpy((2 * np.stack(rows) - 1) / np.sqrt(width)).float()


def linear_head(names: Sequence[str], width: int, seed: int, *, bias: bool = True) -> torch.nn.Linear:
    """A linear layer with `head_rows` as weights and, if it has one, a bias of 0 at the start."""
    head = torch.nn.Linear(width, len(names), bias=bias)
    with torch.no_grad():
        head.weight.copy_(head_rows(names, width, seed))
        if bias:
            head.bias.zero_()
    return head
