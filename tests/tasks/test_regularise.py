"""Penalties against forgetting: exactly none at strength 0, no move at a huge one, Kirkpatrick's minimum between."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from grids.errors import UserError
from tasks.base import AfterStep, Batch
from tasks.regularise import ATTACHED, Regularise, attach, diagonal_fisher, learning, read_fisher


class Line(nn.Module):
    """y = w x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-1.0))


def fitted(options: Regularise, steps: int = 80, rate: float = 0.05) -> Line:
    """A line drawn to w = 5, b = 4, as the training loop clips and steps."""
    line = Line()
    attach(line, options)
    optimiser = torch.optim.AdamW(line.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        ((line.weight - 5).square() + (line.bias - 4).square()).backward()
        nn.utils.clip_grad_norm_(line.parameters(), 1.0)
        optimiser.step()
        for part in line.modules():
            if isinstance(part, AfterStep):
                part.after_step(line, rate)
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


def test_at_a_huge_strength_what_matters_does_not_move_and_the_rest_goes(tmp_path: Path) -> None:
    held = fitted(Regularise("ewc", 1e12, fisher_file(tmp_path / "f", 0.01, 0.0)))
    plain = fitted(Regularise())
    assert held.weight.item() == 2
    assert abs(held.bias.item() - plain.bias.item()) < 0.5
    both = fitted(Regularise("l2", 1e12))
    assert (both.weight.item(), both.bias.item()) == (2, -1)
    assert abs(plain.weight.item() - 2) > 2


def test_a_step_is_the_minimum_of_the_penalty_and_the_distance_to_where_the_optimiser_went(tmp_path: Path) -> None:
    strength, rate, line = 3.0, 0.1, Line()
    attach(line, Regularise("ewc", strength, fisher_file(tmp_path / "f", 0.5, 4.0)))
    with torch.no_grad():
        line.weight += 2
        line.bias -= 1
    went = {"weight": line.weight.item(), "bias": line.bias.item()}
    getattr(line, ATTACHED).after_step(line, rate)
    for name, start, fisher in (("weight", 2.0, 0.5), ("bias", -1.0, 4.0)):
        places = torch.linspace(-4, 6, 1_000_001, dtype=torch.float64)
        cost = strength / 2 * fisher * (places - start).square() + (places - went[name]).square() / (2 * rate)
        assert getattr(line, name).item() == pytest.approx(places[cost.argmin()].item(), abs=2e-5)
    assert set(line.state_dict()) == {"weight", "bias"}, "a checkpoint knows nothing of it"


def test_a_stronger_penalty_holds_nearer() -> None:
    found = [abs(fitted(Regularise("l2", strength)).weight.item() - 2) for strength in (0.0, 0.3, 3.0, 30.0, 300.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[2] > 0


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
        ({"kind": "l2", "strength": float("inf")}, "strength"),
        ({"kind": "ewc", "fisher": "f"}, "absolute"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Regularise(**options)  # type: ignore[arg-type]
