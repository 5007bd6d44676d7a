"""Which languages of a release can fill the blocks of a grid, by the tables alone: no audio is needed.

The same selection and the same draw as in a run, so the answer differs only by the clips whose audio turns out bad.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grids.errors import UserError
from grids.grid import Data
from tasks.data import common_voice
from tasks.data.blocks import held_out, largest_block, qualifying
from tasks.data.clips import SAMPLE_RATE_HZ, Clip, Needs
from tasks.data.selection import select


@dataclass(frozen=True)
class Feasibility:
    """What a language can give.

    Attributes:
        language: the code.
        train_clips: after all that the tables rule out, and the cap.
        test_clips: with what the task needs.
        speakers: those with enough training clips, by class ("" if there are none).
        largest: the largest N for a matrix, which takes 2 N.
        problem: why the language can't be read at all; otherwise empty.
    """

    language: str
    train_clips: int = 0
    test_clips: int = 0
    speakers: Mapping[str, int] | None = None
    largest: int = 0
    problem: str = ""

    def fills(self, samples: int) -> bool:
        """Whether a matrix with blocks of `samples` can have the language."""
        return self.largest >= samples and self.test_clips > 0


def feasibility(
    release: Path, languages: Sequence[str], needs: Needs, clips_per_speaker: int, rules: Data
) -> tuple[Feasibility, ...]:
    """Looks at each language; those that can give most come first."""
    found = [_language(release, language, needs, clips_per_speaker, rules) for language in languages]
    return tuple(sorted(found, key=lambda one: (-one.largest, -one.test_clips, one.language)))


def _language(release: Path, language: str, needs: Needs, clips_per_speaker: int, rules: Data) -> Feasibility:
    """What one language can give."""
    try:
        code, accent = common_voice.split_code(release, language)
        listing = common_voice.read_language(release, code)
        selection = select(listing, common_voice.visitors(release, code), rules, accent)
    except UserError as error:
        return Feasibility(language, problem=str(error))
    clips = [
        Clip(language, row.name, row.speaker, row.gender, row.sentence, row.split, 0, _samples(row.seconds), "")
        for row in common_voice.with_seconds(release, code, selection.rows)
        if row.seconds is None or rules.min_seconds <= row.seconds <= rules.max_seconds
    ]
    return Feasibility(
        language,
        train_clips=sum(clip.split == "train" for clip in clips),
        test_clips=_test_clips(clips, needs),
        speakers={name: len(found) for name, found in qualifying(clips, needs, clips_per_speaker).items()},
        largest=largest_block(clips, needs, clips_per_speaker, multiple=2),
    )


def _samples(seconds: float | None) -> int:
    return round((seconds or 0) * SAMPLE_RATE_HZ)


def _test_clips(clips: Sequence[Clip], needs: Needs) -> int:
    """Size of the test set; 0 where a run would refuse it."""
    try:
        return len(held_out(clips, needs, "test", 0)) if clips else 0
    except UserError:
        return 0
