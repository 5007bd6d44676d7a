"""Clips in memory, with waves that are a function of the clip, for tests of tasks without a corpus."""

from collections.abc import Sequence

import numpy as np

from tasks.data.clips import GENDERS, Clip, Split
from tasks.examples import keyed

WORDS = ("ada", "bob", "abba", "dodo")


def make_clips(language: str, split: Split, speakers: int = 4, clips_each: int = 4) -> tuple[Clip, ...]:
    """Clips of different lengths; speakers of both genders in turn; the sentence is one of `WORDS`."""
    made = []
    for speaker in range(speakers):
        for number in range(clips_each):
            name = f"{language}-{split}-{speaker}-{number}.mp3"
            length = 4000 + keyed("length", name) % 4000
            gender, sentence = GENDERS[speaker % 2], WORDS[number % len(WORDS)]
            key = f"{language}-{split}-{speaker}"
            made.append(Clip(language, name, key, gender, sentence, split, 0, length, f"{keyed(name):016x}", sentence))
    return tuple(made)


class MadeWaves:
    """Inputs whose waves carry gender (pitch), speaker (a second tone) and sentence (the order of two more)."""

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """(T,) float32 waves."""
        return [wave(clip) for clip in clips]


def wave(clip: Clip) -> np.ndarray:
    """The wave of one clip, (T,) float32 in [-1, 1]."""
    time = np.arange(clip.length) / 16_000
    pitch = 220.0 if clip.gender == "female" else 120.0
    own = 400.0 + keyed("speaker", clip.speaker) % 1200
    word = 2000.0 + 700.0 * WORDS.index(clip.sentence)
    noise = np.random.default_rng(keyed("noise", clip.name)).normal(0, 0.01, clip.length)
    tones = sum(np.sin(2 * np.pi * frequency * time) for frequency in (pitch, own, word))
    return (0.2 * tones + noise).astype(np.float32)
