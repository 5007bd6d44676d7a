"""One clip, and what a task needs of it. Imported by everything that handles audio; imports nothing heavy itself."""

from dataclasses import dataclass
from typing import Literal

GENDERS = ("female", "male")
SAMPLE_RATE_HZ = 16_000
SENTENCE_ITEM = "s:"  # before an item that follows from the sentence
Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip of the prepared store.

    Attributes:
        language: the code of the folder that it came from.
        name: its file name in the corpus; unique in the language.
        speaker: the corpus's speaker id (Common Voice: client_id); "" if the corpus has none.
        gender: one of `GENDERS`, or "" if unknown or other.
        sentence: what was read, as the corpus writes it.
        split: "train", "dev" or "test".
        offset: first sample in the language's audio file.
        length: number of samples at 16 kHz.
        sha: hash of the decoded samples, so of the content and not of the file.
        item: the meaning of what was said, an id that all languages of a parallel corpus share; "" if unknown.
        accent: the first that the speaker names, or else the variant; "" if unknown.
    """

    language: str
    name: str
    speaker: str
    gender: str
    sentence: str
    split: Split
    offset: int
    length: int
    sha: str
    item: str = ""
    accent: str = ""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.length / SAMPLE_RATE_HZ

    @property
    def parts(self) -> "tuple[Clip, ...]":
        """The clips of the store that are heard one right after the other."""
        return (self,)

    @property
    def condition(self) -> str:
        """What differs from a clip of the test set: `tasks.base.Score.condition` of what it is scored with."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedClip(Clip):
    """A clip of one language and, right after it, one of another: a test clip in which the language changes.

    Language, speaker and gender are those of the first; sentence, length and sha stand for both.

    Attributes:
        first: where it begins.
        second: where it goes on.
    """

    first: Clip
    second: Clip

    @property
    def parts(self) -> tuple[Clip, ...]:
        """Both."""
        return self.first, self.second

    @property
    def condition(self) -> str:
        """`then` and the second language."""
        return f"then {self.second.language}"


@dataclass(frozen=True)
class Needs:
    """What a clip must have for a task, and how a block is balanced.

    Attributes:
        audio: False for a task that needs no corpus at all.
        classes: the metadata column whose values are classes: training clips need a value, and a block has the same
            number of samples, speakers and clips a speaker of each. "": a block is drawn from all clips.
        test_gender: test and dev clips need a gender.
        sentence: clips need a sentence that is not empty.
        speaker: clips need a speaker.
        item: test clips need a meaning that other languages share.
        languages: fewest languages of a mixture.
        cohort: scoring needs what the network makes of its training clips too.
        switched: the test set of each language of a mixture is followed by `SwitchedClip`s to each other one.
        frozen_bytes: what the outputs of a frozen part take on disk, a clip; 0 where there are none, or few.
    """

    audio: bool = True
    classes: Literal["", "gender"] = ""
    test_gender: bool = False
    sentence: bool = False
    speaker: bool = False
    item: bool = False
    languages: int = 0
    cohort: bool = False
    switched: bool = False
    frozen_bytes: int = 0
