"""How alike sentences of two languages sound, by the phonemes that espeak-ng reads them in.

It is the control of speech retrieval: who hears sounds alone finds the sentence that sounds most like the query, and
that is often its translation (names, loans, relatives). Only where the best-sounding sentence means something else can
a hit be a matter of meaning. It needs the extra `synthetic`. What espeak-ng says of a language is a rule book's
opinion, not a recording's.
"""

from collections.abc import Sequence

import numpy as np

from grids.errors import UserError

PHONEMES = 2  # in a row: what two sentences share is counted in pairs


def sound_likeness(queries: Sequence[str], language: str, gallery: Sequence[str], other: str) -> np.ndarray:
    """How alike sentences sound.

    Args:
        queries: Q sentences.
        language: theirs.
        gallery: G sentences.
        other: theirs.

    Returns:
        (Q, G) float64 in [0, 1]: cosine of the counts of pairs of neighbouring phonemes.

    Raises:
        UserError: espeak-ng is not installed, or has not one of the languages.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    left, right = phonemes(queries, language), phonemes(gallery, other)
    vectorizer = CountVectorizer(analyzer="char", ngram_range=(PHONEMES, PHONEMES), lowercase=False)
    counts = vectorizer.fit_transform([f" {text} " for text in (*left, *right)])
    return np.asarray(cosine_similarity(counts[: len(left)], counts[len(left) :]))


def phonemes(texts: Sequence[str], language: str) -> list[str]:
    """Each text in IPA, without marks of stress and length.

    Raises:
        UserError: as `sound_likeness`.
    """
    from tasks.data import cldr, espeak, synthetic

    synthetic.require_extra()
    spoken = [cldr.spoken(text, language) for text in texts]
    try:
        read = espeak.phonemes(spoken, synthetic.ESPEAK_NAMES.get(language, language.lower()))
    except RuntimeError as error:
        raise UserError(f"no phonemes of {language!r}: {error}; set control = 'none' in [options]") from None
    return ["".join(letter for letter in text if letter not in "ˈˌː") for text in read]
