"""Training steps captured as CUDA graphs: one launch in place of some 1,200, for every later trial of the process.

A graph repeats the same kernels on the same addresses, so everything that a step reads or changes must stay where it
is from trial to trial. A `StaticNetwork` is that: parameters and buffers of one kind of network, the optimiser's state,
and the graphs, one a shape of batch. A trial's network is made as ever; then its values are copied into the static
tensors, which take their place in it (`Graphs.lend`). What no graph holds (a network of another structure, a shape that
comes once, a batch that does not fit into memory) runs step by step, on the same tensors.

A shape is recorded (captured, in CUDA's words) when it comes for the second time: the first time has run step by step,
and has made the libraries load their kernels. All graphs of a process share one memory pool: each is whole in itself,
none runs beside another.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import torch
from torch import nn

from engine.update import Update
from grids.errors import UserError
from grids.grid import Train
from tasks.base import Batch, Task
from tasks.encoder import Encoder
from tasks.examples import PaddedHead

logger = logging.getLogger(__name__)
MOST_NETWORKS = 3  # kinds of networks kept; a matrix has two, of one block's speakers and of two blocks'
MOST_GRAPHS = 256  # of a static network: a shape beyond them runs step by step
Step = Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]  # -> loss and norm of the gradient, of shape ()


class Recorder(Protocol):
    """Records what a function does on a device."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what does the same once more. `work` is called, but may have no effect yet."""


class CudaRecorder:
    """Records into CUDA graphs that share a memory pool."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._keeper: torch.cuda.CUDAGraph | None = None  # a pool that has lost its last graph can't be used again

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`. Other threads may use the device meanwhile."""
        if self._keeper is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._keeper = self._captured(lambda: torch.zeros(1, device="cuda"))
        replay: Callable[[], None] = self._captured(work).replay
        return replay

    def _captured(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        """A graph of what `work` does."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        except BaseException:
            self._keeper = None  # the next one has a new pool
            raise
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own
        return graph


@dataclass(frozen=True)
class Recorded:
    """A recorded step.

    Attributes:
        batch: what it reads.
        replay: takes it.
        network: the one it was recorded on, whose tensors that are neither parameters nor buffers it may read.
    """

    batch: Batch
    replay: Callable[[], None]
    network: nn.Module


@dataclass(frozen=True)
class Cost:
    """What a recording took: seconds, and bytes of the device."""

    seconds: float
    size: int


class StaticNetwork:
    """The tensors of one kind of network, its optimiser's, and the steps recorded on them.

    Args:
        network: the first of its kind; its tensors become the static network's.
        train: the training settings.
        device: of the tensors.
        recorder: records steps.
    """

    def __init__(self, network: nn.Module, train: Train, device: torch.device, recorder: Recorder) -> None:
        self._tensors = dict(_tensors(network))
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.update = Update(learning, train, device, in_place=True)
        self._values = torch.zeros(2, device=device)  # loss and norm of the last recorded step
        self._recorder, self._device = recorder, device
        self._recorded, self._seen = dict[Hashable, Recorded](), Counter[Hashable]()
        self.costs: list[Cost] = []

    @torch.no_grad()
    def adopt(self, network: nn.Module) -> None:
        """Takes over the values of a network of the kind, and puts the static network's tensors into it."""
        place = dict[int, torch.Tensor]()
        for name, tensor in _tensors(network):
            own = self._tensors[name]
            if own is not tensor:
                own.copy_(tensor)
            place[id(tensor)] = own
        for module in network.modules():
            tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for table in tables:
                table.update({name: place[id(tensor)] for name, tensor in table.items() if tensor is not None})
        self.update.reset()

    def run(self, network: nn.Module, batch: Batch, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes a step on the adopted network, recorded if it can be. Returns its loss and norm, of shape ()."""
        key = _shapes(batch)
        if key not in self._recorded:
            self._seen[key] += 1
            if (
                self._seen[key] != 2
                or len(self._recorded) >= MOST_GRAPHS
                or not self._record(key, network, batch, step)
            ):
                return step(batch)
        recorded = self._recorded[key]
        for own, new in zip(_held(recorded.batch), _held(batch), strict=True):
            own.copy_(new)
        recorded.replay()
        loss, norm = self._values.clone()
        return loss, norm

    def _record(self, key: Hashable, network: nn.Module, batch: Batch, step: Step) -> bool:
        """Records a step for batches of that shape. Returns whether that went well."""
        static = replace(
            batch, values=batch.values.clone(), lengths=batch.lengths.clone(),
            labels={name: label.clone() for name, label in batch.labels.items()},
        )  # fmt: skip

        def work() -> None:
            loss, norm = step(static)
            self._values.copy_(torch.stack([loss, norm]))
            self.update.clear()  # the gradients lie in the shared pool

        if self._device.type == "cuda":  # a capture does so too; what it takes is measured
            torch.cuda.empty_cache()
        start, before = time.perf_counter(), _free(self._device)
        try:
            replay = self._recorder.record(work)
        except torch.OutOfMemoryError:
            self.update.clear()
            torch.cuda.empty_cache()
            logger.warning("no memory to record a step of %s: it runs unrecorded", tuple(batch.values.shape))
            return False
        except RuntimeError as error:  # an operator that no graph can hold; the GPU's state is not to be relied on
            why = " ".join(str(error).split())[:300]
            raise UserError(f"a step cannot be recorded: {why}; set without = ['graphs'] in [resources]") from error
        self._recorded[key] = Recorded(static, replay, network)
        self.costs.append(Cost(time.perf_counter() - start, before - _free(self._device)))
        return True


class Graphs:
    """The static networks of a process on one device.

    Attributes:
        quiet: held while a step is recorded, and by the thread that puts batches together while it uses the device.
    """

    def __init__(self, device: torch.device, recorder: Recorder) -> None:
        self.quiet = threading.RLock()
        self._device, self._recorder = device, recorder
        self._networks = OrderedDict[Hashable, StaticNetwork]()

    @contextmanager
    def lend(self, task: Task, network: nn.Module, train: Train) -> Iterator[StaticNetwork]:
        """The static network for a trial's network, which computes on the static network's tensors from then on.

        Inside the block a head that the task lets be padded is one of a ladder of sizes.
        """
        recurrent = any(isinstance(part, nn.RNNBase) for part in network.modules())
        assert not recurrent, "cuDNN moves the weights of recurrent layers, and a graph would not notice"
        padded = getattr(task, "padded_head", "")
        if padded:
            setattr(network, padded, PaddedHead(getattr(network, padded)))
        key = _kind(task, network, train)
        if key not in self._networks:
            while len(self._networks) >= MOST_NETWORKS:
                self._networks.popitem(last=False)
            self._networks[key] = StaticNetwork(network, train, self._device, self)
        self._networks.move_to_end(key)
        static = self._networks[key]
        static.adopt(network)
        yield static
        if padded:
            setattr(network, padded, getattr(network, padded).plain())

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records while no batch is put together."""
        with self.quiet:
            return self._recorder.record(work)

    @property
    def costs(self) -> list[Cost]:
        """Of every recording so far that is still held."""
        return [cost for static in self._networks.values() for cost in static.costs]


@cache
def graphs_on(device: torch.device) -> Graphs:
    """The static networks of this process on a GPU."""
    return Graphs(device, CudaRecorder())


def unrecordable(task: Task, workers: int = 1) -> str:
    """Why the steps of a task cannot be recorded; "" if they can."""
    if not getattr(task, "recordable", False):
        return "this task's steps are not recorded"
    if workers > 1:
        return "several workers train each model"
    model = getattr(task, "model", None)
    if model is not None and model.layerdrop > 0:
        return "LayerDrop leaves out other layers in each step"
    return ""


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer once."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def _held(batch: Batch) -> list[torch.Tensor]:
    """What a step reads of a batch."""
    return [batch.values, batch.lengths, *batch.labels.values()]


def _shapes(batch: Batch) -> Hashable:
    """What batches of one recorded step have in common."""
    labels = tuple((name, label.shape, label.dtype) for name, label in batch.labels.items())
    return batch.values.shape, batch.padded, labels


def _kind(task: Task, network: nn.Module, train: Train) -> Hashable:
    """What networks that share a static network have in common: everything that a recorded step holds but values."""
    tensors = tuple((name, one.shape, one.dtype, one.requires_grad) for name, one in _tensors(network))
    kernels = tuple(part.kernels for part in network.modules() if isinstance(part, Encoder))
    return type(task), repr(task.options), repr(getattr(task, "model", None)), train, repr(network), tensors, kernels


def _free(device: torch.device) -> int:
    """Bytes of the device that nobody holds: graphs lie in the driver's memory too, which PyTorch does not count."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
