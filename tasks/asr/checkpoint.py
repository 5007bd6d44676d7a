"""Recognisers on disk: what a grid's `keep = ["checkpoints"]` leaves of a trial, to transcribe with and to start from.

A folder holds `recogniser.json` (what the network can write, and the task's options) and its weights. A fine-tuned
backbone lies in the format of `save_pretrained`, with a tokenizer and a feature extractor: `HubertForCTC` and its like
read it, and so does `backbone` in a grid's [model].
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from grids.errors import UserError, require
from grids.grid import NO_BACKBONE, Model
from grids.schema import from_table
from tasks.asr.vocabulary import BLANK, View

if TYPE_CHECKING:
    from tasks.asr.system import CtcSystem, Recogniser
    from tasks.backbones import Encoder

CARD, WEIGHTS = "recogniser.json", "model.safetensors"
PAD_TOKEN, SPACE_TOKEN = "<pad>", "|"  # of transformers' CTC tokenizer: the blank, and a space


@dataclass(frozen=True)
class Card:
    """What weights do not say.

    Attributes:
        task: a name in `tasks.TASKS`.
        options: the task's.
        symbols: the names of the head's rows.
        views: what the network can write.
    """

    task: str
    options: Mapping[str, Any]
    symbols: tuple[str, ...]
    views: tuple[View, ...]


def write(task: "CtcSystem", network: "Recogniser", folder: Path) -> None:
    """Writes the card and the weights into a folder that is there."""
    from tasks import TASKS

    own = f"{type(task).__module__}:{type(task).__name__}"
    name = next(name for name, place in TASKS.items() if place == own)
    card = Card(name, asdict(task.options), network.symbols, network.views)
    (folder / CARD).write_text(json.dumps(asdict(card), ensure_ascii=False, indent=1), encoding="utf-8")
    if backbone := getattr(network.encoder, "backbone", None):
        _write_pretrained(network, backbone, folder)
    else:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        save_file(weights, folder / WEIGHTS)


def read(folder: Path) -> "tuple[CtcSystem, Recogniser]":
    """The task and its network, ready to evaluate.

    Raises:
        UserError: the folder holds no recogniser, or one of another program.
    """
    from tasks import task_class

    if not (folder / CARD).is_file():
        raise UserError(f"{str(folder)!r} holds no {CARD}; allowed: a folder of checkpoints/, kept by a grid with "
                        'keep = ["checkpoints"]')  # fmt: skip
    try:
        card = from_table(Card, json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is damaged: {error}") from None
    cls: Any = task_class(card.task)
    pretrained = (folder / "config.json").is_file()
    model = Model(backbone=str(folder) if pretrained else NO_BACKBONE)
    task = cls(_options(cls.Options, card, folder), model)
    network = task.recogniser(card.symbols, card.views, 0)
    weights = load_file(folder / WEIGHTS)
    if pretrained:
        network.head.load_state_dict({name: weights[f"lm_head.{name}"] for name in ("weight", "bias")})
    else:
        network.load_state_dict(weights)
    return task, network.eval()


def _options(cls: type[Any], card: Card, folder: Path) -> Any:
    """The card's options.

    Raises:
        UserError: what follows from them (`CtcOptions.rules`) is not what it was.
    """
    settings = {field.name for field in fields(cls) if field.init}
    options = from_table(cls, {name: value for name, value in card.options.items() if name in settings}, "[options]")
    for name in card.options.keys() - settings:
        was, now = card.options[name], getattr(options, name, None)
        require(was == now, f"{name} of {str(folder)!r} is {was!r}; this program has {now!r}")
    return options


def _write_pretrained(network: "Recogniser", backbone: "Encoder", folder: Path) -> None:
    """The network as the backbone's class for CTC, its tokenizer and its feature extractor."""
    from transformers import AutoModelForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    config.vocab_size, config.pad_token_id, config.ctc_loss_reduction = len(network.symbols), 0, "mean"
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCTC.from_config(config)
    getattr(model, model.base_model_prefix).load_state_dict(_plain(backbone.model).state_dict())
    model.lm_head.load_state_dict(network.head.state_dict())
    model.save_pretrained(folder)
    names = {BLANK: PAD_TOKEN, " ": SPACE_TOKEN}
    vocabulary = {names.get(symbol, symbol): row for row, symbol in enumerate(network.symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), bos_token=None, eos_token=None, unk_token=PAD_TOKEN, pad_token=PAD_TOKEN,
        word_delimiter_token=SPACE_TOKEN,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)


def _plain(model: torch.nn.Module) -> torch.nn.Module:
    """The model with low-rank changes added to the layers that they change; a copy, if it has any."""
    if not any(hasattr(part, "get_base_layer") for part in model.modules()):
        return model
    copied: Any = copy.deepcopy(model)
    for name, part in [(name, part) for name, part in copied.named_modules() if hasattr(part, "get_base_layer")]:
        part.merge()
        copied.set_submodule(name, part.get_base_layer())
    return copied
