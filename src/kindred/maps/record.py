"""A map as it is kept: one file of arrays and one JSON text, with nothing pickled.

A map belongs to a space, a method with its parameters, and the library as it was: the ids of the
tracks and the hashes of their audio. Tracks that came, changed or went since are told from those.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.maps.options import MapOptions
from kindred.maps.regions import Region
from kindred.maps.trust import Trust
from kindred.storage.whole_files import replacing

FORMAT = 1


@dataclass(frozen=True)
class LibraryMap:
    """A layout of a library, with how far each place can be trusted.

    Attributes
    ----------
    map_id : str
        Sorts by when the map was made.
    space : EmbeddingSpace
    options : MapOptions
    library : str
        :func:`library_digest` of the tracks that are on it.
    track_ids, hashes : tuple of str
        The tracks, in the order of the rows, and the hashes of their audio.
    positions : float32 [n, 2] or [n, 3]
    clusters : int32 [n]
        The model's own groups, the largest 0.
    trust : Trust
    regions : tuple of Region
    created_at : str
        UTC, ISO 8601.
    facts : dict
        How it was made: index, seconds a stage, versions, the map it was aligned to.
    """

    map_id: str
    space: EmbeddingSpace
    options: MapOptions
    library: str
    track_ids: tuple[str, ...]
    hashes: tuple[str, ...]
    positions: NDArray[np.float32]
    clusters: NDArray[np.int32]
    trust: Trust
    regions: tuple[Region, ...] = ()
    created_at: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Which model, method and parameters, in words."""
        return f"{self.space.model} · {self.options.title}"

    def lines(self) -> list[str]:
        """What was made and how far it can be believed, for people."""
        trust = self.trust
        lines = [f"{self.title}: {len(self.track_ids):,} tracks, {self.map_id}"]
        if trust.trustworthiness is None or trust.preservation is None:
            lines.append("Too few tracks to say how far it can be trusted.")
        else:
            lines.append(
                f"trustworthiness {trust.trustworthiness:.3f}, continuity {trust.continuity:.3f},"
                f" {trust.preservation * trust.k:.1f} of {trust.k} nearest neighbours kept"
            )
        if left_out := self.facts.get("left_out"):
            lines.append(f"{len(left_out):,} tracks have damaged vectors: left out.")
        return lines


def library_digest(hashes: Mapping[str, str]) -> str:
    """Name a state of the library in a space: 16 hexadecimal digits of ``{track_id: hash}``."""
    text = "\n".join(f"{track_id}\t{hashes[track_id]}" for track_id in sorted(hashes))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def save_map(folder: Path, made: LibraryMap) -> Path:
    """Write a map into a folder; it is there whole or not at all."""
    trust = asdict(made.trust)
    arrays = {"positions": made.positions, "clusters": made.clusters} | {
        f"trust/{name}": value for name, value in trust.items() if _is_array(value)
    }
    text = json.dumps(
        {
            "format": FORMAT,
            "map_id": made.map_id,
            "space": made.space.to_dict(),
            "options": made.options.to_dict(),
            "library": made.library,
            "created_at": made.created_at,
            "facts": made.facts,
            "tracks": len(made.track_ids),
            "trust": {name: value for name, value in trust.items() if not _is_array(value)},
            "regions": [asdict(region) for region in made.regions],
            "track_ids": made.track_ids,
            "hashes": made.hashes,
            "arrays": list(arrays),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made.map_id}.npz"
    with replacing(path) as out:
        np.savez(out, text=np.frombuffer(zlib.compress(text.encode()), np.uint8), **arrays)
    return path


def load_map(path: Path) -> LibraryMap:
    """Read a map.

    Raises
    ------
    QueryError
        When it is not there, damaged, or of another format.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            text = json.loads(zlib.decompress(kept["text"].tobytes()))
            arrays = {name: kept[name] for name in kept.files if name != "text"}
        if text["format"] != FORMAT:
            raise ValueError(f"format {text['format']}, {FORMAT} is read here")
        if list(arrays) != text["arrays"]:
            raise ValueError(f"the arrays {', '.join(arrays)}, not {', '.join(text['arrays'])}")
        trust = {
            name.removeprefix("trust/"): value
            for name, value in arrays.items()
            if name.startswith("trust/")
        }
        made = LibraryMap(
            map_id=text["map_id"],
            space=EmbeddingSpace.from_dict(text["space"]),
            options=MapOptions.from_dict(text["options"]),
            library=text["library"],
            track_ids=tuple(text["track_ids"]),
            hashes=tuple(text["hashes"]),
            positions=arrays["positions"],
            clusters=arrays["clusters"],
            trust=Trust(**text["trust"], **trust),
            regions=tuple(
                Region(**{**region, "terms": tuple(tuple(term) for term in region["terms"])})
                for region in text["regions"]
            ),
            created_at=text["created_at"],
            facts=text["facts"],
        )
        _check(made)
        return made
    except FileNotFoundError as error:
        raise QueryError(
            f"There is no map {path.stem}. `kindred map list` lists those there are."
        ) from error
    except Exception as error:  # whatever zipfile, zlib, json and numpy say of damaged bytes
        raise QueryError(
            f"The map {path.stem} cannot be read ({str(error).rstrip('.')}). Remove it with"
            f" `kindred map delete {path.stem}`, and build it again."
        ) from error


def _check(made: LibraryMap) -> None:
    """Raise unless every table has a row a track, and places are finite, in 2 or 3 dimensions."""
    trust = made.trust
    optional = (trust.preserved, trust.trustworthiness_at, trust.continuity_at)
    rows = {len(made.track_ids), len(made.hashes), len(made.positions), len(made.clusters)}
    rows |= {len(table) for table in optional if table is not None}
    if len(rows) != 1:
        raise ValueError(f"tables of {sorted(rows)} rows")
    if made.positions.shape[1:] not in ((2,), (3,)) or not np.isfinite(made.positions).all():
        raise ValueError("positions that are none")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
