"""What of a backbone learns: everything, nothing, or a small part that is added to it or lies in it.

| learn | what learns beside the head |
|---|---|
| "all" | the whole backbone, its convolutions as [model] says |
| "head" | nothing |
| "lora" | a low-rank change of the attention's queries and values (the extra `lora`) |
| "adapters" | a bottleneck after the attention and one after the feed-forward part of each layer, and the layer norms |
| "own_adapters" | the adapters that the backbone has: MMS, and others whose configuration has `adapter_attn_dim` |

Each starts where the backbone is: what is added changes nothing at first, and adapters of its own are as its weights
have them.

Sources: E. Hu et al., "LoRA", ICLR 2022; N. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019,
section 2.1 (in wav2vec 2.0: B. Thomas et al., "Efficient Adapter Transfer of Self-Supervised Speech Models for ASR",
ICASSP 2022); V. Pratap et al., "Scaling Speech Technology to 1,000+ Languages", 2023 (MMS).
"""

import json
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError, require
from tasks.backbones import resolve
from tasks.encoder import Encoder
from tasks.examples import keyed

Learn = Literal["all", "head", "lora", "adapters", "own_adapters"]
SIZED = ("lora", "adapters")  # what has a rank
CHANGED = ("q_proj", "v_proj")
OWN = ("hubert", "wav2vec2")  # families whose layers may have adapters of their own


class Bottleneck(nn.Module):
    """h -> h + up(gelu(down(h))), which is h at the start.

    Args:
        width: H, the size of h.
        rank: of the bottleneck.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden_KFH: torch.Tensor) -> torch.Tensor:
        """(K, F, H) -> (K, F, H)."""
        return hidden_KFH + self.up(functional.gelu(self.down(hidden_KFH)))


def check(name: str, learn: Learn) -> None:
    """Raises a `UserError` if a backbone cannot learn so; reads its configuration alone."""
    if learn == "lora" and not find_spec("peft"):
        raise UserError("learn = 'lora' in [options] needs the extra `lora`: pip install 'cltm-engine[lora]'")
    config = json.loads((resolve(name) / "config.json").read_text(encoding="utf-8"))
    family, others = config.get("model_type"), "allowed: 'all', 'head', 'adapters'"
    require(learn != "lora" or family != "wavlm", "learn in [options] is 'lora': the attention of WavLM passes over a "
                                                  f"change of its layers; {others}")  # fmt: skip
    own = family in OWN and config.get("do_stable_layer_norm") and config.get("adapter_attn_dim")
    require(learn != "own_adapters" or bool(own), f"learn in [options] is 'own_adapters': the backbone {name!r} has "
                                                  f"none (adapter_attn_dim in its config.json); {others}")  # fmt: skip


def restrict(backbone: Encoder, learn: Learn, rank: int, seed: int) -> nn.ModuleList:
    """Lets a backbone learn so and no more.

    Args:
        backbone: a fresh one, which `check` found able to.
        learn: see the module's docstring.
        rank: of the change or of the bottlenecks.
        seed: what is added starts from it alone.

    Returns:
        The modules that were added beside the backbone's own; it calls them.
    """
    if learn == "all":
        return nn.ModuleList()
    backbone.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed(learn, seed) % 2**63)
        if learn == "lora":
            _add_lora(backbone, rank)
        if learn == "adapters":
            return _added_adapters(backbone, rank)
    if learn == "own_adapters":
        for layer in backbone.model.encoder.layers:
            layer.adapter_layer.requires_grad_(True)
    return nn.ModuleList()


def trained_share(network: Any) -> float:
    """The share of a network's parameters that learn; 0 for what has none."""
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else []
    total = sum(parameter.numel() for parameter in parameters)
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad) / max(total, 1)


def _add_lora(backbone: Encoder, rank: int) -> None:
    """Gives a frozen backbone low-rank changes; alpha is twice the rank."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(CHANGED)), backbone.model)


def _added_adapters(backbone: Encoder, rank: int) -> nn.ModuleList:
    """Lets layer norms learn, and puts bottlenecks before both sums of each layer.

    Hooks, so that the backbone keeps the names of its weights. In all families `dropout` is what ends the attention.
    """
    added = nn.ModuleList()
    for layer in backbone.model.encoder.layers:
        for part in (layer.dropout, layer.feed_forward):
            added.append(adapter := Bottleneck(backbone.width, rank))
            _follow(part, adapter)
    for module in backbone.model.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.requires_grad_(True)
    return added


def _follow(part: nn.Module, adapter: nn.Module) -> None:
    """Lets a module's output go through an adapter."""
    part.register_forward_hook(lambda module, inputs, output: adapter(output))
