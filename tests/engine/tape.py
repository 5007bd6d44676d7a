"""What stands in for CUDA graphs where there is no GPU: a step's operators, repeated on the same tensors.

As a graph does, it repeats kernels and not Python: a number that Python has computed stays what it was, a tensor that
was put in another's place is not seen, and a value that is asked for while it records is an error.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ASKING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
SHAPING = ("transpose_", "t_", "squeeze_", "unsqueeze_", "as_strided_", "detach_")  # no kernel: memory stays as it is
UNSAID = {torch.ops.aten.native_batch_norm.default: (3, 4)}  # operands that are written to though the schema is silent


class Tape(TorchDispatchMode):
    """Notes every operator with its operands and results as they lie in memory, and what it writes over."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []
        self._written: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in ASKING, f"{func} asks the device for a value"
        kwargs = kwargs or {}
        if func._schema.name.removeprefix("aten::") in SHAPING:
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


class TapeRecorder:
    """Records as a GPU does: what is recorded has had no effect until it is played."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        before, tape = torch.get_rng_state(), Tape()
        with tape:
            work()
        tape.undo()
        torch.set_rng_state(before)
        self.tapes.append(tape)
        return tape.play


class NeverRecorder:
    """Has no memory for any recording."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("CUDA out of memory")
