"""Human judgements: labels that listening studies exported, as the gates and training use them.

A folder is checked by :func:`kindred.audit.labels.read_labels` and copied as it is, so a line has
the names and shapes of :mod:`kindred.audit.labelling`; its ``track_id`` is a track of the library.
Lines of tracks in two splits (``split`` is ``None``) are kept and belong to no split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kindred.audit.labelling import Pair, Triple
from kindred.audit.labels import FOLDER, HEADER, ITEMS, SPLIT_FILE, TRIPLES, Labels, read_labels
from kindred.audit.splits import SPLITS
from kindred.errors import AuditError, ExpressiveError
from kindred.expressive.aspects import KEYS

OVERALL = "overall"
FILES = (HEADER, ITEMS, TRIPLES, SPLIT_FILE)


@dataclass(frozen=True)
class HumanItems:
    """What people said, of any number of studies.

    Attributes
    ----------
    versions : tuple of str
        Of the folders.
    pairs, triples : tuple
        In the order of the folders. Pairs of "graded" studies have grades 0 to 2, of "ab" studies 0
        to 3; ``mean`` lies from 0 to 1 in both.
    split_of : dict of str to str
        Track id -> split.
    """

    versions: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    triples: tuple[Triple, ...] = ()
    split_of: dict[str, str] = field(default_factory=dict)

    def within(self, split: str) -> HumanItems:
        """Only the lines and tracks of a split."""
        return HumanItems(
            self.versions,
            tuple(pair for pair in self.pairs if pair.split == split),
            tuple(triple for triple in self.triples if triple.split == split),
            {track_id: of for track_id, of in self.split_of.items() if of == split},
        )


def aspect_weights(aspect: str) -> tuple[float, ...]:
    """Weights of the aspects that a judged one stands for: one alone, or equal ones for overall."""
    if aspect == OVERALL:
        return (1 / len(KEYS),) * len(KEYS)
    if aspect not in KEYS:
        raise ExpressiveError(f"{aspect!r} is not learnt, but {', '.join(KEYS)} and {OVERALL} are.")
    return tuple(float(key == aspect) for key in KEYS)


def read_human(folders: Sequence[Path]) -> HumanItems:
    """Read and check folders of labels; the same labels given twice count once.

    Parameters
    ----------
    folders : sequence of Path
        Each has ``labels.json``, or ``labels_and_splits`` with it.

    Raises
    ------
    ExpressiveError
        When a folder cannot be used, is about what is not learnt, or has a track or a group in
        another split than another folder has it: what is trained on can never be in test.
    """
    versions: list[str] = []
    pairs: list[Pair] = []
    triples: list[Triple] = []
    split_of: dict[str, str] = {}
    seen: dict[tuple[str, str], tuple[str, Path]] = {}
    for folder, labels in _checked(folders):
        versions.append(labels.version)
        pairs += labels.pairs
        triples += labels.triples
        split_of |= labels.split_of
        for what, name, split in _members(folder):
            other, where = seen.setdefault((what, name), (split, folder))
            if other != split:
                raise ExpressiveError(
                    f"Human labels are not disjoint. The {what} {name} is in {other} in {where} and"
                    f" in {split} in {folder}. Leave one of the two folders out."
                )
    return HumanItems(tuple(versions), tuple(pairs), tuple(triples), split_of)


def human_files(folders: Sequence[Path]) -> dict[str, bytes]:
    """What is copied: name within ``labels_and_splits`` -> content of each folder's files."""
    return {
        f"human/{labels.version[:12]}/{name}": (folder / name).read_bytes()
        for folder, labels in _checked(folders)
        for name in FILES
    }


def _checked(folders: Sequence[Path]) -> list[tuple[Path, Labels]]:
    """Folders and their labels, each version once, in the order of versions."""
    found: dict[str, tuple[Path, Labels]] = {}
    for given in folders:
        folder = given / FOLDER if (given / FOLDER / HEADER).exists() else given
        try:
            labels = read_labels(folder)
        except AuditError as error:
            raise ExpressiveError(f"Human labels cannot be used: {error}") from error
        try:
            aspect_weights(labels.header["aspect"])
        except ExpressiveError as error:
            raise ExpressiveError(f"Human labels in {folder} cannot be used: {error}") from error
        found.setdefault(labels.version, (folder, labels))
    return [found[version] for version in sorted(found)]


def _members(folder: Path) -> list[tuple[str, str, str]]:
    """What is in which split: ("track" or "group", id, split)."""
    splits = json.loads((folder / SPLIT_FILE).read_bytes())
    return [
        member
        for split in SPLITS
        for group, tracks in splits[split].items()
        for member in (*(("track", one, split) for one in tracks), ("group", group, split))
    ]
