"""Products, norms and casts are what the plain layers give, forward and backward."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.kernels import (
    MOST_COLUMNS,
    MaskedChannelNorm,
    attention_bias,
    grouped_product,
    normed_convolution,
    strided_product,
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_a_product_are_rounded_once(dtype: torch.dtype) -> None:
    """Windows overlap: added up one after the other in half precision, 128 of them lose three bits."""
    torch.manual_seed(0)
    conv, hidden = nn.Conv1d(64, 64, 128, padding=64, groups=4), torch.randn(2, 200, 64).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        found = grouped_product(hidden, conv.weight, conv.bias, 4, 64)
    towards = torch.randn_like(found)
    own = torch.autograd.grad(found, [hidden, conv.weight], towards)
    weight = conv.weight.detach().to(dtype).double().requires_grad_()
    precise = hidden.detach().double().requires_grad_()
    plain = nn.functional.conv1d(precise.transpose(1, 2), weight, padding=64, groups=4).transpose(1, 2)
    exact = torch.autograd.grad(plain, [precise, weight], towards.double())
    for one, other in zip(own, exact, strict=True):
        assert (one.double() - other).norm() < 1.2 * (other.to(dtype).double() - other).norm()


def test_a_product_keeps_its_frames_and_not_the_windows() -> None:
    kept: list[torch.Tensor] = []
    hidden, weight = torch.randn(2, 50, 32, requires_grad=True), torch.randn(32, 8, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        grouped_product(hidden, weight, None, 4, 8)
    assert max(one.numel() for one in kept) <= weight.numel() < hidden.numel() * 16


def test_a_product_of_many_clips_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, hidden = nn.Conv1d(32, 32, 16, padding=8, groups=4), torch.randn(5, 20, 32, requires_grad=True)
    inputs, found = [hidden, *conv.parameters()], []
    for most in (MOST_COLUMNS, 2 * 20 * 32 * 16):
        monkeypatch.setattr("tasks.kernels.MOST_COLUMNS", most)
        output = grouped_product(hidden, conv.weight, conv.bias, 4, 8)
        found.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
    assert MOST_COLUMNS * 2 < 300e6


@pytest.mark.parametrize("loud", [1.0, 1e-3])
def test_a_normed_convolution_is_the_convolution_and_its_norm(loud: float) -> None:
    """Also of waves whose samples hardly differ from one to the next, of which a filter leaves next to nothing."""
    torch.manual_seed(0)
    conv, plain = nn.Conv1d(1, 8, 10, stride=5), nn.GroupNorm(8, 8)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    norm, lengths = MaskedChannelNorm(plain), torch.tensor([400, 170, 60])
    with torch.no_grad():
        conv.weight[0] = torch.tensor([1.0, -3, 3, -1, 0, 0, 0, 0, 0, 0])  # a third difference
    waves = loud * torch.randn(3, 400) + torch.linspace(0, 3, 400).sin()
    waves *= within(lengths, 400)
    counts = (lengths - 10) // 5 + 1
    towards = torch.randn(3, 8, 79) * within(counts, 79)[:, None]  # nobody reads the padding
    exact = norm(conv.double()(waves.double()[:, None]), counts).float()
    plainly = norm(conv.float()(waves[:, None]), counts)
    windows, weights = normed_convolution(waves, conv.weight, norm, 5, counts)
    assert windows.shape[2] % 8 == 0
    found = torch.bmm(weights, windows.transpose(1, 2))
    parameters = [conv.weight, norm.weight, norm.bias]
    own = [torch.autograd.grad((one * towards).sum(), parameters) for one in (plainly, found)]
    seen = within(counts, 79)[:, None].expand_as(found)
    assert (found - exact)[seen].abs().max() < max(1e-5, 2 * (plainly - exact)[seen].abs().max())
    for one, other in zip(*own, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=float(1e-4 * one.abs().max()))


@pytest.mark.parametrize(("width", "stride"), [(3, 2), (2, 2), (8, 4), (10, 5), (5, 1), (4, 3)])
@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_strided_product_is_the_convolution(
    channels: int, width: int, stride: int, dtype: torch.dtype | None
) -> None:
    torch.manual_seed(0)
    conv, hidden = nn.Conv1d(channels, 4, width, stride=stride), torch.randn(3, 41, channels)
    with torch.no_grad(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        expected = conv(hidden.transpose(1, 2)).transpose(1, 2)
        found = strided_product(hidden, conv.weight, conv.bias, stride)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert torch.allclose(found.float(), expected.float(), rtol=0, atol=2e-6 if dtype is None else 0.04)


def test_a_strided_product_reads_frames_where_they_lie() -> None:
    """A part of a larger tensor, as a batch of a graph's memory may be."""
    whole, conv = torch.randn(5, 20, 8), nn.Conv1d(8, 4, 3, stride=2)
    with torch.no_grad():
        expected = conv(whole[2:].transpose(1, 2)).transpose(1, 2)
        assert torch.allclose(strided_product(whole[2:], conv.weight, conv.bias, 2), expected, rtol=0, atol=2e-6)


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
                    assert network[0].weight.requires_grad
                    assert not network[0].bias.requires_grad, "a frozen layer is not differentiated"
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
