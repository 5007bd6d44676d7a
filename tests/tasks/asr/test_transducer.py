"""The streaming recogniser: the same in segments as in one pass, and a transducer that learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grids.errors import UserError
from grids.grid import load
from tasks.asr.stream import streamed
from tasks.asr.transducer import BLANK, Shape, Transducer

SHAPE = Shape(segment=8, right=4, left=6, reduction=2, width=16, heads=2, hidden=32, layers=3, encoding=16,
              dropout=0.0, embedding=12, predictor_layers=1, predictor_dropout=0.0)  # fmt: skip
DEMO = Shape(**load(Path(__file__).parents[3] / "grids" / "demo_asr_emformer.toml").options["shape"])
SYMBOLS = ("", "a", "b", "c")


def network(shape: Shape = SHAPE, symbols: tuple[str, ...] = SYMBOLS, seed: int = 1) -> Transducer:
    return Transducer(shape, symbols, seed).eval()


def noise(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(0)) / 10, torch.tensor(
        lengths
    )


@pytest.mark.parametrize("samples", [300, 700, 4112, 9000, 16001, 20000])
@pytest.mark.parametrize("piece", [123, 1600, 50_000])
@pytest.mark.parametrize("shape", [SHAPE, DEMO], ids=["small", "demo"])
def test_segments_make_the_encodings_of_the_whole_clip(samples: int, piece: int, shape: Shape) -> None:
    made, (values_KT, lengths_K) = network(shape), noise(samples)
    with torch.no_grad():
        whole_KFE, mask_KF = made(values_KT, lengths_K)
    pieces = torch.cat(list(streamed(made, values_KT[0].split(piece))))
    assert bool(mask_KF.all())
    torch.testing.assert_close(pieces, whole_KFE[0], rtol=0, atol=1e-4)


def test_a_segment_is_out_as_soon_as_its_look_ahead_is_in() -> None:
    made, (values_KT, _) = network(), noise(16000)
    came = 0

    def pieces():  # type: ignore[no-untyped-def]
        nonlocal came
        for piece in values_KT[0].split(160):
            came += 160
            yield piece

    next(streamed(made, pieces()))
    beyond = made.features.reach  # the last feature's own window
    assert came <= SHAPE.latency_seconds * 16000 + beyond
    assert SHAPE.latency_seconds == pytest.approx(0.12)
    assert SHAPE.look_ahead_seconds == pytest.approx(0.04)


def test_what_comes_later_than_the_look_ahead_changes_nothing() -> None:
    made, (values_KT, lengths_K) = network(), noise(16000)
    other_KT = values_KT.clone()
    other_KT[:, 8000:] = 0.3
    with torch.no_grad():
        one, other = made(values_KT, lengths_K)[0], made(other_KT, lengths_K)[0]
    frames = (8000 // 160 - SHAPE.right - 4) // SHAPE.segment * SHAPE.segment // SHAPE.reduction
    assert frames > 8
    torch.testing.assert_close(one[:, :frames], other[:, :frames], rtol=0, atol=1e-6)
    assert not torch.allclose(one[:, -8:], other[:, -8:], atol=1e-3)


def test_encodings_do_not_depend_on_the_batch() -> None:
    made, (values_KT, lengths_K) = network(), noise(9000, 16000, 5001, 700)
    with torch.no_grad():
        together_KFE, mask_KF = made(values_KT, lengths_K)
        assert mask_KF.sum(1).tolist() == made.frames(lengths_K).tolist()
        for row, length in enumerate(lengths_K):
            alone_KFE, _ = made(values_KT[row : row + 1, :length], length[None])
            torch.testing.assert_close(alone_KFE[0], together_KFE[row][mask_KF[row]], rtol=0, atol=1e-5)


def test_the_transducer_loss_sums_over_all_alignments() -> None:
    """Two frames and the text "a": it is said in one of two frames, so two paths of three steps."""
    made = network()
    encodings_BFE = torch.randn(1, 2, SHAPE.encoding)
    one = torch.tensor([1])
    with torch.no_grad():
        loss = made.transducer_loss(encodings_BFE, one + 1, one[None], one)
        predicted, _, _ = made.rnnt.predict(torch.tensor([[BLANK, 1]]), one + 1, None)
        p = made.rnnt.join(encodings_BFE, one + 1, predicted, one + 1)[0][0].softmax(2)
    first = p[0, 0, 1] * p[0, 1, BLANK] * p[1, 1, BLANK]
    second = p[0, 0, BLANK] * p[1, 0, 1] * p[1, 1, BLANK]
    torch.testing.assert_close(loss[0], -(first + second).log())


def test_the_transducer_loss_does_not_depend_on_the_batch() -> None:
    made = network()
    text_BU, length_B = torch.tensor([[1, 2, 3], [3, 0, 0]]), torch.tensor([3, 1])
    frames_B, encodings_BFE = torch.tensor([4, 6]), torch.randn(2, 6, SHAPE.encoding)
    with torch.no_grad():
        together = made.transducer_loss(encodings_BFE, frames_B, text_BU, length_B)
        alone = [
            made.transducer_loss(encodings_BFE[n : n + 1, : frames_B[n]], frames_B[n : n + 1],
                                 text_BU[n : n + 1, : length_B[n]], length_B[n : n + 1])
            for n in range(2)
        ]  # fmt: skip
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.slow
def test_a_transducer_learns_by_heart_and_says_it_piece_by_piece() -> None:
    shape = replace(SHAPE, reduction=4, width=32, encoding=32, layers=2)
    made, (values_KT, lengths_K) = network(shape).train(), noise(6000, 8000)
    text_BU, length_B = torch.tensor([[1, 1, 2, 0], [3, 2, 3, 1]]), torch.tensor([3, 4])
    for wave_T, text_U in zip(values_KT, text_BU, strict=True):  # a tone a symbol
        for number, symbol in enumerate(text_U.tolist()):
            wave_T[2000 * number :][:1500] += torch.sin(torch.arange(1500) * 0.2 * (symbol + 1))
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    for _ in range(150):
        encodings_BFE, mask_BF = made(values_KT, lengths_K)
        loss = made.transducer_loss(encodings_BFE, mask_BF.sum(1), text_BU, length_B).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made.eval()
    for row, length in enumerate(lengths_K):
        heard = made.first()
        for encodings_FE in streamed(made, values_KT[row, :length].split(1000)):
            heard = made.heard(heard, encodings_FE)
        assert heard.symbols == tuple(text_BU[row, : length_B[row]].tolist())


def test_symbols_and_layers_start_equal_in_every_mixture_of_a_seed() -> None:
    few, many, other = network(), network(symbols=("", "a", "b", "ny", "c")), network(seed=2)
    for place in ("rnnt.joiner.linear.weight", "rnnt.predictor.embedding.weight"):
        rows, more = few.state_dict()[place], many.state_dict()[place]
        assert torch.equal(rows, more[[0, 1, 2, 4]])
    for name, weights in few.state_dict().items():
        if weights.shape == many.state_dict()[name].shape:
            assert torch.equal(weights, many.state_dict()[name]), name
    assert not torch.equal(few.rnnt.joiner.linear.weight, other.rnnt.joiner.linear.weight)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"segment in .* is 10; allowed: multiples of reduction = 4"):
        Shape(segment=10)
