"""What a clip says in other languages: a table with a row a meaning and a column a language.

The synthetic corpus has its table in itself (CLDR's names, `tasks.data.cldr`). For other corpora it is a TSV file with
language codes as its header, quoting off, and in each row one sentence in each of them; "" where there is none: the
`translations.tsv` of a parallel corpus (`tasks.data.parallel`) is one. A clip is found by its item, if the table has a
column "item", or else by its language and sentence; of rows with equal sentences the first counts.
"""

import csv
from collections.abc import Mapping
from functools import lru_cache

from grids.errors import UserError
from grids.files import expanded
from tasks.data.clips import Clip


def text_in(clip: Clip, language: str, path: str = "") -> str:
    """What the clip says, in a language.

    Args:
        clip: the clip.
        language: a column of the table; the clip's own language needs none.
        path: the TSV file; "": the synthetic corpus.

    Raises:
        UserError: the table has no text for it, or cannot be read.
    """
    if language == clip.language:
        return clip.sentence
    if path:
        table = _read(path)
        by_item = table.get(("item", clip.item)) if clip.item else None
        text = (by_item or table.get((clip.language, clip.sentence), {})).get(language)
    else:
        text = _synthetic(clip.language, language).get(clip.sentence)
    if not text:
        where = path or "the synthetic corpus"
        raise UserError(f"{where} has no text in {language!r} for the clip {clip.language}/{clip.name}, which says "
                        f"{clip.sentence!r}; name a table in [options] texts")  # fmt: skip
    return text


@lru_cache(maxsize=1)
def _read(path: str) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """(column, cell) -> the row of a TSV file that it stands in.

    Raises:
        UserError: it cannot be read, or a row has not as many cells as the header.
    """
    try:
        with expanded(path).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read the table of texts {path!r}: {error}") from None
    found = dict[tuple[str, str], Mapping[str, str]]()
    for line, cells in enumerate(rows, start=2):
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} cells under a header of {len(header)}")
        row = dict(zip(header, cells, strict=True))
        for key in row.items():
            found.setdefault(key, row)
    return found


@lru_cache(maxsize=256)
def _synthetic(source: str, target: str) -> Mapping[str, str]:
    """Sentence -> text, of the synthetic corpus in two languages; empty where it has not both."""
    from tasks.data.cldr import sentences
    from tasks.data.synthetic import LANGUAGES

    if not {source, target} <= {*LANGUAGES}:
        return {}
    one, other = sentences(source), sentences(target)
    return {a.text: b.text for split in one for a, b in zip(one[split], other[split], strict=True)}
