"""Training pairs of systems that learn from pairs of clips: as many of the same speaker as of different ones."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

import torch

from grids.errors import UserError
from tasks.base import Example
from tasks.data.clips import Clip
from tasks.examples import keyed


def training_pairs(clips: Sequence[Clip], seed: int, epoch: int, *, gender_matched: bool = False) -> list[Example]:
    """For every clip a pair with another clip of its speaker and one with a clip of another speaker, in a drawn order.

    The two follow each other, so that every batch of even size is balanced.
    Both clips are of one language, so a pair cannot be told by the languages, and a language's pairs do not depend on
    what else is in the mixture. A clip that lacks a partner of either kind is the first of no pair.

    Args:
        clips: of one stage, in any order.
        seed: the trial's.
        epoch: each draws other partners.
        gender_matched: different speakers of a pair are of one known gender.

    Returns:
        Examples of two clips; `label` is whether they are of one speaker.

    Raises:
        UserError: a language gives no pairs.
    """
    by_language = defaultdict[str, list[Clip]](list)
    for clip in sorted(clips, key=lambda clip: keyed("pairs", seed, epoch, *_place(clip))):
        by_language[clip.language].append(clip)
    pairs = [pair for own in by_language.values() for pair in _language_pairs(own, gender_matched)]
    return sorted(pairs, key=lambda pair: keyed("order", seed, epoch, *_place(pair.clips[0])))


def same_speaker(examples: Sequence[Example]) -> torch.Tensor:
    """(B,) bool: the labels of training pairs."""
    return torch.tensor([bool(example.label) for example in examples])


def _language_pairs(clips: Sequence[Clip], gender_matched: bool) -> list[Example]:
    """The pairs among clips in a drawn order: a clip's partner is the next one in the circle that fits."""
    pairs = []
    for place, clip in enumerate(clips):
        same = next((o for o in _after(place, clips) if o.speaker == clip.speaker), None)
        far = (o for o in _after(place, clips) if o.speaker != clip.speaker)
        other = next((o for o in far if not gender_matched or o.gender == clip.gender != ""), None)
        if same and other:
            pairs += [Example((clip, same), label=True), Example((clip, other), label=False)]
    if not pairs:
        known = " of one known gender" if gender_matched else ""
        raise UserError(
            f"{len(clips)} training clips of {clips[0].language!r} by {len({clip.speaker for clip in clips})} speakers "
            f"give no pairs: needed are two speakers{known}, and two clips of one; see samples and clips_per_speaker"
        )
    return pairs


def _place(clip: Clip) -> tuple[str, str]:
    """What tells a clip from all others."""
    return clip.language, clip.name


def _after(place: int, clips: Sequence[Clip]) -> Iterator[Clip]:
    """The other clips, once around the circle from a place."""
    return chain((clips[n] for n in range(place + 1, len(clips))), (clips[n] for n in range(place)))
