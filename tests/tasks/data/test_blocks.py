"""Draws and held-out sets."""

import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grids.errors import UserError
from tasks.data.blocks import draw_block, held_out, largest_block
from tasks.data.clips import GENDERS, Clip, Needs

GENDER = Needs(classes="gender")
SPEAKER = Needs(test_gender=True)
SEEDS = st.one_of(st.none(), st.integers(0, 2**63))


def make(name: str, speaker: str = "s", gender: str = "", split: str = "train", language: str = "no") -> Clip:
    return Clip(language, name, speaker, gender, "x", split, 0, 16_000, name)  # type: ignore[arg-type]


def people(sizes: dict[str, list[int]], split: str = "train", language: str = "no") -> list[Clip]:
    """Clips of one speaker a number, with that many clips, by gender."""
    return [
        make(f"{split}{gender}{speaker}_{take}", f"{split}{gender}{speaker}", gender, split, language)
        for gender, counts in sizes.items()
        for speaker, count in enumerate(counts)
        for take in range(count)
    ]


CORPORA = st.fixed_dictionaries({gender: st.lists(st.integers(0, 7), max_size=12) for gender in (*GENDERS, "")}).map(
    people
)


@given(CORPORA, st.sampled_from([GENDER, SPEAKER]), st.integers(1, 4), SEEDS, st.randoms())
def test_draws_are_nested_balanced_and_blind_to_the_order_of_clips(
    clips: list[Clip], needs: Needs, per_speaker: int, seed: int | None, shuffle: random.Random
) -> None:
    most = largest_block(clips, needs, per_speaker)
    draws = [draw_block(clips, needs, size, per_speaker, seed) for size in range(per_speaker, most + 1, per_speaker)]
    for smaller, larger in pairwise(draws):
        assert larger[: len(smaller)] == smaller
        assert not {clip.speaker for clip in larger[len(smaller) :]} & {clip.speaker for clip in smaller}
    if draws:
        assert set(Counter(clip.speaker for clip in draws[-1]).values()) == {per_speaker}
        assert len(set(draws[-1])) == len(draws[-1])
        expected = dict.fromkeys(GENDERS, most) if needs.classes else None
        assert expected is None or Counter(clip.gender for clip in draws[-1]) == expected
        mixed = shuffle.sample(clips, len(clips))
        assert draw_block(mixed, needs, most, per_speaker, seed) == draws[-1]
    if clips:
        with pytest.raises(UserError, match=f"the most it can give is {most},"):
            draw_block(clips, needs, most + per_speaker, per_speaker, seed)


@given(CORPORA, st.integers(1, 4), st.integers(1, 3))
def test_the_largest_block_is_the_largest_that_can_be_drawn(clips: list[Clip], per_speaker: int, multiple: int) -> None:
    largest = largest_block(clips, GENDER, per_speaker, multiple)
    if largest:
        assert len(draw_block(clips, GENDER, multiple * largest, per_speaker, 0)) == 2 * multiple * largest
    if clips:
        with pytest.raises(UserError):
            draw_block(clips, GENDER, multiple * (largest + per_speaker), per_speaker, 0)


def test_seeds_draw_differently_and_each_always_the_same() -> None:
    clips = people({"female": [6] * 40, "male": [6] * 40})
    draws = {seed: draw_block(clips, GENDER, 20, 4, seed) for seed in (None, 0, 1, 2)}
    assert len({frozenset(drawn) for drawn in draws.values()}) == 4
    assert draw_block(clips, GENDER, 20, 4, 1) == draws[1]


def test_a_draw_is_the_one_that_results_were_made_with() -> None:
    clips = people({"female": [3] * 5, "male": [3] * 5})
    names = [clip.name for clip in draw_block(clips, GENDER, 4, 2, 7)]
    # Another draw would silently mix two experiments in one results folder.
    assert names == [
        "trainfemale2_2",
        "trainfemale2_1",
        "trainmale0_1",
        "trainmale0_2",
        "trainfemale4_0",
        "trainfemale4_1",
        "trainmale1_1",
        "trainmale1_2",
    ]


def test_a_speaker_of_the_test_set_or_of_unknown_gender_is_never_drawn() -> None:
    clips = people({"female": [4], "male": [4], "": [4]}) + people({"female": [9], "male": [9]}, "test")
    drawn = draw_block(clips, GENDER, 4, 4, 0)
    assert {clip.speaker for clip in drawn} == {"trainfemale0", "trainmale0"}


def test_a_sentence_that_is_needed_is_not_empty() -> None:
    clips = [make(f"{number}", f"s{number}") for number in range(4)]
    mute = [Clip("no", "mute", "m", "", "", "train", 0, 16_000, "m")]
    assert largest_block([*clips, *mute], Needs(sentence=True), 1) == 4
    assert largest_block([*clips, *mute], Needs(), 1) == 5


def test_without_speakers_blocks_keep_sentences_apart() -> None:
    clips = [
        Clip("no", f"{text}{take}", "", "", text, "train", 0, 16_000, "") for text in "abcdef" for take in range(3)
    ]
    drawn = draw_block(clips, Needs(), 6, 1, 0)
    assert sorted(clip.sentence for clip in drawn) == list("abcdef")


def test_too_few_speakers_are_an_error_that_says_what_would_work() -> None:
    clips = people({"female": [4] * 9 + [3] * 50, "male": [4] * 30})
    message = (
        "language 'no' can't give 120 training samples of each class: that takes 30 speakers with 4 clips or more, "
        "there are 9 of class 'female'; the most it can give is 36, so a matrix, which takes 2 N, works up to N = 16"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        draw_block(clips, GENDER, 120, 4, 0)


def test_samples_that_are_no_multiple_of_clips_per_speaker_are_an_error() -> None:
    with pytest.raises(UserError, match="10 samples is no multiple of 4 clips a speaker"):
        draw_block(people({"": [4] * 9}), Needs(), 10, 4, 0)


def test_held_out_takes_everything_or_a_beginning_speaker_by_speaker() -> None:
    clips = people({"female": [3] * 5, "male": [3] * 5, "": [3]}, "test") + people({"female": [4]})
    everything = held_out(clips, SPEAKER, "test", 0)
    assert len(everything) == 30
    assert held_out(clips[::-1], SPEAKER, "test", 7) == everything[:7]
    assert [clip.speaker for clip in everything] == [clip.speaker for clip in everything[::3] for _ in range(3)]
    assert len(held_out(clips, Needs(), "test", 0)) == 33


@pytest.mark.parametrize("needs", [GENDER, SPEAKER])
def test_a_test_set_without_what_the_task_needs_is_an_error(needs: Needs) -> None:
    clips = people({"": [3]}, "test") + people({"female": [3]}, "train")
    with pytest.raises(UserError, match="'no' can't be scored: test set, none of its 3 clips has a known gender"):
        held_out(clips, needs, "test", 0)
    with pytest.raises(UserError, match="'no' can't be scored: dev set, it has no clip"):
        held_out(clips, needs, "dev", 0)


@pytest.mark.parametrize("most", [2, 8, 16])
def test_a_capped_test_set_takes_the_genders_in_turn(most: int) -> None:
    clips = people({"female": [4] * 9, "male": [4] * 9}, "test")
    taken = held_out(clips, SPEAKER, "test", most * 4)
    assert Counter(clip.gender for clip in taken) == {"female": most * 2, "male": most * 2}


def test_clips_without_a_speaker_are_no_samples_of_a_task_that_needs_one() -> None:
    clips = [make(f"{n}", speaker="") for n in range(8)]
    with pytest.raises(UserError, match="there are 0"):
        draw_block(clips, Needs(speaker=True), 4, 1, 0)
