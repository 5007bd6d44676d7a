"""What stands in for CUDA graphs where there is no GPU: a step's operators, repeated on the same tensors.

As a graph does, it repeats kernels and not Python: a number that Python has computed stays what it was, a tensor that
was put in another's place is not seen, and a value that is asked for while it records is an error.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "repeat_interleave"}
OF_THE_HOST = ("tolist", "numpy", "cpu", "item", "__bool__", "__int__", "__float__")  # not all are operators on a CPU
SHAPING = ("transpose_", "t_", "squeeze_", "unsqueeze_", "as_strided_", "detach_")  # no kernel: memory stays as it is
UNSAID = {torch.ops.aten.native_batch_norm.default: (3, 4)}  # operands that are written to though the schema is silent


class Tape(TorchDispatchMode):
    """Notes every operator with its operands and results as they lie in memory, and what it writes over."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []
        self._written: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        by_truth = name == "index" and any(one is not None and one.dtype == torch.bool for one in args[1])
        assert name not in ASKING, f"{func} asks the device for a value"
        assert not by_truth, "a choice by truth values asks the device for a value"
        if name in SHAPING:
            return func(*args, **kwargs)
        places = [n for n, one in enumerate(func._schema.arguments) if one.alias_info and one.alias_info.is_write]
        for place in (*places, *UNSAID.get(func, ())):
            written = args[place] if place < len(args) else kwargs.get(func._schema.arguments[place].name)
            self._written += [(own, own.clone()) for own in tree_leaves(lying(written)) if own is not None]
        held = lying((args, kwargs))
        result = func(*args, **kwargs)
        self.calls.append((func, *held, lying(result)))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """As if nothing had been done: a graph only records."""
        for tensor, before in reversed(self._written):
            tensor.copy_(before)

    @torch.no_grad()
    def play(self) -> None:
        """Does the same once more; results land where they were."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            if any(value.alias_info for value in func._schema.returns):
                continue  # a view, or what was changed in place
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


def lying(operands: Any) -> Any:
    """The operands, each tensor as another one on the same memory."""
    return tree_map(lambda one: one.detach() if isinstance(one, torch.Tensor) else one, operands)


@contextmanager
def asking_is_wrong() -> Iterator[None]:
    """What brings a tensor's values to the host fails in the block, in this thread."""
    own = threading.get_ident()

    def guarded(plain: Any) -> Any:
        def ask(self: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
            assert threading.get_ident() != own, "the host asks the device for a value"
            return plain(self, *arguments, **settings)

        return ask

    with ExitStack() as stack:
        for name in OF_THE_HOST:
            stack.enter_context(mock.patch.object(torch.Tensor, name, guarded(getattr(torch.Tensor, name))))
        yield


class TapeRecorder:
    """Records as a GPU does: what is recorded has had no effect until it is played."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        before, tape = torch.get_rng_state(), Tape()
        with asking_is_wrong(), tape:
            work()
        tape.undo()
        torch.set_rng_state(before)
        self.tapes.append(tape)
        return tape.play


class NeverRecorder:
    """Has no memory for any recording."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("CUDA out of memory")
