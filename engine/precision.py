"""What a trial's numbers are rounded to, by the names of `precision` and `evaluation_precision` in [train].

| name | autocast | products and convolutions of a GPU that stay in 32 bits |
|---|---|---|
| "fp32" | off | in 32 bits |
| "tf32" | off | factors rounded to TF32 |
| "bf16", "fp16" | to that type | in 32 bits, so that what autocast left alone is not rounded after all |

A CPU knows no TF32: there "tf32" is "fp32". Two trainings of one process at a time would share the switches of TF32.
Not covered: what a kernel does inside (sums in bf16 and fp16, attention written by hand).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What the forward pass and the loss run in; of this thread alone."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


@contextmanager
def tf32(precision: str) -> Iterator[None]:
    """Sets whether a GPU may use TF32, for a whole phase, and puts back what was set before.

    The switches are the process's: the backward pass runs in threads of autograd, long after the forward call.
    """
    # By their older names: torch's own cudnn.flags reads those and raises once a newer one (fp32_precision) was set.
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
