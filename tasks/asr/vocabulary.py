"""The characters, or phones, that a network can write, taken from its training text, and what becomes of any other.

Row 0 of a head is CTC's blank. A character's row starts from (seed, character) alone (`tasks.examples.linear_head` on
`Vocabulary.symbols`), so that it is the same in every mixture of a seed. A text of phones has a space between two of
them, which is no symbol; what is said of characters here holds for phones too.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from grids.errors import UserError

BLANK = ""  # the symbol of row 0
UNK = "\ufffd"  # stands for every character that is not in the vocabulary
Alphabet = Literal["characters", "phones"]
Unknown = Literal["error", "map", "unk"]


def split(text: str, alphabet: Alphabet) -> list[str]:
    """A text's characters, or phones."""
    return text.split() if alphabet == "phones" else [*text]


def join(symbols: Iterable[str], alphabet: Alphabet) -> str:
    """The text of characters, or phones."""
    return (" " if alphabet == "phones" else "").join(symbols)


@dataclass(frozen=True)
class Vocabulary:
    """Characters by row.

    Attributes:
        characters: sorted, without the blank; with `UNK` if `unknown` is "unk".
        unknown: what becomes of a character that is not among them. "error": it is left out of training texts and is an
            error of every score; "map": by the parts of its Unicode decomposition that are among them; "unk": by `UNK`,
            which a network can write.
        alphabet: "phones" if its characters are phones.
    """

    characters: tuple[str, ...]
    unknown: Unknown = "error"
    alphabet: Alphabet = "characters"

    @classmethod
    def of(
        cls, texts: Iterable[str], unknown: Unknown = "error", least: int = 1, alphabet: Alphabet = "characters"
    ) -> "Vocabulary":
        """The vocabulary of a training's texts.

        Args:
            texts: clean texts.
            unknown: see `Vocabulary.unknown`.
            least: times that a character must occur.
            alphabet: of the texts.
        """
        counts = Counter(character for text in texts for character in split(text, alphabet))
        found = {character for character, count in counts.items() if count >= least}
        return cls(tuple(sorted(found | ({UNK} if unknown == "unk" and counts else set()))), unknown, alphabet)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of a head's rows, the blank first."""
        return (BLANK, *self.characters)

    def reference(self, text: str) -> str:
        """What a hypothesis is compared with: the text, after `unknown` "map" or "unk"."""
        if self.unknown == "error" or not self.characters:
            return text
        found = (c if c in self.characters else self._stand_in(c) for c in split(text, self.alphabet))
        return join(found, self.alphabet)

    def encode(self, text: str) -> list[int]:
        """The rows of a text; what is not in the vocabulary is left out."""
        rows = {character: row for row, character in enumerate(self.characters, start=1)}
        return [rows[character] for character in split(self.reference(text), self.alphabet) if character in rows]

    def decode(self, rows: Sequence[int]) -> str:
        """The text of rows; blanks are left out, repeated rows are not."""
        return join((self.symbols[row] for row in rows if row), self.alphabet)

    def lacking(self, texts: Iterable[str]) -> Counter[str]:
        """Character -> times that it occurs in the texts, for all that the vocabulary lacks."""
        every = (c for text in texts for c in split(self.reference(text), self.alphabet))
        return Counter(c for c in every if c not in self.characters or c == UNK)

    def _stand_in(self, character: str) -> str:
        """What is written for a character that the vocabulary lacks; the character itself if there is nothing."""
        if self.unknown == "unk":
            return UNK
        parts = unicodedata.normalize("NFKD", character)
        return join((part for part in parts if part in self.characters), self.alphabet) or character


@dataclass(frozen=True)
class View:
    """What a network can write of one language, or of all.

    Attributes:
        language: its code; "" for all.
        vocabulary: the characters.
        rows: their rows of the head, the blank's first.
    """

    language: str
    vocabulary: Vocabulary
    rows: tuple[int, ...]


def lacking_text(lacking: Counter[str]) -> str:
    """A line on characters with their code points and counts, most frequent first."""
    codes = {character: " ".join(f"U+{ord(letter):04X}" for letter in character) for character in lacking}
    return ", ".join(f"{character!r} ({codes[character]}) x{count}" for character, count in lacking.most_common())


def check_alphabet(vocabulary: Vocabulary, texts: Sequence[str], language: str, largest_share: float) -> Counter[str]:
    """What a vocabulary lacks of a language's dev or test texts.

    Returns:
        Character -> times that it occurs.

    Raises:
        UserError: that is more than the share of all characters.
    """
    lacking, total = vocabulary.lacking(texts), sum(len(split(text, vocabulary.alphabet)) for text in texts)
    if lacking.total() > largest_share * total:
        raise UserError(
            f"the vocabulary of the training text lacks {lacking.total() / total:.1%} of the {vocabulary.alphabet} of "
            f"the test text of {language!r}; allowed: {largest_share:.1%} (max_unknown_share). "
            f"Lacking: {lacking_text(lacking)}"
        )
    return lacking
