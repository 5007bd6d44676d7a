"""What makes a trial fast on a GPU and changes no more than the last bits of its numbers; on a CPU there is none of it.

Each part is on unless `without` in [resources] names it, for a comparison:

| part | what it is |
|---|---|
| "product" | the positional convolution of an encoder as a matrix product (`tasks.kernels.grouped_product`) |
| "attention" | one attention kernel, whatever the shapes are, and one mask for all layers |
| "norm" | the first convolution and its masked norm as one product (`tasks.kernels.normed_convolution`) |
| "convolutions" | in scoring, the other convolutions as products with channels last (`tasks.kernels.strided_product`) |
| "casts" | an encoder's weights cast all at once under autocast (`tasks.kernels.weights_cast`) |
| "graphs" | training steps recorded as CUDA graphs (`engine.graphs`) |
| "memory" | batches of evaluation by the trial's share of the memory, which it keeps to (`engine.room`) |

and `length_ladder = 0` switches off that clips are padded to a ladder of lengths.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from engine.graphs import Graphs, graphs_on, unrecordable
from engine.room import MOST_SECONDS, Room, shared_room
from grids.resources import Resources
from tasks.base import Kernels, Task

CPU_SECONDS = 60.0  # of audio in a batch of evaluation


@dataclass(frozen=True)
class Shortcuts:
    """What a training makes use of.

    Attributes:
        kernels: how networks do their arithmetic.
        ladder: largest share of padding that makes lengths repeat; see `engine.inputs.rung`.
        graphs: records steps; None: they run one by one.
    """

    kernels: Kernels = field(default_factory=Kernels)
    ladder: float = 0.0
    graphs: Graphs | None = None

    @property
    def numerics(self) -> dict[str, Any]:
        """What a result says of them."""
        parts = [name for name, is_on in vars(self.kernels).items() if is_on]
        if self.graphs:
            parts.append("graphs")
        found = {"shortcuts": sorted(parts), "length_ladder": self.ladder}
        return {name: value for name, value in found.items() if value}


def shortcuts(resources: Resources, task: Task, device: torch.device) -> Shortcuts:
    """The shortcuts of a trial.

    Args:
        resources: say what is left out.
        task: what is trained and scored.
        device: where.
    """
    if device.type != "cuda":
        return Shortcuts()
    kernels = Kernels(**{name: name not in resources.without for name in vars(Kernels())})
    if resources.workers_per_trial > 1:  # weights cast together all look used to DDP, which then waits for gradients
        kernels = replace(kernels, casts=False)
    recorded = "graphs" not in resources.without and not unrecordable(task, resources.workers_per_trial)
    return Shortcuts(kernels, resources.padding_share, graphs_on(device) if recorded else None)


def gpu_text(resources: Resources, task: Task) -> str:
    """What a run says of its use of a GPU, in one line; "" of one on a CPU."""
    if not resources.gpus:
        return ""
    why = "left out" if "graphs" in resources.without else unrecordable(task, resources.workers_per_trial)
    steps = f"steps one by one ({why})" if why else "steps as CUDA graphs"
    sharing = [f"sharing it through {resources.sharing.upper()}"] if resources.sharing != "processes" else []
    share = resources.padding_share
    lengths = f"clips padded by up to {share:.0%} to a ladder of lengths" if share else "no ladder of lengths"
    left_out = ", ".join(name for name in resources.without if name != "graphs")
    rest = [*([lengths] if task.needs.audio else []), *([f"without {left_out}"] if left_out else [])]
    return ", ".join([f"{resources.gpus:g} a trial", *sharing, steps, *rest])


def room(resources: Resources, task: Task, device: torch.device) -> Room:
    """The size of a trial's batches of evaluation. Workers deal them out, so theirs are fixed."""
    fixed = evaluation_seconds(resources)
    if device.type != "cuda" or "memory" in resources.without or resources.workers_per_trial > 1:
        return Room(fixed)
    kind = f"{type(task).__qualname__} {task.options} {getattr(task, 'model', '')}"
    return shared_room(device, min(resources.gpus, 1.0), kind, resources.evaluation_seconds)


def evaluation_seconds(resources: Resources) -> float:
    """Seconds of audio in a batch of evaluation; on a GPU the most that it may be, where memory decides."""
    return resources.evaluation_seconds or (MOST_SECONDS if resources.gpus else CPU_SECONDS)
