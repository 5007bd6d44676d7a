"""Penalties against forgetting: exactly none at strength 0, an anchor at a huge one, and Kirkpatrick's form between."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from grids.errors import UserError
from tasks.base import Batch
from tasks.regularise import Regularise, attach, diagonal_fisher, learning, penalty, read_fisher


class Line(nn.Module):
    """y = w x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-1.0))


def fitted(options: Regularise, steps: int = 80) -> Line:
    """A line drawn to w = 5, b = 4 by Adam, as the engine clips and steps."""
    line = Line()
    attach(line, options)
    optimiser = torch.optim.AdamW(line.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        ((line.weight - 5).square() + (line.bias - 4).square() + penalty(line)).backward()
        nn.utils.clip_grad_norm_(line.parameters(), 1.0)
        optimiser.step()
    return line


def fisher_file(path: Path, weight: float, bias: float) -> str:
    save_file({"weight": torch.tensor(weight), "bias": torch.tensor(bias)}, path)
    return str(path)


def test_strength_0_is_bit_for_bit_no_penalty(tmp_path: Path) -> None:
    plain = fitted(Regularise())
    for options in (Regularise("l2"), Regularise("ewc", 0.0, fisher_file(tmp_path / "f", 1.0, 1.0))):
        held = fitted(options)
        assert torch.equal(held.weight, plain.weight)
        assert torch.equal(held.bias, plain.bias)


def test_a_huge_strength_holds_what_matters_and_lets_the_rest_go(tmp_path: Path) -> None:
    held = fitted(Regularise("ewc", 1e9, fisher_file(tmp_path / "f", 1.0, 0.0)))
    assert abs(held.weight.item() - 2) < 2 * 0.05, "within two steps, however many were taken"
    both = fitted(Regularise("l2", 1e9))
    assert max(abs(both.weight.item() - 2), abs(both.bias.item() + 1)) < 2 * 0.05
    assert abs(fitted(Regularise()).weight.item() - 2) > 2


def test_the_penalty_is_half_the_strength_times_fisher_times_the_square(tmp_path: Path) -> None:
    line = Line()
    attach(line, Regularise("ewc", 3.0, fisher_file(tmp_path / "f", 0.5, 4.0)))
    with torch.no_grad():
        line.weight += 2
        line.bias -= 1
    value = penalty(line)
    assert float(value) == pytest.approx(3 / 2 * (0.5 * 4 + 4.0 * 1))
    assert set(line.state_dict()) == {"weight", "bias"}, "a checkpoint knows nothing of it"


def test_fisher_is_the_mean_of_squared_gradients_of_single_examples() -> None:
    line = Line()
    batches = [Batch(torch.tensor([[x]]), torch.tensor([1])) for x in (1.0, 3.0)]
    found = diagonal_fisher(line, lambda batch: line.weight * batch.values[:, 0], batches)
    assert found["weight"].item() == pytest.approx((1 + 9) / 2)
    assert found["bias"].item() == 0
    assert all(weight.grad is None for _, weight in learning(line))


def test_a_fisher_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "f")
    with pytest.raises(UserError, match=r"\(2,\) for the weight weight; needed: \(\)"):
        read_fisher(tmp_path / "f", Line())
    with pytest.raises(UserError, match="cannot read"):
        read_fisher(tmp_path / "none", Line())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "ewc"}, "fisher"),
        ({"kind": "l2", "fisher": "/f"}, "fisher"),
        ({"kind": "l2", "strength": -1.0}, "strength"),
        ({"kind": "ewc", "fisher": "f"}, "absolute"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Regularise(**options)  # type: ignore[arg-type]
