"""Labels of rendered clips and of people, as a folder that other programs train scorers with.

::

    labels_and_splits/
      labels.json        what it is: versions, aspects and their steps, sizes, counts, checksums
      clips.jsonl        every clip: its recipe, work, split and levels
      items.jsonl        a query clip and a candidate clip or track: the grade in an aspect
      triples.jsonl      a reference clip, a closer one and a farther one
      splits.json        split -> group -> works
      human/<version>/   labels that a listening study exported, as they were

Grades follow from the levels that clips were rendered with, not from anybody's ear. What lines say
is told in :mod:`kindred.expressive.labelling`. ``items.jsonl`` is a sample: a pair that is not
there can be graded from its clips in the same way. Lines of ``human`` have the same names and
shapes, with ``judgements``, ``mean`` and ``agreement`` or ``votes`` beside them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kindred.errors import ExpressiveError
from kindred.expressive import label_files as files
from kindred.expressive.aspects import ASPECTS, KEYS, LEVELS
from kindred.expressive.clips import RENDERER, SPLITS, Clip, Recipe
from kindred.expressive.human_labels import HumanItems, human_files, read_human
from kindred.expressive.labelling import (
    DRAWN,
    Entries,
    Entry,
    Item,
    Triple,
    draw,
    entries,
    relevance,
)
from kindred.expressive.splits import check_disjoint
from kindred.storage.whole_files import replacing

FORMAT, SCHEMA_VERSION = "kindred-expressive-labels", 1
HEADER, CLIPS, ITEMS = "labels.json", "clips.jsonl", "items.jsonl"
TRIPLES, SPLIT_FILE = "triples.jsonl", "splits.json"


@dataclass(frozen=True)
class ExpressiveLabels:
    """A folder of labels: ``header`` is ``labels.json``, ``human`` what people said."""

    header: dict[str, Any]
    clips: tuple[Clip, ...]
    items: tuple[Item, ...]
    triples: tuple[Triple, ...]
    split_of_group: dict[str, str]
    human: HumanItems

    @property
    def version(self) -> str:
        """SHA-256 of the content: the same clips, lines and judgements, the same version."""
        return str(self.header["version"])


def write_labels(
    folder: Path, clips: Sequence[Clip], *, seed: int, human: Sequence[Path] = ()
) -> ExpressiveLabels:
    """Write ``labels_and_splits``; the same clips, seed and judgements give the same bytes.

    Parameters
    ----------
    folder : Path
        The new folder. It is built beside and renamed. When it is there and has the same version,
        it stays as it is.
    clips : sequence of Clip
        In any order.
    seed : int
        Of the lines that are drawn.
    human : sequence of Path
        Folders of labels that listening studies exported.

    Raises
    ------
    ExpressiveError
        When there are no clips, splits share something, human labels cannot be used, or other
        labels are in the folder.
    """
    if not clips:
        raise ExpressiveError("There are no clips to label. Make a plan of clips first.")
    check_disjoint(clips)
    read_human(human)
    ordered = sorted(clips, key=lambda clip: clip.clip_id)
    items, triples = draw(entries(ordered), seed=seed)
    splits: dict[str, dict[str, list[str]]] = {split: defaultdict(list) for split in SPLITS}
    for split, group, work in sorted({(clip.split, clip.group, clip.work) for clip in ordered}):
        splits[split][group].append(work)
    contents = {
        CLIPS: b"".join(files.line(asdict(clip)) for clip in ordered),
        ITEMS: b"".join(files.line(vars(item)) for item in items),
        TRIPLES: b"".join(files.line(vars(triple)) for triple in triples),
        SPLIT_FILE: files.pretty(splits),
        **human_files(human),
    }
    header = _header(ordered, items, triples, seed, contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    built = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in {**contents, HEADER: files.pretty(header)}.items():
            (built / name).parent.mkdir(parents=True, exist_ok=True)
            with replacing(built / name) as out:
                out.write(content)
        found = read_labels(built)
        if not folder.exists():
            built.chmod(0o755)
            os.rename(built, folder)
        elif read_labels(folder).header != found.header:
            raise ExpressiveError(
                f"{folder} is there already, with other labels. Name another folder, or move it"
                " away."
            )
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return found


def read_labels(folder: Path) -> ExpressiveLabels:
    """Read a folder that :func:`write_labels` wrote, and check it.

    Checksums, the header and the splits are checked as a whole. Every line is checked to have the
    fields that it must have and to follow from its clips; a sample of a file's lines is held
    against its schema, since all of them would take minutes.

    Parameters
    ----------
    folder : Path
        The one that has ``labels.json``.

    Raises
    ------
    ExpressiveError
        Names the file that is missing, does not follow its schema, has other bytes than listed,
        says what does not follow from its clips, or puts something in two splits.
    """
    header = files.parse(folder, HEADER, files.read(folder, HEADER))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise files.damaged(folder, HEADER, f"is not of labels of rendered clips ({FORMAT})")
    if header.get("schema") != SCHEMA_VERSION:
        raise ExpressiveError(
            f"{folder / HEADER} has schema {header.get('schema')}; {SCHEMA_VERSION} is read here."
        )
    files.check_schema(folder, HEADER, [header])
    contents = {name: files.read(folder, name) for name in header["files"]}
    for name, content in contents.items():
        if files.sha256(content) != header["files"][name]:
            raise files.damaged(folder, name, f"has other bytes than {HEADER} lists")
    if files.version_of(header["files"]) != header["version"]:
        raise files.damaged(folder, HEADER, "has a version that does not belong to its files")
    clips = tuple(
        _clip(folder, number, line)
        for number, line in files.parse_lines(folder, CLIPS, contents[CLIPS])
    )
    check_disjoint(clips)
    splits = files.parse(folder, SPLIT_FILE, contents[SPLIT_FILE])
    files.check_schema(folder, SPLIT_FILE, [splits])
    listed = [
        (split, group, work)
        for split, groups in splits.items()
        for group, works in groups.items()
        for work in works
    ]
    if sorted(listed) != sorted({(clip.split, clip.group, clip.work) for clip in clips}):
        raise files.damaged(folder, SPLIT_FILE, f"does not have the splits of {CLIPS}")
    known = entries(clips)
    items = tuple(_items(folder, known, contents[ITEMS]))
    triples = tuple(_triples(folder, known, contents[TRIPLES]))
    human = sorted({(folder / name).parent for name in contents if name.startswith("human/")})
    return ExpressiveLabels(
        header,
        clips,
        items,
        triples,
        {group: split for split, group, _ in listed},
        read_human(human),
    )


def _header(
    clips: Sequence[Clip],
    items: Sequence[Item],
    triples: Sequence[Triple],
    seed: int,
    contents: Mapping[str, bytes],
) -> dict[str, Any]:
    checksums = {name: files.sha256(content) for name, content in contents.items()}
    return {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "version": files.version_of(checksums),
        "human": False,
        "renderer": RENDERER,
        "seed": seed,
        "aspects": [
            {
                name: getattr(aspect, name)
                for name in ("key", "title", "meaning", "unit", "steps", "ordered")
            }
            for aspect in ASPECTS
        ],
        "drawn": DRAWN,
        "sizes": {
            "clips": len(clips),
            **{
                f"{name}s": len({getattr(clip, name) for clip in clips})
                for name in ("performance", "work", "group", "composer")
            },
            "items": len(items),
            "triples": len(triples),
        },
        "counts": {
            "clips": _counts(("set", "split"), clips),
            "items": _counts(("kind", "set", "split", "aspect", "role"), items),
            "triples": _counts(("set", "split", "aspect", "lure"), triples),
        },
        "files": checksums,
    }


def _counts(names: tuple[str, ...], given: Iterable[Any]) -> list[dict[str, Any]]:
    """How many there are of each combination of values."""
    counted = Counter(tuple(getattr(one, name) for name in names) for one in given)
    return [
        dict(zip((*names, "lines"), (*values, count), strict=True))
        for values, count in sorted(counted.items())
    ]


def _clip(folder: Path, number: int, line: dict[str, Any]) -> Clip:
    try:
        recipe = dict(line["recipe"])
        recipe |= {name: tuple(recipe[name]) for name in ("levels", "programs")}
        clip = Clip(**{**line, "levels": tuple(line["levels"]), "recipe": Recipe(**recipe)})
    except (KeyError, TypeError) as error:
        raise files.damaged(folder, CLIPS, f"has no clip in line {number} ({error})") from error
    if len(clip.levels) != len(KEYS) or any(one not in range(-1, LEVELS) for one in clip.levels):
        raise files.damaged(folder, CLIPS, f"has the levels {clip.levels} in line {number}")
    return clip


def _items(folder: Path, known: Entries, content: bytes) -> Iterator[Item]:
    for number, line in files.parse_lines(folder, ITEMS, content):
        try:
            query = _entry(known, "clip", line["set"], line["query"])
            candidate = _entry(known, line["kind"], line["set"], line["candidate"])
            item = Item(**{**line, "query": query.segment, "candidate": candidate.segment})
            found = relevance(query, candidate, KEYS.index(item.aspect))
        except (KeyError, TypeError, ValueError) as error:
            raise _odd(folder, ITEMS, number) from error
        if found != (item.role, item.grade) or item.split != query.split:
            raise _odd(folder, ITEMS, number)
        yield item


def _triples(folder: Path, known: Entries, content: bytes) -> Iterator[Triple]:
    for number, line in files.parse_lines(folder, TRIPLES, content):
        try:
            clips = {
                name: _entry(known, "clip", line["set"], line[name])
                for name in ("reference", "closer", "farther")
            }
            triple = Triple(**{**line, **{name: entry.segment for name, entry in clips.items()}})
            place = KEYS.index(triple.aspect)
        except (KeyError, TypeError, ValueError) as error:
            raise _odd(folder, TRIPLES, number) from error
        closer = relevance(clips["reference"], clips["closer"], place)
        farther = relevance(clips["reference"], clips["farther"], place)
        if (
            not closer
            or not farther
            or closer[1] <= farther[1]
            or triple.lure is not (farther[0] == "lure")
            or triple.split != clips["reference"].split
        ):
            raise _odd(folder, TRIPLES, number)
        yield triple


def _entry(known: Entries, kind: str, set_: str, segment: Any) -> Entry:
    """What a line's segment is; raises KeyError, TypeError or ValueError for one that is none."""
    entry = known[kind][set_, segment["track_id"]]
    if segment != vars(entry.segment):
        raise ValueError("another stretch of it")
    return entry


def _odd(folder: Path, name: str, number: int) -> ExpressiveError:
    return files.damaged(folder, name, f"has line {number}, which does not follow from {CLIPS}")
