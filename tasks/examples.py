"""The order of examples and the first rows of heads: randomness that mixtures of one seed share.

Everything here is a keyed hash of (seed, name), so a clip's place relative to another clip and a class's first weights
do not depend on what else is in the mixture. That keeps P(i), P(i+i) and P(i+j) of a seed paired.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

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


class PaddedHead(torch.nn.Module):
    """A linear layer with more rows than classes, so that layers of like size have one shape.

    A row without a class has no weights and a bias that makes its probability 0: cross-entropy over all rows is that
    over the classes', and the row's gradient is 0. In evaluation it gives the classes' rows alone.

    Args:
        head: a linear layer with a bias, whose outputs are logits of a softmax.
    """

    NEVER = -1e4  # of a logit; half precision holds it, and its exponential is 0 in each precision

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.rows = head.out_features
        shape = (row_rung(self.rows), head.in_features)
        self.weight = torch.nn.Parameter(head.weight.new_zeros(shape), requires_grad=head.weight.requires_grad)
        self.bias = torch.nn.Parameter(head.bias.new_full(shape[:1], self.NEVER), requires_grad=head.bias.requires_grad)
        with torch.no_grad():
            self.weight[: self.rows].copy_(head.weight)
            self.bias[: self.rows].copy_(head.bias)

    def forward(self, hidden_KH: torch.Tensor) -> torch.Tensor:
        """(K, H) -> (K, R) logits of all rows in training, (K, C) of the classes else."""
        rows = None if self.training else self.rows
        return functional.linear(hidden_KH, self.weight[:rows], self.bias[:rows])

    def plain(self) -> torch.nn.Linear:
        """The linear layer that it is by now."""
        head = torch.nn.Linear(self.weight.shape[1], self.rows, device=self.weight.device)
        head.requires_grad_(self.weight.requires_grad)
        with torch.no_grad():
            head.weight.copy_(self.weight[: self.rows])
            head.bias.copy_(self.bias[: self.rows])
        return head


def row_rung(rows: int) -> int:
    """The smallest number of a ladder of rows that holds so many: multiples of 8, then at most a quarter more."""
    step = max(8, 2 ** (max(rows, 1).bit_length() - 3))
    return -(-rows // step) * step
