"""A small library whose answers are planted, and listeners who sit through a study of it.

Its tracks are short tones of five composers. Vectors know a little of the composer, so that systems
agree about some answers and not about others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kindred.audit.sittings import Sittings
from kindred.audit.study import Design, Item, Study
from kindred.audit.views import trial_name
from kindred.embeddings.space import EmbeddingSpace
from kindred.services.audits import Audits
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Embedding, FileRecord, Track
from tests.audit.studies import given
from tests.conftest import tone

COMPOSERS = 5
#: What a test asks for unless it asks for something else: three items, a catch and a practice.
SMALL: dict[str, Any] = {
    "trials": 3, "catches": 1, "repeats": 0, "practice": 1, "listeners": 2, "overlap": 2,
    "clip_seconds": 1.0,
}  # fmt: skip


def plant(
    storage: StorageBackend, folder: Path, *spaces: EmbeddingSpace, count: int = 30
) -> list[str]:
    """Tracks of five seconds with their files, and vectors of each space; returns the ids."""
    storage.add_root(str(folder))
    ids = [f"t{number:02d}" for number in range(count)]
    storage.put_tracks(
        Track(
            track_id,
            content_hash=f"{number:064x}",
            title=f"Piece {number}",
            composer=f"Composer {number % COMPOSERS}",
            work=f"Work {number}",
            duration=5.0,
        )
        for number, track_id in enumerate(ids)
    )
    files = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(files):
        if not path.exists():
            tone(path, hz=120 * 1.1**number, seconds=5, rate=8_000)
    storage.put_files(
        FileRecord(str(path), 1, 1, f"{number:064x}", ids[number])
        for number, path in enumerate(files)
    )
    for seed, space in enumerate(spaces):
        rng = np.random.default_rng(seed)
        segments = rng.standard_normal((count, 3, space.dims)).astype(np.float32)
        for number in range(count):
            segments[number, :, number % COMPOSERS] += 1
        segments /= np.linalg.norm(segments, axis=2, keepdims=True)
        vectors = segments.mean(axis=1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        storage.put_embeddings(
            space,
            [
                Embedding(track_id, f"{number:064x}", vectors[number], segments[number])
                for number, track_id in enumerate(ids)
            ],
        )
    return ids


def design(*systems: str, **values: Any) -> Design:
    """A small study's design."""
    return Design(**({"title": "Small", "systems": systems} | SMALL | values))


def opened(audits: Audits, *systems: str, **values: Any) -> Study:
    """A study that was drawn and opened."""
    found = audits.draw(design(*systems, **values))
    assert found is not None
    return audits.store.open_study(found[0].study_id)


def first_system(item: Item) -> int:
    """The candidate that the study's first system answered with."""
    return next(at for at, one in enumerate(item.candidates) if "one" in one.systems)


def any_one(item: Item) -> int:
    return 0


def sit(
    audits: Audits, link: str, choose: Callable[[Item], int] = any_one, *, until: int = 1_000
) -> dict[str, Any]:
    """Answer all, or ``until`` trials, by a rule; whatever has a right answer is answered right."""
    sittings: Sittings = audits.sittings
    token = link.rpartition("/")[2]
    view = sittings.view(token)
    view = sittings.consent(token, {"width": 1_200, "touch": False})
    view = sittings.sound_check(token, True, view["sound_check"]["sides"])
    view = sittings.begin(token)
    while view["stage"] != "done" and until:
        if view["stage"] == "break":
            view = sittings.begin(token)
            continue
        view = sittings.answer(token, given(view, _answer(audits, view, choose)))
        until -= 1
    return view


def _answer(audits: Audits, view: dict[str, Any], choose: Callable[[Item], int]) -> dict[str, Any]:
    secret, name = audits._secret, view["trial"]["id"]
    for study in audits.store.studies():
        for sitting in audits.store.sittings(study.study_id):
            for trial in audits.store.trials(sitting.sitting_id):
                if trial_name(secret, sitting, trial.position) == name:
                    item = next(one for one in study.items if one.item_id == trial.item_id)
                    best = choose(item) if item.expected is None else item.expected
                    return _shown(view["trial"]["form"], trial.order, best)
    raise AssertionError("no such trial")


def _shown(form: str, order: tuple[int, ...], best: int) -> dict[str, Any]:
    """The answer that chooses a candidate, as shown."""
    if form == "ab":
        return {"point": -1 if order[0] == best else 1}
    if form == "odd":
        return {"odd": order.index(best)}
    return {
        "broad": [2 if at == best else at % 2 for at in order],
        "fine": [90 if at == best else 20 + at for at in order],
    }
