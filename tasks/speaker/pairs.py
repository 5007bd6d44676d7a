"""Training pairs of systems that learn from pairs of clips: as many of the same speaker as of different ones."""

from collections import defaultdict
from collections.abc import Sequence

from grids.errors import UserError
from tasks.base import Example
from tasks.data.clips import Clip
from tasks.examples import keyed


def training_pairs(clips: Sequence[Clip], seed: int, epoch: int) -> list[Example]:
    """For every clip a pair with another clip of its speaker and one with a clip of another speaker, in a drawn order.

    Both clips are of one language, so a pair cannot be told by the languages, and a language's pairs do not depend on
    what else is in the mixture.

    Args:
        clips: of one stage, in any order.
        seed: the trial's.
        epoch: each draws other partners.

    Returns:
        Examples of two clips; `label` is 1.0 for the same speaker, else 0.0.

    Raises:
        UserError: a language gives no pair of either kind.
    """
    by_language = defaultdict[str, list[Clip]](list)
    for clip in sorted(clips, key=lambda clip: (keyed("pairs", seed, epoch, clip.language, clip.name), clip.name)):
        by_language[clip.language].append(clip)
    pairs = [pair for own in by_language.values() for pair in _language_pairs(own)]
    return sorted(pairs, key=lambda pair: keyed("order", seed, epoch, pair.label, *(clip.name for clip in pair.clips)))


def _language_pairs(clips: Sequence[Clip]) -> list[Example]:
    """The pairs among clips in a drawn order: a clip's partner is the next one in the circle that fits."""
    by_speaker = defaultdict[str, list[Clip]](list)
    for clip in clips:
        by_speaker[clip.speaker].append(clip)
    usable = [clip for clip in clips if len(by_speaker[clip.speaker]) > 1]
    if len(by_speaker) < 2 or not usable:
        raise UserError(
            f"{len(clips)} training clips of {clips[0].language!r} by {len(by_speaker)} speakers give no pairs: needed "
            "are two speakers, and two clips of one; see samples and clips_per_speaker"
        )
    place = {clip: number for number, clip in enumerate(clips)}
    pairs = []
    for clip in usable:
        own = by_speaker[clip.speaker]
        pairs.append(Example((clip, own[(own.index(clip) + 1) % len(own)]), label=1.0))
        circle = (clips[(place[clip] + step) % len(clips)] for step in range(1, len(clips)))
        pairs.append(Example((clip, next(other for other in circle if other.speaker != clip.speaker)), label=0.0))
    return pairs
