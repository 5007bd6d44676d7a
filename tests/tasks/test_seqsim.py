"""SeqSim: against a slow reference, and what it cannot see."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tasks.seqsim import seqsim


def utterances(seed: int, count: int, width: int = 8, longest: int = 12) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator)
    return [torch.randn(int(length), width, generator=generator) for length in lengths]


def slowly(one: torch.Tensor, other: torch.Tensor) -> float:
    """SeqSim as it is written, frame by frame, in double precision."""
    x, y = (frames.double().numpy() for frames in (one, other))
    cosine = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x]
    there = sum(max(row) for row in cosine) / len(x)
    back = sum(max(column) for column in zip(*cosine, strict=True)) / len(y)
    return float((there + back) / 2)


@pytest.mark.parametrize("cells", [1, 300, 2**25], ids=["pair by pair", "small blocks", "one block"])
def test_blocks_equal_the_slow_reference(cells: int) -> None:
    queries, gallery = utterances(0, 23), utterances(1, 17)
    expected = np.array([[slowly(query, other) for other in gallery] for query in queries])
    assert np.abs(seqsim(queries, gallery, cells).numpy() - expected).max() < 1e-6


def test_it_is_symmetric_and_one_of_an_utterance_with_itself() -> None:
    queries, gallery = utterances(2, 9), utterances(3, 9)
    assert torch.equal(seqsim(queries, gallery), seqsim(gallery, queries).T)
    assert seqsim(queries, queries).diag().numpy() == pytest.approx(1, abs=1e-6)


def test_a_pair_does_not_depend_on_the_utterances_beside_it() -> None:
    queries, gallery = utterances(4, 6), utterances(5, 6)
    whole = seqsim(queries, gallery)
    for number, query in enumerate(queries):
        assert seqsim([query], gallery)[0].numpy() == pytest.approx(whole[number].numpy(), abs=1e-6)


def test_it_has_no_order_of_frames() -> None:
    queries, gallery = utterances(6, 5), utterances(7, 5)
    turned = [query.flip(0) for query in queries]
    assert seqsim(turned, gallery).numpy() == pytest.approx(seqsim(queries, gallery).numpy(), abs=1e-6)


def test_frames_of_negative_cosine_are_not_taken_for_padding() -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert float(seqsim([one], [one, other])[0, 1]) == pytest.approx(-1)


def test_half_precision_keeps_the_order_of_what_differs() -> None:
    queries, gallery = utterances(8, 6, 64), utterances(9, 6, 64)
    full, half = seqsim(queries, gallery), seqsim([q.half() for q in queries], [g.half() for g in gallery])
    assert half.numpy() == pytest.approx(full.numpy(), abs=2e-3)


def test_blocks_are_bounded_and_of_like_length() -> None:
    from tasks.seqsim import _blocks

    made = utterances(10, 50)
    blocks = list(_blocks(made, 400))
    assert sorted(number for block in blocks for number in block) == list(range(50))
    assert all((len(block) * max(len(made[n]) for n in block)) ** 2 <= 400 for block in blocks)
    assert all(max(len(made[n]) for n in a) <= min(len(made[n]) for n in b) for a, b in pairwise(blocks))
