"""Pretrained encoders (HuBERT, mHuBERT, wav2vec 2.0, XLS-R, WavLM; Whisper's), made safe to batch.

`load(model)` returns an `Encoder`: equal weights at every call, and outputs that do not depend on the other clips of a
batch (`tasks.encoder`).

The built-in encoders "tiny" and "tiny-groupnorm" are folders of the same kind, made once, so that no code path knows
the difference. They are for trying things out: nothing about them is pretrained but a mel-spaced filter bank.

transformers is imported where a model is made or read: it takes seconds, and planning needs names and hashes alone.
"""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from grids.errors import UserError
from grids.files import expanded, sha256_of
from grids.grid import Model
from tasks.data.cache import cache_folder, explained, new_folder
from tasks.encoder import Encoder

if TYPE_CHECKING:
    from transformers import HubertConfig, HubertModel

TINY = {"tiny": "layer", "tiny-groupnorm": "group"}
TINY_LLM = "tiny-llm"  # made by `tasks.tiny_llm`
TINY_WHISPER = "tiny-whisper"  # made by `tasks.tiny_whisper`
BUILT_IN = (*TINY, TINY_LLM, TINY_WHISPER)
TINY_RECIPE = 1  # raise it when `_make_tiny` changes what it makes
UNUSED_WEIGHTS = {"masked_spec_embed"}  # only SpecAugment uses it, and not every published file has it
OF_LANGUAGES = "adapter.*"  # MMS: adapters of a thousand languages, of which `load_adapter` of transformers reads one
MODEL_FILES = ("config.json", "model.safetensors")  # one of them makes a folder a model's
ENCODERS = ("hubert", "wav2vec2", "wavlm", "whisper")
CPU = torch.device("cpu")
_device: ContextVar[torch.device] = ContextVar("device of fresh backbones", default=CPU)


@contextmanager
def loaded_on(device: torch.device) -> Iterator[None]:
    """Lets `load` give copies that lie on a device, made of one that stays there for the life of the process."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def load(model: Model) -> Encoder:
    """A fresh copy of the backbone, in float32, on the CPU or where `loaded_on` says. The weights are read once.

    Raises:
        UserError: no such backbone, or one that is no raw-waveform encoder.
    """
    return copy.deepcopy(_resident(resolve(model.backbone), model, _device.get()))


def resolve(name: str) -> Path:
    """The local folder of a backbone: a built-in one (made if needed), a folder, or a hub name (fetched if needed).

    Raises:
        UserError: neither a folder nor to be had from the hub.
    """
    if name in TINY:
        return _make_tiny(TINY[name])
    if name == TINY_LLM:
        from tasks import tiny_llm

        return tiny_llm.folder()
    if name == TINY_WHISPER:
        from tasks import tiny_whisper

        return tiny_whisper.folder()
    folder = expanded(name)
    if any((folder / file).is_file() for file in MODEL_FILES):
        return folder.resolve()
    if folder.is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        built_in = ", ".join(BUILT_IN)
        what = "holds no config.json" if folder.is_dir() else "is no folder and no hub name"
        raise UserError(f"backbone {name!r} {what}; allowed: a folder saved by save_pretrained, a hub name, {built_in}")
    return _fetch(name)


def fingerprint(name: str, further: tuple[str, ...] = ()) -> str:
    """A hash of a backbone's configuration and weights, so of what it is and not of where it lies.

    Args:
        name: the backbone.
        further: suffixes of other files that count.
    """
    folder = resolve(name)
    digest = hashlib.sha256()
    files = {path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", *further)}
    for path in sorted({*files, *folder.glob("config.json")} - {*folder.glob(OF_LANGUAGES)}):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def _fetch(name: str) -> Path:
    """The snapshot of a hub model in the local cache."""
    from huggingface_hub import snapshot_download

    weights = ["*.json", "*.jinja", "*.safetensors", "pytorch_model*.bin"]
    try:
        return Path(snapshot_download(name, allow_patterns=weights, ignore_patterns=[OF_LANGUAGES]))
    except Exception as error:  # the hub client raises a dozen unrelated types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"backbone {name!r} is no folder and could not be had from the hub: {reason}") from None


@lru_cache(maxsize=4)
def _resident(folder: Path, model: Model, device: torch.device) -> Encoder:
    """The encoder on a device, kept for the life of the process."""
    pristine = _pristine(folder, model)
    return pristine if device == CPU else copy.deepcopy(pristine).to(device)


@lru_cache(maxsize=4)
def _pristine(folder: Path, model: Model) -> Encoder:
    """The encoder as read from the folder, kept for the life of the process."""
    if not (folder / "config.json").is_file():
        raise UserError(f"backbone {str(folder)!r} holds weights without a config.json, so no raw-waveform encoder")
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in ENCODERS:
        allowed = ", ".join(ENCODERS)
        raise UserError(f"backbone {str(folder)!r} is of type {config.model_type!r}; allowed: {allowed}")
    if config.model_type == "whisper":
        from tasks import whisper_frames

        return whisper_frames.read(folder, model)
    disable_progress_bar()
    config.apply_spec_augment = model.spec_augment
    config.layerdrop = model.layerdrop
    with torch.random.fork_rng(devices=[]):  # the first load of a process must leave the generator as later ones do
        torch.manual_seed(0)
        network, found = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, weights_only=True,
            output_loading_info=True,
        )  # fmt: skip
    missing = sorted(set(found["missing_keys"]) - UNUSED_WEIGHTS)
    if missing:
        raise UserError(f"backbone {str(folder)!r} lacks {len(missing)} weights of its network, e.g. {missing[0]}")
    if getattr(network, "adapter", None) is not None:
        raise UserError(f"backbone {str(folder)!r} shortens its output (add_adapter in its config.json); allowed: one "
                        "with a frame in 20 ms")  # fmt: skip
    if model.freeze_feature_encoder:
        network.feature_extractor._freeze_parameters()
    return Encoder(network)


def _make_tiny(norm: str) -> Path:
    """The folder of a built-in encoder (2 layers of 64), made once and renamed into place."""
    folder = cache_folder() / "models" / f"tiny-{norm}-{TINY_RECIPE}"
    if (folder / "config.json").is_file():
        return folder
    from transformers import HubertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HubertModel(_tiny_config(norm))
        _gabor_filters(model)
    with explained(f"encoder tiny-{norm}", folder.parent), new_folder(folder) as temporary:
        model.save_pretrained(temporary)
    return folder


def _tiny_config(norm: str) -> "HubertConfig":
    """HuBERT's configuration at the tiny size; frames of 20 ms."""
    from transformers import HubertConfig

    return HubertConfig(
        vocab_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        conv_dim=(64, 64), conv_kernel=(400, 8), conv_stride=(80, 4), conv_bias=True, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
        layerdrop=0.0, apply_spec_augment=False,
    )  # fmt: skip


@torch.no_grad()
def _gabor_filters(model: "HubertModel") -> None:
    """Sets the two convolutions to mel-spaced Gabor filters (25 ms, pre-emphasised) and their mean over 40 ms.

    The second convolution gives each band twice, as x and -x, because the activation between loses the negative half.
    A random front end learns far less from a few dozen clips.
    """
    bands, kernel = 32, 400
    lowest, highest = 1127 * np.log1p(np.array([80.0, 7200.0]) / 700)
    mel = np.linspace(lowest, highest, bands)
    frequency = 700 * np.expm1(mel / 1127)
    phase = 2 * np.pi * frequency[:, None] * np.arange(kernel) / 16_000
    filters = np.concatenate([np.cos(phase), np.sin(phase)]) * np.hanning(kernel)
    emphasis = np.sqrt(np.maximum(frequency / 500, 1))
    filters *= np.tile(emphasis, 2)[:, None] / np.linalg.norm(filters, axis=1, keepdims=True)
    first, second = (layer.get_submodule("conv") for layer in model.feature_extractor.conv_layers)
    first.get_parameter("weight").copy_(torch.tensor(filters, dtype=torch.float32)[:, None])
    first.get_parameter("bias").zero_()
    mean = torch.zeros_like(second.get_parameter("weight"))
    for band in range(bands):
        for output, sign in ((band, 1.0), (band + bands, -1.0)):
            mean[output, [band, band + bands]] = sign / 16
    second.get_parameter("weight").copy_(mean)
    second.get_parameter("bias").zero_()
