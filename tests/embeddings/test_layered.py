"""Layer-wise embeddings on disk: whole or not there, whatever happens to the writer or the disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings import layered
from kindred.embeddings.layered import LayeredSink, LayeredStore
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError

SPACE = EmbeddingSpace("mert", "1", 24_000, 5.0, 5.0, "time-mean of each layer", 6)
OTHER = EmbeddingSpace("mert", "2", 24_000, 5.0, 5.0, "time-mean of each layer", 6)
HASH, SECOND = (hashlib.sha256(name).hexdigest() for name in (b"one", b"two"))


def some(segments: int = 5, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((segments, 3, 6)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> LayeredStore:
    return LayeredStore(tmp_path / "layers")


def test_batches_come_back_as_one_map_within_half_a_step(store: LayeredStore) -> None:
    values = some(7) * np.logspace(-9, 4, 7)[:, None, None].astype(np.float32)
    store.write(HASH, space=SPACE, batches=(values[i : i + 3] for i in (0, 3, 6)))
    got = store.open(HASH, space=SPACE)
    assert isinstance(got, np.memmap)
    assert (got.shape, got.dtype, got.flags.writeable) == ((7, 3, 6), np.float16, False)
    error = np.abs(got.astype(np.float64) - values)
    assert (error <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).all()
    manifest = store.manifest(HASH, space=SPACE)
    assert (manifest["schema"], manifest["shape"], manifest["dtype"]) == (1, [7, 3, 6], "<f2")
    assert (manifest["pooling"], manifest["space"]) == (SPACE.pooling, SPACE.to_dict())


def test_what_is_there_is_listed_counted_and_deleted(store: LayeredStore) -> None:
    assert not store.has(HASH, space=SPACE)
    assert not store.delete(HASH, space=SPACE)
    assert (store.list(space=SPACE), store.size()) == ([], 0)
    for name in (HASH, SECOND):
        store.write(name, space=SPACE, batches=[some()])
    store.write(HASH, space=OTHER, batches=[some(1)])
    assert store.list(space=SPACE) == sorted([HASH, SECOND])
    assert store.list(space=OTHER) == [HASH]
    assert store.size(space=OTHER) < store.size(space=SPACE) < store.size()
    path = store.path(HASH, space=SPACE)
    assert path == store.folder / SPACE.space_id / HASH[:2] / f"{HASH}.f16"
    assert store.delete(HASH, space=SPACE)
    assert store.list(space=SPACE) == [SECOND]
    assert store.has(HASH, space=OTHER)
    with pytest.raises(StorageError, match=r"no layers of mert.*Embed its file again"):
        store.open(HASH, space=SPACE)


def test_memory_holds_one_batch(store: LayeredStore) -> None:
    alive = 0

    def batches() -> Iterator[np.ndarray]:
        nonlocal alive
        for index in range(4):
            written = list(store.folder.rglob("*.tmp"))
            alive = max(alive, len(written))
            size = written[0].stat().st_size if written else 0
            assert size == index * some().size * 2  # every earlier batch is on disk already
            yield some(seed=index)

    store.write(HASH, space=SPACE, batches=batches())
    assert alive == 1
    assert len(store.open(HASH, space=SPACE)) == 20


@pytest.mark.parametrize("old", [False, True])
def test_killed_between_the_two_renames_the_track_is_not_there(
    store: LayeredStore, old: bool
) -> None:
    if old:
        store.write(HASH, space=SPACE, batches=[some(seed=1)])
    code = f"""
import os
from pathlib import Path
from kindred.embeddings import layered
from tests.embeddings.test_layered import HASH, SPACE, some
replace = os.replace
def once(source, target):
    replace(source, target)
    os._exit(9)
os.replace = once
layered.LayeredStore(Path({str(store.folder)!r})).write(HASH, space=SPACE, batches=[some()])
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    assert not store.has(HASH, space=SPACE)
    assert store.list(space=SPACE) == []
    with pytest.raises(StorageError, match="Embed its file again"):
        store.open(HASH, space=SPACE)
    store.write(HASH, space=SPACE, batches=[some()])
    assert np.array_equal(store.open(HASH, space=SPACE), some().astype(np.float16))
    assert store.sweep() == 0  # what was left is too young to be called abandoned
    assert store.sweep(older=-1) > 0
    assert not list(store.folder.rglob("*.tmp"))


def test_a_failed_write_leaves_what_was_there(store: LayeredStore) -> None:
    store.write(HASH, space=SPACE, batches=[some()])

    def broken() -> Iterator[np.ndarray]:
        yield some(seed=2)
        raise RuntimeError("the encoder died")

    with pytest.raises(RuntimeError, match="died"):
        store.write(HASH, space=SPACE, batches=broken())
    assert np.array_equal(store.open(HASH, space=SPACE), some().astype(np.float16))
    assert not list(store.folder.rglob("*.tmp"))


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "flipped"])
def test_a_cut_or_garbled_file_is_named(store: LayeredStore, change: str) -> None:
    store.write(HASH, space=SPACE, batches=[some()])
    path = store.path(HASH, space=SPACE)
    data = bytearray(path.read_bytes())
    data[10] ^= change == "flipped"
    cut = {"cut": data[:-2], "longer": data + b"00", "empty": b""}.get(change, data)
    path.write_bytes(bytes(cut))
    with pytest.raises(StorageError, match=rf"{HASH}\.f16 is damaged.*embed the track again"):
        store.open(HASH, space=SPACE)
    if change == "flipped":  # found by its checksum alone
        assert store.open(HASH, space=SPACE, verify=False).shape == (5, 3, 6)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps({"schema": 1, "space": {}, "shape": [1]})]
)
def test_a_garbled_manifest_is_named(store: LayeredStore, text: str) -> None:
    store.write(HASH, space=SPACE, batches=[some()])
    store.path(HASH, space=SPACE).with_suffix(".json").write_text(text)
    with pytest.raises(StorageError, match=rf"{HASH}\.json is damaged"):
        store.open(HASH, space=SPACE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this Kindred reads 1"),
        ({"content_hash": SECOND}, "another track"),
        ({"space": OTHER.to_dict()}, "another track"),
        ({"dtype": "<f4"}, "type of number"),
        ({"shape": [5, 3, 7]}, "its manifest says"),
        ({"shape": [5, -3, -6]}, "another track"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    store: LayeredStore, change: dict[str, object], message: str
) -> None:
    store.write(HASH, space=SPACE, batches=[some()])
    path = store.path(HASH, space=SPACE).with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StorageError, match=message):
        store.open(HASH, space=SPACE)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 4, 6), (2, 6), (2, 3, 0), (2, 3, 6, 1)])
def test_batches_of_another_shape_are_refused(store: LayeredStore, shape: tuple[int, ...]) -> None:
    with pytest.raises(StorageError, match=r"shape \[n, 3, 6\]"):
        store.write(HASH, space=SPACE, batches=[some(), np.zeros(shape, np.float32)])
    assert not store.has(HASH, space=SPACE)
    assert not list(store.folder.rglob("*.tmp"))


@pytest.mark.parametrize("value", [65_505.0, -7e4, np.inf, np.nan])
def test_what_float16_cannot_hold_is_refused(store: LayeredStore, value: float) -> None:
    values = some()
    values[2, 1, 3] = value
    with pytest.raises(StorageError, match="float16 holds no more than 65504"):
        store.write(HASH, space=SPACE, batches=[values])
    values[2, 1, 3] = 65_504
    store.write(HASH, space=SPACE, batches=[values])
    assert store.open(HASH, space=SPACE)[2, 1, 3] == 65_504


def test_nothing_to_write_is_an_error(store: LayeredStore) -> None:
    with pytest.raises(StorageError, match="no segment"):
        store.write(HASH, space=SPACE, batches=[])


@pytest.mark.parametrize("name", ["", "../../etc", "ab" * 31, "AB" * 32])
def test_only_content_hashes_name_files(store: LayeredStore, name: str) -> None:
    with pytest.raises(StorageError, match="64 hexadecimal digits"):
        store.has(name, space=SPACE)


def test_two_writers_leave_the_numbers_of_one_of_them(store: LayeredStore) -> None:
    start = threading.Barrier(2)
    errors: list[Exception] = []

    def work(seed: int) -> None:
        try:
            start.wait()
            for _ in range(20):
                store.write(HASH, space=SPACE, batches=[some(seed=seed)] * 3)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    got = store.open(HASH, space=SPACE)
    wanted = [np.concatenate([some(seed=seed)] * 3).astype(np.float16) for seed in (1, 2)]
    assert any(np.array_equal(got, values) for values in wanted)
    assert not list(store.folder.rglob("*.tmp"))


def test_a_lock_that_is_held_names_the_limit(
    store: LayeredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    store.write(HASH, space=SPACE, batches=[some()])
    monkeypatch.setattr(layered, "TIMEOUT", 0.0)
    with (
        FileLock(store.folder / SPACE.space_id / ".lock"),
        pytest.raises(StorageError, match=r"layered\.TIMEOUT"),
    ):
        store.write(HASH, space=SPACE, batches=[some()])
    assert store.has(HASH, space=SPACE)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        LayeredStore(tmp_path / "no").write(HASH, space=SPACE, batches=[some()])


def test_a_sink_takes_tracks_in_turns(store: LayeredStore) -> None:
    sink = LayeredSink(store, space=SPACE)
    one, two = some(6, seed=1), some(4, seed=2)
    sink.add(HASH, one[:2])
    sink.add(SECOND, two)
    sink.add(HASH, one[2:])
    assert store.list(space=SPACE) == []
    sink.finish(HASH)
    assert store.list(space=SPACE) == [HASH]
    assert np.array_equal(store.open(HASH, space=SPACE), one.astype(np.float16))
    sink.drop(SECOND)
    sink.finish(SECOND)
    sink.add(SECOND, two)
    sink.close()
    assert store.list(space=SPACE) == [HASH]
    assert not list(store.folder.rglob("*.tmp"))
