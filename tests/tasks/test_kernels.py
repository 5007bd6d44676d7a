"""Products, norms and casts are what the plain layers give, forward and backward."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.kernels import (
    MOST_COLUMNS,
    LeanNorm,
    MaskedChannelNorm,
    attention_bias,
    grouped_product,
    weights_cast,
    within,
)  # fmt: skip

CPU = torch.device("cpu")


@pytest.mark.parametrize(("groups", "width", "kernel"), [(4, 32, 16), (16, 48, 128), (1, 8, 5), (2, 12, 7)])
def test_a_product_is_the_convolution_forward_and_backward(groups: int, width: int, kernel: int) -> None:
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(
        nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups), dim=2
    )
    hidden = torch.randn(3, 40, width, requires_grad=True)
    expected = conv(hidden.transpose(1, 2)).transpose(1, 2)
    towards = torch.randn_like(expected)
    inputs = [hidden, *conv.parameters()]
    wanted = torch.autograd.grad((expected * towards).sum(), inputs)
    found = grouped_product(hidden, conv.weight, conv.bias, groups, kernel // 2)
    assert torch.allclose(found, expected, rtol=0, atol=2e-6)
    for one, other in zip(torch.autograd.grad((found * towards).sum(), inputs), wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_a_product_is_of_the_convolutions_type(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    conv, hidden = nn.Conv1d(32, 32, 16, padding=8, groups=4), torch.randn(2, 20, 32)
    with torch.autocast("cpu", dtype):
        expected = conv(hidden.transpose(1, 2)).transpose(1, 2)
        found = grouped_product(hidden, conv.weight, conv.bias, 4, 8)
    assert found.dtype == expected.dtype == dtype
    exact = conv(hidden.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(found.float(), exact, rtol=0, atol=0.02)


def test_a_product_of_many_clips_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, hidden = nn.Conv1d(32, 32, 16, padding=8, groups=4), torch.randn(5, 20, 32)
    whole = grouped_product(hidden, conv.weight, conv.bias, 4, 8)
    monkeypatch.setattr("tasks.kernels.MOST_COLUMNS", 2 * 20 * 32 * 16)
    with torch.no_grad():
        assert torch.allclose(grouped_product(hidden, conv.weight, conv.bias, 4, 8), whole, rtol=0, atol=1e-6)
    assert MOST_COLUMNS * 2 < 300e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lean_norm_is_the_norm_in_half_the_memory(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = nn.GroupNorm(8, 8)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    norm, counts = MaskedChannelNorm(plain), torch.tensor([50, 20, 7])
    hidden = (torch.randn(3, 8, 50) + 0.3).to(dtype)
    hidden[1, :, 20:] = 1e4  # of no clip
    with torch.no_grad():
        wanted, found = norm(hidden, counts), norm(hidden, counts, lean=True)
    assert found.dtype == dtype
    for row, count in enumerate(counts):
        assert torch.allclose(wanted[row, :, :count].float(), found[row, :, :count].float(), rtol=0,
                              atol=1e-5 if dtype == torch.float32 else 0.05)  # fmt: skip


@pytest.mark.parametrize("frames", [50, 40])
def test_a_lean_norm_has_the_gradient_of_the_norm(frames: int) -> None:
    torch.manual_seed(0)
    plain = nn.GroupNorm(6, 6)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    norm, counts = MaskedChannelNorm(plain), torch.tensor([40, 17, 7])
    hidden = torch.randn(3, 6, frames, requires_grad=True)
    towards = torch.randn(3, 6, frames) * within(counts, frames)[:, None]  # nobody reads the padding
    found = []
    for lean in (False, True):
        output = norm(hidden, counts, lean=lean)
        found.append(torch.autograd.grad((output * towards).sum(), [hidden, norm.weight, norm.bias]))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=2e-5)


def test_a_lean_norm_keeps_its_input_and_no_copy() -> None:
    kept: list[torch.Tensor] = []
    hidden = torch.randn(2, 8, 500, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        LeanNorm.apply(hidden, torch.ones(8), torch.zeros(8), torch.tensor([500, 300]), 1e-5)
    large = [one for one in kept if one.numel() >= hidden.numel()]
    assert [one.data_ptr() for one in large] == [hidden.data_ptr()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_cast_at_once_are_those_that_autocast_casts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 4, 3), nn.GELU(), nn.Flatten(1), nn.LayerNorm(24), nn.Linear(24, 8))
    network[0].bias.requires_grad_(False)
    hidden, found = torch.randn(3, 4, 8), list[dict[str, Any]]()
    for casts in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype):
            if casts:
                with weights_cast(network, CPU):
                    assert network[4].weight.dtype == dtype
                    assert network[3].weight.dtype == torch.float32, "a norm computes in float32"
                    output = network(hidden)
            else:
                output = network(hidden)
        output.float().square().sum().backward()
        gradients = {name: one.grad for name, one in network.named_parameters()}
        found.append({"output": output.detach(), **gradients})
    assert found[1].pop("0.bias") is found[0].pop("0.bias") is None
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name
    assert all(isinstance(one, nn.Parameter) and one.dtype == torch.float32 for one in network.parameters())


def test_weights_are_put_back_after_an_error_and_left_alone_without_autocast() -> None:
    layer = nn.Linear(3, 3)
    own = layer.weight
    with weights_cast(layer, CPU):
        assert layer.weight is own
    with pytest.raises(KeyError), torch.autocast("cpu", torch.bfloat16), weights_cast(layer, CPU):
        raise KeyError
    assert layer.weight is own


def test_an_attention_bias_hides_padding_and_is_aligned() -> None:
    mask = torch.tensor([[True] * 11, [True] * 4 + [False] * 7])
    bias = attention_bias(mask, torch.float16)
    assert bias.shape == (2, 1, 11, 11)
    assert torch.equal(bias == 0, mask[:, None, None].expand(-1, 1, 11, -1))
    assert torch.equal(bias.isneginf(), ~mask[:, None, None].expand(-1, 1, 11, -1))
    assert all(stride % 8 == 0 for stride in bias.stride()[:-1])
    query = torch.randn(2, 2, 11, 4)
    one, other = (nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=m)
                  for m in (bias.float(), mask[:, None, None]))  # fmt: skip
    assert torch.allclose(one, other, rtol=0, atol=1e-6)
