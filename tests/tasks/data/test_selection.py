"""What of a listing is decoded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grids.errors import UserError
from grids.grid import Data
from tasks.data.common_voice import Listing, Row
from tasks.data.selection import MAX_CAPPED_SPEAKER_CLIPS, select

NAMES = st.text("abcdef", min_size=1, max_size=3)
ROWS = st.lists(
    st.builds(
        Row,
        name=NAMES,
        split=st.sampled_from(["train", "dev", "test"]),
        speaker=st.sampled_from(["", "p", "q", "r", "s"]),
        gender=st.sampled_from(["", "female", "male"]),
        sentence=st.just("x"),
        accents=st.just(""),
        variant=st.just(""),
        age=st.just(""),
        seconds=st.none(),
    ),
    max_size=40,
)

ALL_CLIPS = Data(max_train_clips=0)


def train_row(name: str, speaker: str) -> Row:
    return Row(name, "train", speaker, "", "x", "", "", "", None)


@given(ROWS, st.sampled_from([frozenset[str](), frozenset({"p", "q"})]))
def test_every_listed_row_is_kept_or_dropped_and_speakers_have_one_split_and_one_gender(
    rows: list[Row], visitors: frozenset[str]
) -> None:
    found = select(Listing(tuple(rows), ()), visitors, ALL_CLIPS)
    assert len(found.rows) + len(found.dropped) == len(rows)
    assert len({row.name for row in found.rows}) == len(found.rows)
    for speaker in {row.speaker for row in found.rows} - {""}:
        assert len({row.split for row in found.rows if row.speaker == speaker}) == 1
        assert len({row.gender for row in found.rows if row.speaker == speaker} - {""}) <= 1
        assert speaker not in visitors


@given(st.permutations([train_row(f"{speaker}{take}", f"p{speaker}") for speaker in range(6) for take in range(5)]))
def test_the_order_of_the_release_decides_nothing(rows: list[Row]) -> None:
    assert select(Listing(tuple(rows), ()), frozenset(), Data(max_train_clips=12)) == select(
        Listing(tuple(sorted(rows, key=str)), ()), frozenset(), Data(max_train_clips=12)
    )


@given(st.integers(64, 400), st.integers(64, 400))
def test_a_cap_takes_whole_speakers_and_a_smaller_cap_takes_part_of_them(one: int, other: int) -> None:
    rows = tuple(
        train_row(f"{speaker}_{take}", f"p{speaker}") for speaker in range(9) for take in range(10 * speaker + 1)
    )
    small, large = (select(Listing(rows, ()), frozenset(), Data(max_train_clips=cap)) for cap in sorted((one, other)))
    assert small.rows == large.rows[: len(small.rows)]
    assert len(large.rows) <= max(one, other)
    assert len(large.rows) + large.beyond_cap == len(rows)
    for speaker in {row.speaker for row in large.rows}:
        all_clips = sum(row.speaker == speaker for row in rows)
        assert sum(row.speaker == speaker for row in large.rows) == min(all_clips, MAX_CAPPED_SPEAKER_CLIPS)


def test_a_cap_below_one_speakers_clips_still_gives_that_many() -> None:
    rows = tuple(train_row(f"{take}", "p") for take in range(100))
    assert len(select(Listing(rows, ()), frozenset(), Data(max_train_clips=10)).rows) == 10


def test_held_out_clips_are_not_capped() -> None:
    rows = tuple(Row(f"{take}", "test", f"p{take}", "", "x", "", "", "", None) for take in range(100))
    assert len(select(Listing(rows, ()), frozenset(), Data(max_train_clips=10)).rows) == 100


def spoken(name: str, accents: str, variant: str = "", split: str = "train", speaker: str = "") -> Row:
    return replace(train_row(name, speaker or name), accents=accents, variant=variant, split=split)


ACCENTS = (
    spoken("1", "Scottish English"),
    spoken("2", "United States English|Scottish English"),
    spoken("3", "India and South Asia (India, Pakistan, Sri Lanka),quick"),
    spoken("4", ""),
    spoken("5", "scottish english", split="test"),
    spoken("6", "", "North-Western Welsh"),
)


@pytest.mark.parametrize(
    ("accent", "names"),
    [
        ("Scottish English", {"1", "5"}),
        ("United States English", {"2"}),
        ("India and South Asia", {"3"}),
        ("North-Western Welsh", {"6"}),
        ("", {"1", "2", "3", "4", "5", "6"}),
    ],
)
def test_an_accent_is_the_first_that_a_speaker_names_or_the_variant(accent: str, names: set[str]) -> None:
    assert {row.name for row in select(Listing(ACCENTS, ()), frozenset(), ALL_CLIPS, accent).rows} == names


def test_an_accent_that_nobody_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'Scotish English'.*did you mean 'scottish english'"):
        select(Listing(ACCENTS, ()), frozenset(), ALL_CLIPS, "Scotish English")


def test_a_test_speaker_of_one_accent_trains_no_other() -> None:
    rows = (spoken("1", "north", split="test", speaker="p"), spoken("2", "south", speaker="p"), spoken("3", "south"))
    found = select(Listing(rows, ()), frozenset(), ALL_CLIPS, "south")
    assert [row.name for row in found.rows] == ["3"]
    assert [(drop.name, drop.reason) for drop in found.dropped] == [("2", "speaker in another split")]


def test_doubted_clips_are_dropped_from_training_alone() -> None:
    rows = tuple(
        replace(train_row(f"{split}{margin}", f"{split}{margin}"), split=split, vote_margin=margin)  # type: ignore[arg-type]
        for split in ("train", "test") for margin in (1, 2, 3)
    )  # fmt: skip
    found = select(Listing(rows, ()), frozenset(), Data(min_vote_margin=2))
    assert {row.name for row in found.rows} == {"train2", "train3", "test1", "test2", "test3"}
    assert [(drop.name, drop.reason) for drop in found.dropped] == [("train1", "too few votes")]
