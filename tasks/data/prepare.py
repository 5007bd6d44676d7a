"""Decodes a corpus once: release folder -> prepared store. Everything later reads the store.

A language that exists in the store is complete. It is made again if the release's tables, the speakers' home
languages, the recipe or a broken clip's file have changed; other rules have another folder. Two processes may prepare
the same language: the second waits for the first where the file system has locks, and otherwise does the same work,
after which one of two equal results stays.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from grids.errors import UserError
from grids.files import write_atomically
from grids.grid import SYNTHETIC, Data
from tasks.data import common_voice, parallel
from tasks.data.cache import cache_folder, explained, lock, new_folder, short_hash, slug
from tasks.data.clips import Clip
from tasks.data.common_voice import SPLITS, Row
from tasks.data.decoding import decode_rows, file_bytes
from tasks.data.report import BROKEN, NOT_LOOKED_AT, Drop, LanguageReport, read
from tasks.data.selection import Selection, select
from tasks.data.store import (
    AUDIO,
    MANIFEST,
    REPORT,
    language_place,
    open_language,
    read_sha,
    refused_report,
    write_manifest,
)

RECIPE = 3  # raise it with every change that can change a prepared byte

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus.

    Attributes:
        folder: the prepared one, for `store.open_language`.
        shas: each language's content hash; a store opened later with another one has been made again since.
    """

    folder: Path
    shas: Mapping[str, str]


def prepare(corpus: str, languages: Sequence[str], rules: Data, progress: Progress | None = None) -> Corpus:
    """Decodes the languages of a corpus that are not yet decoded.

    Args:
        corpus: "synthetic", or the folder of a release.
        languages: the codes to prepare.
        rules: which clips count.
        progress: called with a language, clips done and clips in all; also while the synthetic corpus is made.

    Raises:
        UserError: no such corpus or language, too many broken clips, no usable clip, or no place to write to.
    """
    wanted = tuple(dict.fromkeys(languages))
    release = open_corpus(corpus, wanted, progress)
    for language in wanted:
        common_voice.language_folder(release, language)
    folder = prepared_folder(release, rules)
    for language in wanted:
        _prepare_language(release, language, rules, folder, progress)
    if (release / parallel.TRANSLATIONS).is_file():
        write_atomically(folder / parallel.TRANSLATIONS, (release / parallel.TRANSLATIONS).read_bytes())
    return Corpus(folder, {language: read_sha(folder, language) for language in wanted})


def open_corpus(corpus: str, languages: Sequence[str], progress: Progress | None = None) -> Path:
    """The release folder that a corpus stands for; what is missing of the synthetic one is made.

    Raises:
        UserError: as `common_voice.open_release` and `parallel.open_parallel`.
    """
    if corpus != SYNTHETIC:
        return parallel.open_parallel(corpus) or common_voice.open_release(corpus)
    from tasks.data import synthetic

    tell = (lambda done, total: progress(SYNTHETIC, done, total)) if progress else None
    with explained("the synthetic corpus", cache_folder()):
        codes = tuple(dict.fromkeys(language.partition("@")[0] for language in languages))
        return synthetic.ensure(codes, cache_folder() / SYNTHETIC, tell)


def prepared_folder(release: Path, rules: Data) -> Path:
    """Where a release's languages are prepared under these rules: other rules never touch what a run has open."""
    key = short_hash(json.dumps([str(release.resolve()), asdict(rules)]))
    return cache_folder() / "prepared" / f"{slug(release.name)}-{key}"


def _prepare_language(release: Path, language: str, rules: Data, folder: Path, progress: Progress | None) -> None:
    """Makes one language unless it is there and fresh."""
    place = language_place(folder, language)
    code, accent = common_voice.split_code(release, language)
    source = release / code
    visitors = common_voice.visitors(release, code)
    tables = common_voice.source_files(release, code)
    fingerprint = short_hash(json.dumps([RECIPE, asdict(rules), tables, sorted(visitors)]))
    if _is_fresh(place, fingerprint, source):
        return
    selection = select(common_voice.read_language(release, code), visitors, rules, accent)
    selection = replace(selection, rows=common_voice.with_seconds(release, code, selection.rows))
    with explained(f"language {language!r}", folder), lock(folder / f".{place.name}.lock"):
        if _is_fresh(place, fingerprint, source):  # somebody else made it while we waited
            return
        with new_folder(place) as temporary:
            report = _build(temporary, language, source, selection, fingerprint, rules, progress)
            _check(report, rules, refused_report(folder, language))
        open_language.cache_clear()


def _is_fresh(place: Path, fingerprint: str, source: Path) -> bool:
    """Whether a language is prepared from what the release holds now.

    A clip that was missing or broken may have been replaced since (a download that went on), hence their sizes.
    """
    if not (place / REPORT).is_file():
        return False
    try:
        kept = read(place / REPORT)
        read_sha(place.parent, kept.language)
    except UserError:  # damaged
        return False
    looked_at = [drop for drop in kept.dropped if drop.bytes != NOT_LOOKED_AT]
    same = all(file_bytes(source / "clips" / drop.name) == drop.bytes for drop in looked_at)
    return kept.fingerprint == fingerprint and same


def _build(
    temporary: Path,
    language: str,
    source: Path,
    selection: Selection,
    fingerprint: str,
    rules: Data,
    progress: Progress | None,
) -> LanguageReport:
    """Decodes the selected rows into `temporary` and writes manifest and report beside the samples."""
    clips: list[Clip] = []
    rows: list[Row] = []
    dropped = list(selection.dropped)
    seen: dict[str, str] = {}
    offset, total = 0, len(selection.rows)
    with (temporary / AUDIO).open("wb") as file:
        for done, result in enumerate(decode_rows(selection.rows, source / "clips", rules), start=1):
            if progress:
                progress(language, done, total)
            if isinstance(result, Drop):
                dropped.append(result)
                continue
            row, length = result.row, result.wave.size
            if result.sha in seen:
                dropped.append(Drop(row.name, row.split, "duplicate samples", f"the same as {seen[result.sha]}"))
                continue
            seen[result.sha] = row.name
            file.write(result.wave.data)
            said = (row.name, row.speaker, row.gender, row.sentence, row.split)
            clips.append(Clip(language, *said, offset, length, result.sha, row.item, row.accent))
            rows.append(row)
            offset += length
    if clips:
        write_manifest(temporary / MANIFEST, clips, rows)
    report = _report(language, source, fingerprint, selection, clips, dropped)
    report.write(temporary / REPORT)
    return report


def _report(
    language: str, source: Path, fingerprint: str, selection: Selection, clips: Sequence[Clip], dropped: Sequence[Drop]
) -> LanguageReport:
    """Counts what a language's folder lists and what was kept of it."""
    kept = Counter(clip.split for clip in clips)
    listed = kept + Counter(drop.split for drop in dropped) + Counter(train=selection.beyond_cap)
    people = {(clip.split, clip.gender or "unknown", clip.speaker) for clip in clips}
    return LanguageReport(
        language=language,
        release=str(source.parent),
        fingerprint=fingerprint,
        listed={split: listed[split] for split in SPLITS},
        beyond_cap=selection.beyond_cap,
        kept={split: kept[split] for split in SPLITS},
        seconds={split: round(sum(clip.seconds for clip in clips if clip.split == split), 3) for split in SPLITS},
        speakers=dict(sorted(Counter(f"{split} {gender}" for split, gender, _ in people).items())),
        two_genders=selection.two_genders,
        dropped=tuple(dropped),
    )


def _check(report: LanguageReport, rules: Data, refused: Path) -> None:
    """Refuses a language with too many broken clips, or with none that is usable; `refused` then has the report."""
    broken = [drop for drop in report.dropped if drop.reason in BROKEN]
    looked_at = sum(report.listed.values()) - report.beyond_cap
    share = len(broken) / max(looked_at, 1)
    too_many = share > rules.max_broken_share
    if not too_many and any(report.kept.values()):
        refused.unlink(missing_ok=True)
        return
    report.write(refused)
    counted = ", ".join(f"{count} {reason}" for reason, count in report.dropped_by_reason.items())
    if not too_many:
        raise UserError(
            f"language {report.language!r} has no usable clip ({counted or 'none is listed'}); see {refused}"
        )
    examples = "; ".join(f"{drop.name}: {drop.reason} ({drop.detail})" for drop in broken[:3])
    raise UserError(
        f"language {report.language!r}: {len(broken)} of {looked_at} clips ({share:.0%}) are broken, max_broken_share "
        f"allows {rules.max_broken_share:.0%}; for example {examples}; the whole list is in {refused}"
    )
