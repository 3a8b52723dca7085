"""Maps on disk. Bad files: cut, flipped bit by bit, empty, a text, a plain array, arrays of other
lengths, another format, JSON that is something else, pickles, none at all."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap, library_digest, load_map, save_map
from kindred.maps.regions import Region
from kindred.maps.trust import Trust, measure_trust

SPACE = EmbeddingSpace("one", "1", 8_000, 1.0, 1.0, "mean", 6)


def made(n: int = 14, **changes: Any) -> LibraryMap:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    positions = rng.standard_normal((n, 2)).astype(np.float32)
    trust = measure_trust(vectors, positions)
    assert trust is not None
    values: dict[str, Any] = {
        "map_id": "20260102-030405-006-abcd",
        "space": SPACE,
        "options": MapOptions(method="tsne", perplexity=12.5, seed=3),
        "library": "0123456789abcdef",
        "track_ids": tuple(f"t{number}" for number in range(n)),
        "hashes": tuple(f"h{number}" for number in range(n)),
        "positions": positions,
        "clusters": (np.arange(n) % 3).astype(np.int32),
        "trust": trust,
        "regions": (
            Region(0.5, -1.0, 0, 5, "夜 \ud800", (("composer", "夜 \ud800", 0.5, 2.0),)),
            Region(1.0, 2.0, 1, 4),
        ),
        "created_at": "2026-01-02T03:04:05+00:00",
        "facts": {"index": "exact", "left_out": ["x"], "seconds": {"layout": 0.25}},
    }
    return LibraryMap(**values | changes)


def same(one: Any, other: Any) -> bool:
    """Equal field by field, arrays to the byte."""
    for item in fields(one):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        if isinstance(mine, Trust):
            if not same(mine, theirs):
                return False
        elif isinstance(mine, np.ndarray):
            if mine.dtype != theirs.dtype or mine.tobytes() != theirs.tobytes():
                return False
        elif mine != theirs:
            return False
    return True


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n": 0},
        {"n": 1},
        {"n": 5, "positions": np.ones((5, 3), np.float32)},
        {"regions": (), "facts": {}, "created_at": ""},
        {"track_ids": tuple(f"{number}\tö \udcff" for number in range(14))},
    ],
    ids=["usual", "no track", "one track", "3-D", "bare", "odd ids"],
)
def test_a_map_that_was_saved_is_read_as_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    before = made(**changes)
    path = save_map(tmp_path / "new" / "folder", before)
    assert path == tmp_path / "new" / "folder" / f"{before.map_id}.npz"
    assert same(load_map(path), before)
    assert [item.name for item in path.parent.iterdir()] == [path.name]  # nothing temporary


def test_saving_again_replaces_the_map_at_once(tmp_path: Path) -> None:
    path = save_map(tmp_path, made())
    save_map(tmp_path, made(created_at="later"))
    assert load_map(path).created_at == "later"


def test_a_map_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = save_map(tmp_path, made())
    with pytest.raises(TypeError):
        save_map(tmp_path, made(facts={"index": object()}))
    assert same(load_map(path), made())
    assert list(tmp_path.iterdir()) == [path]


def test_a_map_says_what_it_is() -> None:
    found = made()
    assert found.title == "one · t-SNE, perplexity 12.5, cosine, 2-D, seed 3"
    said = "\n".join(found.lines())
    assert "14 tracks" in said
    assert found.map_id in said
    assert f"trustworthiness {found.trust.trustworthiness:.3f}" in said
    assert f"continuity {found.trust.continuity:.3f}" in said
    assert found.trust.preservation is not None
    assert f"{10 * found.trust.preservation:.1f} of 10 nearest neighbours kept" in said
    assert "1 tracks have damaged vectors: left out." in said
    few = "\n".join(made(n=3, facts={}).lines())
    assert "Too few tracks" in few
    assert "left out" not in few


# -- damaged -------------------------------------------------------------------------------


def test_a_map_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"There is no map gone\. `kindred map list`"):
        load_map(tmp_path / "gone.npz")


def test_a_map_that_was_cut_anywhere(tmp_path: Path) -> None:
    data = save_map(tmp_path, made()).read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(0, len(data), 61):
        path.write_bytes(data[:length])
        with pytest.raises(QueryError, match="The map cut cannot be read"):
            load_map(path)


def test_a_map_with_flipped_bits_is_refused_or_read_as_it_was(tmp_path: Path) -> None:
    before = made()
    data = save_map(tmp_path, before).read_bytes()
    path = tmp_path / "flipped.npz"
    rng = np.random.default_rng(1)
    refused = 0
    for at in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            assert same(load_map(path), before)
        except QueryError:
            refused += 1
    assert refused > len(data) / 7 / 2


def altered(path: Path, **changes: Any) -> None:
    """Write a map whose text says something else."""
    with np.load(path) as kept:
        arrays = {name: kept[name] for name in kept.files}
    text = json.loads(zlib.decompress(arrays["text"].tobytes()))
    text = {name: value for name, value in (text | changes).items() if value is not ...}
    arrays["text"] = np.frombuffer(zlib.compress(json.dumps(text).encode()), np.uint8)
    with path.open("wb") as out:
        np.savez(out, **arrays)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2, 1 is read here"),
        ({"format": ...}, "cannot be read"),
        ({"track_ids": ["t0"]}, "cannot be read"),
        ({"hashes": []}, "cannot be read"),
        ({"track_ids": None}, "cannot be read"),
        ({"space": {}}, "cannot be read"),
        ({"space": []}, "cannot be read"),
        ({"space": "one"}, "cannot be read"),
        ({"options": None}, "cannot be read"),
        ({"options": {"method": "magic"}}, "not by .magic"),
        ({"trust": {"nonsense": 1}}, "cannot be read"),
        ({"trust": "much"}, "cannot be read"),
        ({"regions": [{"x": 1}]}, "cannot be read"),
        ({"regions": ["somewhere"]}, "cannot be read"),
        ({"regions": 7}, "cannot be read"),
    ],
)
def test_a_text_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = save_map(tmp_path, made())
    altered(path, **changes)
    with pytest.raises(QueryError, match=words):
        load_map(path)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def array(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, value)
    return out.getvalue()


def text_of(value: Any) -> bytes:
    return array(np.frombuffer(zlib.compress(json.dumps(value).encode()), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is a text",
        pickle.dumps({"text": 1}),
        array(np.zeros(3)),
        array(np.array([{}], object)),
        zipped(),
        zipped(**{"text.npy": b"not an array"}),
        zipped(**{"text.npy": array(np.zeros(3, np.uint8))}),
        zipped(**{"text.npy": text_of([1, 2])}),
        zipped(**{"text.npy": text_of({"format": 1})}),
        zipped(**{"text.npy": text_of(None)}),
        zipped(**{"text": b"plain", "positions": b"plain"}),
    ],
    ids=[
        "empty", "text", "pickle", "array", "objects", "empty zip", "no array", "no zlib", "list",
        "format only", "null", "no arrays",
    ],
)  # fmt: skip
def test_a_file_that_is_no_map(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(data)
    with pytest.raises(
        QueryError,
        match=r"The map odd cannot be read .*Remove it with `kindred map delete odd`",
    ):
        load_map(path)


def test_a_folder_in_the_place_of_a_map(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(QueryError, match="cannot be read"):
        load_map(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": np.zeros((13, 2), np.float32)},
        {"clusters": np.zeros(15, np.int32)},
        {"positions": np.zeros(14, np.float32)},
        {"positions": np.zeros((14, 4), np.float32)},
        {"positions": np.full((14, 2), np.nan, np.float32)},
        {"trust": replace(made().trust, preserved=np.zeros(3, np.int32))},
    ],
    ids=["short", "long", "flat", "4-D", "not finite", "trust of others"],
)
def test_tables_that_do_not_fit(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = save_map(tmp_path, made(**changes))
    with pytest.raises(QueryError, match="cannot be read"):
        load_map(path)


# -- the digest ----------------------------------------------------------------------------


def test_a_digest_names_a_state_of_the_library() -> None:
    library = {"a": "1", "b": "2"}
    digest = library_digest(library)
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert library_digest({"b": "2", "a": "1"}) == digest
    others = [
        {}, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"},
        {"a": "1", "b": "2", "c": ""}, {"a": "", "1": "b", "2": ""}, {"\ud800": "é"},
    ]  # fmt: skip
    assert len({digest, *(library_digest(other) for other in others)}) == len(others) + 1
