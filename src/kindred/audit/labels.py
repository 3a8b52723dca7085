"""What people judged, as labels for training and evaluation.

::

    labels_and_splits/
      labels.json     what it is: versions, where it comes from, how grades were made, counts
      items.jsonl     a query clip and a candidate clip: the grade people gave
      triples.jsonl   a reference clip, a closer one and a farther one
      splits.json     which tracks are for training, validation and test

Only what was judged is written: a pair that is not there was not found irrelevant, it was not
asked. What the lines say is told in :mod:`kindred.audit.labelling`. ``sensitivity`` is the share of
lines of ``items.jsonl`` whose grade changes when all cuts move.

Tracks that share a work or a recording, also through others, are a group, and a group is in one
split. A line whose tracks are not all in one split has none (null) and must not be used where
splits matter. Groups that people's answers were used to train on are in "train".
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from kindred.audit import related
from kindred.audit.judgement import Judgement, counting
from kindred.audit.labelling import (
    CUTS,
    Pair,
    Triple,
    common_split,
    label_pairs,
    label_triples,
    sensitivity,
)
from kindred.audit.splits import SPLITS, check_splits, split_groups
from kindred.audit.study import Clip, Study
from kindred.errors import AuditError
from kindred.storage.records import Track
from kindred.storage.whole_files import replacing

FOLDER = "labels_and_splits"
FORMAT, SCHEMA_VERSION = "kindred-labels", 1
HEADER, ITEMS, TRIPLES, SPLIT_FILE = "labels.json", "items.jsonl", "triples.jsonl", "splits.json"


@dataclass(frozen=True)
class Labels:
    """A folder of labels: ``header`` is ``labels.json``, ``split_of`` tells a track's split."""

    header: dict[str, Any]
    pairs: tuple[Pair, ...]
    triples: tuple[Triple, ...]
    split_of: dict[str, str]

    @property
    def version(self) -> str:
        """SHA-256 of the content: the same labels and splits, the same version."""
        return str(self.header["version"])


def write_labels(
    folder: Path,
    study: Study,
    judgements: Sequence[Judgement],
    *,
    tracks: Sequence[Track],
    created_at: str,
    excluded: Mapping[str, str] | None = None,
    alpha: float | None = None,
    used_for_training: Collection[str] = (),
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> Labels:
    """Write ``labels_and_splits`` into a folder.

    Parameters
    ----------
    folder : Path
        Where the new folder comes to lie; it must not be there yet.
    study : Study
        As it was opened.
    judgements : sequence of Judgement
        Of the listeners who count. First answers to real items are used, not repeats.
    tracks : sequence of Track
        The library, for works and recordings. What was said of tracks that are gone is left out
        and counted.
    created_at : str
        UTC, ISO 8601.
    excluded : mapping of str to str, optional
        Listeners who do not count -> why. Reasons are written with their numbers, names are not.
    alpha : float, optional
        Krippendorff's alpha of the answers.
    used_for_training : collection of str
        Ids of tracks that were used to train something; their groups are in "train".
    fractions : tuple of float
        Shares of the tracks in train, validation and test; they sum to 1.

    Raises
    ------
    AuditError
        When a judgement is of another study or of an excluded listener, nothing was judged, or the
        folder is there.
    """
    target = folder / FOLDER
    if target.exists():
        raise AuditError(f"{target} is there already. Name another folder, or move it away.")
    excluded = excluded or {}
    used = _usable(study, judgements, excluded)
    known = {track.track_id for track in tracks}
    items = {item.item_id: item for item in study.of_kind("real")}
    whole = [one for one in used if all(c.track_id in known for c in items[one.item_id].clips)]
    if not whole:
        raise AuditError(
            f"Study {study.study_id} gives no labels: of {len(used)} judgements of real items that"
            " can tell, none is of tracks that are in the library."
        )
    form, aspect = study.design.form, study.design.aspect
    together = [
        {clip.track_id for clip in items[item_id].clips}
        for item_id in sorted({one.item_id for one in whole})
    ]
    groups = related.groups(tracks)
    split_of = split_groups(
        together, groups, used_for_training=used_for_training, fractions=fractions
    )
    pairs = label_pairs(form, aspect, items, whole, split_of)
    triples = label_triples(form, aspect, items, whole, split_of)
    splits: dict[str, Any] = {name: {} for name in SPLITS}
    for track_id, split in sorted(split_of.items()):
        splits[split].setdefault(groups[track_id], []).append(track_id)
    splits["used_for_training"] = sorted(set(used_for_training) & set(split_of))
    contents = {
        ITEMS: b"".join(_line(asdict(pair)) for pair in pairs),
        TRIPLES: b"".join(_line(asdict(triple)) for triple in triples),
        SPLIT_FILE: _pretty(splits),
    }
    header = {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "version": _version(contents),
        "created_at": created_at,
        "human": True,
        "form": form,
        "aspect": aspect,
        "provenance": {
            "study_id": study.study_id,
            "design_hash": study.design_hash,
            "listeners": len({one.listener_id for one in whole}),
            "excluded": dict(sorted(Counter(excluded.values()).items())),
            "alpha": alpha,
        },
        "grading": {"cuts": list(CUTS[form]), "sensitivity": sensitivity(form, pairs)},
        "counts": {
            "judgements": len(whole),
            "left_out": len(used) - len(whole),
            "items": len(pairs),
            "triples": len(triples),
            "items_across_splits": sum(pair.split is None for pair in pairs),
            "triples_across_splits": sum(triple.split is None for triple in triples),
        },
        "files": {name: _sha256(content) for name, content in contents.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=folder))
    try:
        for name, content in {**contents, HEADER: _pretty(header)}.items():
            with replacing(work / name) as out:
                out.write(content)
        found = read_labels(work)
        work.chmod(0o755)
        os.rename(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return found


def read_labels(folder: Path) -> Labels:
    """Read a folder that :func:`write_labels` wrote, and check all of it.

    Parameters
    ----------
    folder : Path
        The one that has ``labels.json``.

    Raises
    ------
    AuditError
        Names the file that is missing, does not follow its schema, has other bytes than listed, or
        puts a group in two splits.
    """
    header = _json(folder, HEADER, _read(folder, HEADER))
    if isinstance(header, dict) and header.get("schema") != SCHEMA_VERSION:
        raise AuditError(
            f"{folder / HEADER} has schema {header.get('schema')}; {SCHEMA_VERSION} is read here."
        )
    _check_schema(folder, HEADER, [header])
    contents = {name: _read(folder, name) for name in (ITEMS, TRIPLES, SPLIT_FILE)}
    for name, content in contents.items():
        if _sha256(content) != header["files"][name]:
            raise _damaged(folder, name, f"has other bytes than {HEADER} lists")
    if _version(contents) != header["version"]:
        raise _damaged(folder, HEADER, "has a version that does not belong to its files")
    lines = {
        name: [_json(folder, name, line) for line in contents[name].split(b"\n") if line]
        for name in (ITEMS, TRIPLES)
    }
    splits = _json(folder, SPLIT_FILE, contents[SPLIT_FILE])
    for name, values in {**lines, SPLIT_FILE: [splits]}.items():
        _check_schema(folder, name, values)
    pairs = tuple(Pair(**_with_clips(line)) for line in lines[ITEMS])
    triples = tuple(Triple(**_with_clips(line)) for line in lines[TRIPLES])
    split_of = check_splits(splits, where=folder / SPLIT_FILE)
    labelled: dict[str, Sequence[Pair | Triple]] = {ITEMS: pairs, TRIPLES: triples}
    for name, rows in labelled.items():
        for number, row in enumerate(rows, 1):
            ids = [clip.track_id for clip in vars(row).values() if isinstance(clip, Clip)]
            if any(track_id not in split_of for track_id in ids):
                raise _damaged(folder, name, f"names a track in line {number} that has no split")
            if row.split != common_split(ids, split_of):
                raise _damaged(folder, name, f"has another split in line {number} than its tracks")
    return Labels(header, pairs, triples, split_of)


def _usable(
    study: Study, judgements: Sequence[Judgement], excluded: Mapping[str, str]
) -> list[Judgement]:
    """First answers to real items that tell something."""
    design_hash = study.design_hash
    real = {item.item_id for item in study.of_kind("real")}
    for one in judgements:
        if one.study_id != study.study_id or one.design_hash != design_hash:
            raise AuditError(
                f"Judgement {one.judgement_id} was given in another study than {study.study_id}, or"
                " before its design was changed. Give those of one study."
            )
        if one.listener_id in excluded:
            raise AuditError(
                f"Judgement {one.judgement_id} is of a listener who is excluded"
                f" ({excluded[one.listener_id]}). Give those that count."
            )
    return [
        one
        for one in counting(list(judgements))
        if one.kind == "real" and one.item_id in real and one.answer is not None
    ]


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _pretty(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1, ensure_ascii=False).encode() + b"\n"


def _with_clips(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Clip(**value) if isinstance(value, dict) else value for name, value in line.items()
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _version(contents: Mapping[str, bytes]) -> str:
    listed = "".join(f"{name} {_sha256(contents[name])}\n" for name in sorted(contents))
    return _sha256(listed.encode())


def _damaged(place: Path, name: str, what: str) -> AuditError:
    return AuditError(f"{place / name} {what}. Export the labels of the study again.")


def _read(place: Path, name: str) -> bytes:
    try:
        return (place / name).read_bytes()
    except OSError as error:
        raise _damaged(place, name, f"cannot be read ({error.strerror})") from error


def _json(place: Path, name: str, text: bytes) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:  # what is not UTF-8, too
        raise _damaged(place, name, f"is not JSON ({error})") from error


def _check_schema(place: Path, name: str, values: Sequence[Any]) -> None:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    file = f"schemas/{Path(name).stem}.schema.json"
    schema = json.loads((resources.files("kindred.audit") / file).read_text("utf-8"))
    validator = Draft202012Validator(schema)
    for number, value in enumerate(values, 1):
        for error in validator.iter_errors(value):
            where = error.json_path.removeprefix("$").lstrip(".") or "it"
            line = f" in line {number}" if len(values) > 1 else ""
            raise _damaged(
                place, name, f"does not follow its schema at {where}{line}: {error.message[:200]}"
            )
