"""What of a listing is decoded."""

from hypothesis import given
from hypothesis import strategies as st

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


def train_row(name: str, speaker: str) -> Row:
    return Row(name, "train", speaker, "", "x", "", "", "", None)


@given(ROWS, st.sampled_from([frozenset[str](), frozenset({"p", "q"})]))
def test_every_listed_row_is_kept_or_dropped_and_speakers_have_one_split_and_one_gender(
    rows: list[Row], visitors: frozenset[str]
) -> None:
    found = select(Listing(tuple(rows), ()), visitors, 0)
    assert len(found.rows) + len(found.dropped) == len(rows)
    assert len({row.name for row in found.rows}) == len(found.rows)
    for speaker in {row.speaker for row in found.rows} - {""}:
        assert len({row.split for row in found.rows if row.speaker == speaker}) == 1
        assert len({row.gender for row in found.rows if row.speaker == speaker} - {""}) <= 1
        assert speaker not in visitors


@given(st.permutations([train_row(f"{speaker}{take}", f"p{speaker}") for speaker in range(6) for take in range(5)]))
def test_the_order_of_the_release_decides_nothing(rows: list[Row]) -> None:
    assert select(Listing(tuple(rows), ()), frozenset(), 12) == select(
        Listing(tuple(sorted(rows, key=str)), ()), frozenset(), 12
    )


@given(st.integers(64, 400), st.integers(64, 400))
def test_a_cap_takes_whole_speakers_and_a_smaller_cap_takes_part_of_them(one: int, other: int) -> None:
    rows = tuple(
        train_row(f"{speaker}_{take}", f"p{speaker}") for speaker in range(9) for take in range(10 * speaker + 1)
    )
    small, large = (select(Listing(rows, ()), frozenset(), cap) for cap in sorted((one, other)))
    assert small.rows == large.rows[: len(small.rows)]
    assert len(large.rows) <= max(one, other)
    assert len(large.rows) + large.beyond_cap == len(rows)
    for speaker in {row.speaker for row in large.rows}:
        all_clips = sum(row.speaker == speaker for row in rows)
        assert sum(row.speaker == speaker for row in large.rows) == min(all_clips, MAX_CAPPED_SPEAKER_CLIPS)


def test_a_cap_below_one_speakers_clips_still_gives_that_many() -> None:
    rows = tuple(train_row(f"{take}", "p") for take in range(100))
    assert len(select(Listing(rows, ()), frozenset(), 10).rows) == 10


def test_held_out_clips_are_not_capped() -> None:
    rows = tuple(Row(f"{take}", "test", f"p{take}", "", "x", "", "", "", None) for take in range(100))
    assert len(select(Listing(rows, ()), frozenset(), 10).rows) == 100
