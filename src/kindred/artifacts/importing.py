"""Bringing an artifact's tracks and vectors into a library.

==============================================  =================================================
a track of the artifact                          what happens
==============================================  =================================================
is unknown here                                  it is added, without a file
has the bytes of a track here, whatever its id   that track gets the vector, unless it has one of
                                                 these bytes; its own names stay, unless overwritten
has the id of a track with other bytes           a conflict: nothing is changed, it is listed
==============================================  =================================================

An artifact holds one vector a track: it stands for the window vectors too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from kindred.artifacts.table import FIELDS
from kindred.artifacts.verify import Progress, verify
from kindred.embeddings.space import EmbeddingSpace, check_same_space
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Embedding, Track

_AT_ONCE = 500


@dataclass
class ArtifactImport:
    """What was brought in; counts are tracks.

    ``added`` are new here, ``kept`` were known and keep their names, ``overwritten`` took the
    artifact's; ``vectors`` were written; ``conflicts`` lists ids that stand for other bytes here.
    """

    added: int = 0
    kept: int = 0
    overwritten: int = 0
    vectors: int = 0
    conflicts: list[str] = field(default_factory=list)
    cancelled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The summary for people."""
        parts = [f"{self.added} new tracks", f"{self.kept} known", f"{self.vectors} vectors"]
        if self.overwritten:
            parts.insert(2, f"{self.overwritten} overwritten")
        if self.conflicts:
            parts.append(f"{len(self.conflicts)} left out, whose ids stand for other files here")
        text = ", ".join(parts)
        return f"{text}; stopped, the next import does the rest" if self.cancelled else text


def import_artifact(
    storage: StorageBackend,
    folder: Path,
    *,
    space: EmbeddingSpace | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ArtifactImport:
    """Bring an artifact in; every byte is checked first, and doing it twice changes nothing.

    Parameters
    ----------
    storage : StorageBackend
        The caller holds the right to write to the library.
    folder : Path
    space : EmbeddingSpace, optional
        The only space that is welcome.
    overwrite : bool
        Take the artifact's names for tracks that are known here.
    progress : callable, optional
        Called with (tracks done, tracks in all, title).
    cancelled : callable
        Asked after every few hundred tracks; what is done so far is kept.

    Raises
    ------
    ArtifactError
        When the artifact is damaged; nothing was written.
    SpaceMismatch
        When it is of another space than ``space``.
    """
    artifact = verify(folder)
    if space is not None:
        check_same_space(space, artifact.space)
    outcome = ArtifactImport()
    embedded = storage.embedded_hashes(artifact.space)
    by_hash = {
        track.content_hash: track.track_id
        for track in reversed(storage.list_tracks())  # the first by id, where several
        if track.content_hash
    }
    rows, done, total = artifact.read_tracks(), 0, len(artifact.track_ids)
    while part := [track for track, _ in islice(rows, _AT_ONCE)]:
        ids = {track.track_id for track in part}
        ids |= {by_hash[item.content_hash] for item in part if item.content_hash in by_hash}
        here = {track.track_id: track for track in storage.get_tracks(sorted(ids))}
        tracks, vectors = [], []
        for row, track in enumerate(part, start=done):
            known = here.get(track.track_id)
            if known is None or known.content_hash not in ("", track.content_hash):
                known = here.get(by_hash.get(track.content_hash, "")) or known
            if known is not None and known.content_hash not in ("", track.content_hash):
                outcome.conflicts.append(track.track_id)
                continue
            if known is None:
                outcome.added += 1
                tracks.append(track)
            elif overwrite:
                outcome.overwritten += 1
                tracks.append(_renamed(known, track))
            else:
                outcome.kept += 1
                if not known.content_hash and track.content_hash:
                    tracks.append(replace(known, content_hash=track.content_hash))
            own = known.track_id if known else track.track_id
            if embedded.get(own) != track.content_hash:
                vector = artifact.vectors[row]
                vectors.append(Embedding(own, track.content_hash, vector, vector[None]))
        with storage.batch():
            storage.put_tracks(tracks)
            storage.put_embeddings(artifact.space, vectors)
        outcome.vectors += len(vectors)
        done += len(part)
        if progress:
            progress(done, total, part[-1].title)
        if done < total and cancelled():
            outcome.cancelled = True
            break
    return outcome


def _renamed(known: Track, track: Track) -> Track:
    """A track of the library with all that the artifact says of it but its id."""
    given = {name: getattr(track, name) for name in FIELDS if name not in ("track_id", "extra")}
    return replace(known, **given, extra={**known.extra, **track.extra})
