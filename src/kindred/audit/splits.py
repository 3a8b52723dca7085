"""Which tracks are for training, validation and test, so that nothing is learnt of what is tested.

A group of tracks is in one split as a whole. Groups that were judged together are put in one split
where there is room: a group joins the split that has most of those it was judged with, weighed by
the room left in it (linear deterministic greedy partitioning: Stanton and Kliot, KDD 2012).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from kindred.errors import AuditError

SPLITS = ("train", "validation", "test")


def split_groups(
    together: Sequence[Collection[str]],
    groups: Mapping[str, str],
    *,
    used_for_training: Collection[str] = (),
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> dict[str, str]:
    """Give every judged track a split.

    Parameters
    ----------
    together : sequence of collection of str
        Tracks that were judged together.
    groups : mapping of str to str
        Track id -> group, for these tracks and those used for training.
    used_for_training : collection of str
        Tracks whose groups are in "train".
    fractions : tuple of float
        Shares of the tracks for the splits.

    Returns
    -------
    dict of str to str
        Track id -> split, the same for the same input whatever its order.

    Raises
    ------
    AuditError
        When the fractions are not positive or do not sum to 1.
    """
    if min(fractions) <= 0 or not math.isclose(sum(fractions), 1):
        raise AuditError(f"Fractions of splits are positive and sum to 1, got {fractions}.")
    tracks = sorted({track_id for ids in together for track_id in ids})
    size = Counter(groups[track_id] for track_id in tracks)
    links: dict[str, Counter[str]] = defaultdict(Counter)
    for ids in together:
        for one, other in permutations({groups[track_id] for track_id in ids}, 2):
            links[one][other] += 1
    room = {name: fraction * len(tracks) for name, fraction in zip(SPLITS, fractions, strict=True)}
    left = dict(room)
    split: dict[str, str] = {}

    near: dict[str, Counter[str]] = defaultdict(Counter)

    def put(group: str, name: str) -> None:
        split[group] = name
        left[name] -= size[group]
        for other, count in links[group].items():
            near[other][name] += count

    trained = {groups[track_id] for track_id in used_for_training if track_id in groups}
    for group in sorted(trained & set(size)):
        put(group, "train")
    open_ = set(size) - set(split)
    while open_:
        group = min(
            open_,
            key=lambda group: (-near[group].total(), hashlib.sha256(group.encode()).digest()),
        )
        shares = {name: left[name] / room[name] for name in SPLITS}
        pull = {name: near[group][name] * max(0.0, shares[name]) for name in SPLITS}
        put(group, max(SPLITS, key=lambda name: (pull[name], shares[name])))
        open_.discard(group)
    return {track_id: split[groups[track_id]] for track_id in tracks}


def check_splits(splits: Mapping[str, Any], *, where: Path) -> dict[str, str]:
    """Track id -> split, from ``splits.json``.

    Parameters
    ----------
    splits : mapping
        Split -> group -> ids of its tracks, and ``used_for_training``, ids of tracks.
    where : Path
        The file, for messages.

    Raises
    ------
    AuditError
        When a group or a track is in two splits, or one used for training is not in "train".
    """
    split_of: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name in SPLITS:
        for group, tracks in splits[name].items():
            for what, entry, known in (
                ("The group", group, seen),
                *(("The track", track_id, split_of) for track_id in tracks),
            ):
                if entry in known:
                    raise AuditError(
                        f"{where} is not disjoint. {what} {entry} is in {known[entry]} and in"
                        f" {name}. Export the labels of the study again."
                    )
                known[entry] = name
    for track_id in splits["used_for_training"]:
        if split_of.get(track_id) != "train":
            raise AuditError(
                f"{where} has the track {track_id}, which was used for training, in"
                f" {split_of.get(track_id)}. Export the labels of the study again."
            )
    return split_of
