"""The encoder's own arithmetic: products, norms and masks are as in the plain layers, and ask the device nothing."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grids.grid import Model
from tasks.backbones import load, loaded_on
from tasks.base import Batch, Kernels
from tasks.encoder import Encoder, hand_over, use_kernels
from tests.tasks.test_backbones import FAMILIES, saved, waves

EVERY = Kernels(product=True, attention=True, norm=True, convolutions=True, casts=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_with_every_shortcut_an_encoder_gives_the_same(tmp_path: Path, family: str, norm: str) -> None:
    name = saved(tmp_path / "model", family, norm)
    values, counts = waves([9000, 5000, 8000])
    found = []
    for kernels in (Kernels(), EVERY):
        encoder = load(Model(backbone=name)).eval()
        use_kernels(encoder, kernels)
        with torch.no_grad():
            frames = encoder(values, counts, states=None)
        scored = [hidden[frames.mask] for hidden in frames.hidden]
        frames = encoder(values, counts)
        towards = torch.randn(frames.last.shape, generator=torch.Generator().manual_seed(1))
        (frames.last * towards * frames.mask[:, :, None]).sum().backward()
        gradients = {key: one.grad for key, one in encoder.named_parameters() if one.grad is not None}
        found.append((scored, gradients))
    for one, other in zip(*(scored for scored, _ in found), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in found[0][1].values())
    for key, gradient in found[0][1].items():
        assert torch.allclose(gradient, found[1][1][key], rtol=1e-4, atol=2e-6 * largest), key


def test_masks_of_spec_augment_do_not_depend_on_the_padding(tmp_path: Path) -> None:
    name = saved(tmp_path / "model", "hubert", "group")
    encoder = load(Model(backbone=name, spec_augment=True)).train()
    drawn = []
    for total in (8000, 9600):
        np.random.seed(3)
        drawn.append(encoder.draw((8000, 5000), total)["time_mask"])
    short = drawn[0].shape[1]
    assert torch.equal(drawn[0], drawn[1][:, :short])
    assert not drawn[1][:, short:].any()
    assert not drawn[0][1, int(encoder.frames(torch.tensor([5000]))) :].any()
    assert drawn[0].any(dim=1).all()


class OnDevice(TorchDispatchMode):
    """Refuses operators with tensors of two devices: one of them would be copied, and the host would wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        devices = {one.device.type for one in tensors}
        assert len(devices) < 2, f"{func} of tensors on {devices}"
        return func(*args, **(kwargs or {}))


def test_the_guards_see_a_question_and_a_copy() -> None:
    far = torch.zeros(3, device="meta")
    with pytest.raises(AssertionError, match="add"), OnDevice():
        far + torch.zeros(())
    for ask in (lambda: far[0].item(), lambda: bool(far.all()), lambda: far[far > 0], lambda: far.tolist()):
        with pytest.raises((RuntimeError, NotImplementedError)), OnDevice():
            ask()


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device without values; it knows no autocast."""
    real = torch.autocast

    def autocast(kind: str, *arguments: Any, **settings: Any) -> Any:
        return nullcontext() if kind == "meta" else real(kind, *arguments, **settings)

    monkeypatch.setattr(torch, "autocast", autocast)
    return torch.device("meta")


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("family", [*((f, n) for f in FAMILIES for n in ("group", "layer")), ("tiny-whisper", "")])
def test_forward_loss_and_backward_ask_the_device_nothing(
    tmp_path: Path, meta: torch.device, family: tuple[str, str], augmented: bool
) -> None:
    """On the `meta` device a value that the host asks for is an error."""
    name = saved(tmp_path / "model", *family) if family[1] else family[0]
    with loaded_on(meta):
        encoder = load(Model(backbone=name, spec_augment=augmented)).train()
    use_kernels(encoder, EVERY)
    assert {one.device.type for one in encoder.parameters()} == {"meta"}
    masks = {key: mask.to(meta) for key, mask in encoder.draw((9000, 4000), 9600).items()}
    assert bool(masks) == (augmented and bool(family[1]))
    hand_over(encoder, masks)
    batch = Batch(torch.zeros(2, 9600, device=meta), torch.zeros(2, dtype=torch.int64, device=meta))
    with OnDevice():
        frames = encoder(batch.values, batch.lengths, padded=batch.padded)
        loss = (frames.last.float() * frames.mask[:, :, None]).square().sum()
        loss.backward()
    assert isinstance(encoder, Encoder)
    assert loss.device.type == "meta"
