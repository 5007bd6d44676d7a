"""Which training clips a seed draws, and which clips are scored: pure functions of the clips of one language.

The order of speakers and of a speaker's clips is a keyed hash, so that a draw depends on the seed, the language and
the names, and on nothing else: not on the order of the clips, nor on the grid's other languages. The draws of a seed
are nested: block A is the first N samples, block B the next N, and their speakers differ. A clip without a speaker
(corpora that know none) stands for its sentence: disjoint are then the sentences.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from grids.errors import UserError
from tasks.data.clips import GENDERS, Clip, Needs, Split, SwitchedClip
from tasks.data.selection import rank

ALL = ""


def draw_block(
    clips: Sequence[Clip], needs: Needs, samples: int, clips_per_speaker: int, seed: int | None
) -> tuple[Clip, ...]:
    """Draws the first `samples` training samples of a language for a seed (of each class, where there are classes).

    Args:
        clips: all clips of the language.
        needs: what the task needs of a clip.
        samples: how many, a multiple of `clips_per_speaker`.
        clips_per_speaker: how many each speaker gives.
        seed: the seed, or None if all seeds share the blocks.

    Returns:
        The clips, speaker by speaker, classes in turn: the draw of N is the beginning of the draw of 2 N.

    Raises:
        UserError: no multiple, or not enough speakers with enough clips.
    """
    language = _language(clips)
    if samples < 1 or samples % clips_per_speaker:
        raise UserError(f"{samples} samples is no multiple of {clips_per_speaker} clips a speaker")
    key = "fixed" if seed is None else str(seed)
    speakers = samples // clips_per_speaker
    classes = qualifying(clips, needs, clips_per_speaker)
    if short := {name: len(found) for name, found in classes.items() if len(found) < speakers}:
        raise _too_few(language, short, clips, needs, samples, clips_per_speaker)
    ordered = [
        sorted(found, key=lambda name: rank("speakers", key, language, name))[:speakers] for found in classes.values()
    ]
    drawn: list[Clip] = []
    for names in zip(*ordered, strict=True):
        for name, found in zip(names, classes.values(), strict=True):
            by_hash = sorted(found[name], key=lambda clip: rank("clips", key, language, clip.name))
            drawn += by_hash[:clips_per_speaker]
    return tuple(drawn)


def qualifying(
    clips: Iterable[Clip], needs: Needs, clips_per_speaker: int
) -> Mapping[str, Mapping[str, Sequence[Clip]]]:
    """For each class (`ALL` if there are none): the speakers with enough training clips, and these clips."""
    classes: dict[str, dict[str, list[Clip]]] = {name: {} for name in (GENDERS if needs.classes else (ALL,))}
    for clip in clips:
        if clip.split == "train" and not _lacks(clip, needs):
            classes[clip.gender if needs.classes else ALL].setdefault(_unit(clip), []).append(clip)
    return {
        name: {speaker: found for speaker, found in speakers.items() if len(found) >= clips_per_speaker}
        for name, speakers in classes.items()
    }


def largest_block(clips: Iterable[Clip], needs: Needs, clips_per_speaker: int, multiple: int = 1) -> int:
    """The largest N such that `multiple` x N samples (of each class) can be drawn; 0 if none can."""
    fewest = min(len(found) for found in qualifying(clips, needs, clips_per_speaker).values())
    return fewest // multiple * clips_per_speaker


def held_out(clips: Sequence[Clip], needs: Needs, split: Split, max_clips: int) -> tuple[Clip, ...]:
    """The clips of a language that a model is scored on: the same for all seeds.

    Args:
        clips: all clips of the language.
        needs: what the task needs of a clip.
        split: "test" or "dev".
        max_clips: how many at most, speaker by speaker (the last one may be cut), the genders in turn where the task
            needs them; 0: all.

    Raises:
        UserError: no clip of the split has what the task needs.
    """
    language = _language(clips)
    listed = [clip for clip in clips if clip.split == split]
    usable = [clip for clip in listed if not _lacks(clip, needs)]
    if not usable:
        lacking = sorted({word for clip in listed for word in _lacks(clip, needs)})
        why = f"none of its {len(listed)} clips has a known {' and a '.join(lacking)}" if listed else "it has no clip"
        raise UserError(f"language {language!r} can't be scored: {split} set, {why}")
    genders = GENDERS if needs.classes == "gender" or needs.test_gender else ("",)
    units = [
        sorted({_unit(clip) for clip in usable if not gender or clip.gender == gender},
               key=lambda unit: (rank(split, language, unit), unit))
        for gender in genders
    ]  # fmt: skip
    in_turn = [unit for turn in zip_longest(*units) for unit in turn if unit is not None]
    place = {unit: number for number, unit in reversed(list(enumerate(in_turn)))}
    usable.sort(key=lambda clip: (place[_unit(clip)], rank(split, language, clip.name)))
    return tuple(usable[: max_clips or None])


def switched(first: Sequence[Clip], second: Sequence[Clip]) -> tuple[SwitchedClip, ...]:
    """Clips of one language followed by clips of another, each of them at most once, in the order of both."""
    return tuple(
        SwitchedClip(
            one.language, f"{one.name} {other.name}", one.speaker, one.gender, f"{one.sentence} {other.sentence}",
            one.split, one.offset, one.length + other.length,
            hashlib.blake2b(f"{one.sha} {other.sha}".encode(), digest_size=16).hexdigest(), first=one, second=other,
        )
        for one, other in zip(first, second, strict=False)
    )  # fmt: skip


def _language(clips: Sequence[Clip]) -> str:
    """The one language of the clips."""
    (language,) = {clip.language for clip in clips}
    return language


def _unit(clip: Clip) -> str:
    """What blocks keep apart: the speaker, or the sentence where there is none."""
    return clip.speaker or clip.sentence or clip.name


def _lacks(clip: Clip, needs: Needs) -> list[str]:
    """What a task needs of this clip and does not find."""
    gender = needs.classes == "gender" or (needs.test_gender and clip.split != "train")
    lacks = ["gender"] if gender and clip.gender not in GENDERS else []
    lacks += ["sentence"] if needs.sentence and not clip.sentence else []
    lacks += ["meaning (item)"] if needs.item and clip.split == "test" and not clip.item else []
    return [*lacks, "speaker"] if needs.speaker and not clip.speaker else lacks


def _too_few(
    language: str, short: Mapping[str, int], clips: Sequence[Clip], needs: Needs, samples: int, clips_per_speaker: int
) -> UserError:
    """The error for a language that can't give `samples`, with the numbers that it can give."""
    counts = "; ".join(f"{count}{f' of class {name!r}' if name else ''}" for name, count in short.items())
    most, matrix = (largest_block(clips, needs, clips_per_speaker, multiple) for multiple in (1, 2))
    return UserError(
        f"language {language!r} can't give {samples} training samples{' of each class' if needs.classes else ''}: that "
        f"takes {samples // clips_per_speaker} speakers with {clips_per_speaker} clips or more, there are {counts}; "
        f"the most it can give is {most}, so a matrix, which takes 2 N, works up to N = {matrix}"
    )
