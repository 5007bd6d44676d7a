"""Networks on disk: what a grid's `keep = ["checkpoints"]` leaves of a trial, to use and to start from.

A folder holds `card.json` (the task, its options, what weights do not say) and the weights, in one of two forms:

* a backbone with a head for which transformers has a class: the format of `save_pretrained`. That class reads it, and
  so does `backbone` in a grid's [model];
* any other network: `model.safetensors` with our own names, which only `read` reads. If it has a backbone, that lies in
  the folder `backbone`, in the format of `save_pretrained`.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from grids.errors import UserError, require
from grids.grid import NO_BACKBONE, Model
from grids.schema import from_table, settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.encoder import Encoder

T = TypeVar("T", bound="Kept")
CARD, WEIGHTS, BACKBONE = "card.json", "model.safetensors", "backbone"


class Kept(Protocol):
    """What a task has, beside the members of `tasks.base.Task`, whose networks are kept. A network has `head`.

    Attributes:
        Described: frozen dataclass of what weights do not say of a network.
        HEAD: the name of the network's `head` in the class of transformers.
    """

    Described: ClassVar[type[Any]]
    HEAD: ClassVar[str]

    def __init__(self, options: Any, model: Model) -> None: ...

    def save(self, network: Any, folder: Path) -> None:
        """Writes the network into a folder that is there: `write_card`, and `write_plain` or `write_own`."""

    def remade(self, described: Any) -> Any:
        """A network of that description; `read` gives it its weights."""


@dataclass(frozen=True)
class Card:
    """What weights do not say.

    Attributes:
        task: a name in `tasks.TASKS`.
        options: the task's.
        derived: what followed from them when the network was kept, e.g. `CtcOptions.rules`.
        network: a `Kept.Described`.
    """

    task: str
    options: Mapping[str, Any]
    derived: Mapping[str, Any]
    network: Mapping[str, Any]


def write_card(task: Any, described: Any, folder: Path) -> None:
    """Writes what the weights of a task's network do not say."""
    from tasks import TASKS

    own = f"{type(task).__module__}:{type(task).__name__}"
    name = next(name for name, place in TASKS.items() if place == own)
    derived = {field.name: getattr(task.options, field.name) for field in fields(task.options) if not field.init}
    card = asdict(Card(name, settings(task.options), derived, asdict(described)))
    (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")


def write_plain(backbone: "Encoder", kind: Any, settings: Mapping[str, Any], parts: Mapping[str, nn.Module],
                folder: Path) -> None:  # fmt: skip
    """Writes a backbone with its head as a class of transformers has them, and its feature extractor.

    Args:
        backbone: the backbone; low-rank changes are added in.
        kind: the auto class, e.g. `transformers.AutoModelForCTC`.
        settings: of the configuration.
        parts: name in that class -> what is there.
        folder: to write to.
    """
    from transformers import Wav2Vec2FeatureExtractor

    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    for name, value in settings.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = kind.from_config(config)
    model.get_submodule(model.base_model_prefix).load_state_dict(_plain(backbone.model).state_dict())
    for name, part in parts.items():
        model.get_submodule(name).load_state_dict(part.state_dict())
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)


def write_own(network: nn.Module, folder: Path) -> None:
    """Writes the weights of a network for which transformers has no class."""
    if backbone := _backbone(network):
        backbone.model.save_pretrained(folder / BACKBONE)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in _beside(network).items()}, folder / WEIGHTS)


def read(folder: Path, of: type[T]) -> tuple[T, Any]:
    """The task and its network, ready to evaluate.

    Args:
        folder: of a checkpoint.
        of: what the task must be.

    Raises:
        UserError: the folder holds no network, or one of another program or task.
    """
    from tasks import TASKS, task_class

    if not (folder / CARD).is_file():
        raise UserError(f"{str(folder)!r} holds no {CARD}; allowed: a folder of checkpoints/, kept by a grid with "
                        'keep = ["checkpoints"]')  # fmt: skip
    try:
        card = from_table(Card, json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is damaged: {error}") from None
    cls: Any = task_class(card.task)
    if not issubclass(cls, of):
        allowed = ", ".join(name for name in TASKS if issubclass(task_class(name), of))
        raise UserError(f"{str(folder)!r} holds a network of the task {card.task!r}; allowed: {allowed}")
    task = cls(_options(cls.Options, card, folder), Model(backbone=_start(folder)))
    network = task.remade(from_table(cls.Described, dict(card.network)))
    _fill(network, cls.HEAD, folder)
    return task, network.eval()


def _options(cls: type[Any], card: Card, folder: Path) -> Any:
    """The card's options.

    Raises:
        UserError: what follows from them is not what it was.
    """
    options = from_table(cls, dict(card.options), "[options]")
    for name, was in card.derived.items():
        now = getattr(options, name, None)
        require(was == now, f"{name} of {str(folder)!r} is {was!r}; this program has {now!r}")
    return options


def _start(folder: Path) -> str:
    """The backbone that a folder's network has."""
    if (folder / "config.json").is_file():
        return str(folder)
    return str(folder / BACKBONE) if (folder / BACKBONE).is_dir() else NO_BACKBONE


def _fill(network: Any, head: str, folder: Path) -> None:
    """Gives a network, whose backbone is as the folder has it, the rest of its weights.

    Raises:
        UserError: they are not of this network.
    """
    weights = load_file(folder / WEIGHTS)
    if (folder / "config.json").is_file():
        network.head.load_state_dict({name: weights[f"{head}.{name}"] for name in ("weight", "bias")})
        return
    if weights.keys() != _beside(network).keys():
        raise UserError(f"{folder / WEIGHTS} is damaged: it has other weights than those of its network")
    network.load_state_dict(weights, strict=False)


def _backbone(network: Any) -> "Encoder | None":
    """The backbone inside a network's encoder, if it has one."""
    return getattr(network.encoder, "backbone", None)


def _beside(network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network without those of `_backbone`."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("encoder.backbone.")}


def _plain(model: nn.Module) -> nn.Module:
    """The model with low-rank changes added to the layers that they change; a copy, if it has any."""
    if not any(hasattr(part, "get_base_layer") for part in model.modules()):
        return model
    copied: Any = copy.deepcopy(model)
    for name, part in [(name, part) for name, part in copied.named_modules() if hasattr(part, "get_base_layer")]:
        part.merge()
        copied.set_submodule(name, part.get_base_layer())
    return copied
