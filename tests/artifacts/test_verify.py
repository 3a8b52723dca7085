"""Every fault is refused, and the file is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.artifacts import layout
from kindred.artifacts.export import export_artifact
from kindred.artifacts.layout import HNSW, IDS, INDEX_META, MANIFEST, META, TRACKS, VECTORS
from kindred.artifacts.verify import verify
from kindred.errors import ArtifactError
from kindred.storage.local import LocalBackend
from tests.artifacts.library import SPACE, add_tones, bytes_of, change_json, sign

FILES = sorted(
    {*layout.NEEDED, layout.FLAT, INDEX_META, layout.EVAL, MANIFEST, *layout.SCHEMAS.values()}
)


def refused(folder: Path, name: str, match: str) -> None:
    """Verification fails with a message that names the file, what is wrong and what to do."""
    with pytest.raises(ArtifactError, match=match) as caught:
        verify(folder)
    assert str(folder / name) in str(caught.value)


def test_a_whole_artifact_passes(artifact: Path) -> None:
    assert layout.names_in(artifact) == FILES
    seen: list[tuple[int, int]] = []
    opened = verify(artifact, progress=lambda done, total, name: seen.append((done, total)))
    assert seen[-1] == (opened.manifest.size, opened.manifest.size)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_byte_anywhere(artifact: Path, name: str) -> None:
    whole = (artifact / name).read_bytes()
    rng = np.random.default_rng(0)
    for place in (0, len(whole) - 1, *rng.integers(len(whole), size=20)):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (artifact / name).write_bytes(data)
        if name == MANIFEST and _means_the_same(bytes(data), whole):
            continue
        refused(artifact, name if name != MANIFEST else "", ".")


def _means_the_same(text: bytes, other: bytes) -> bool:
    """Whether a change of the manifest is of what it tells, not of what it promises."""

    def promises(text: bytes) -> Any:
        values = json.loads(text)
        return {key: value for key, value in values.items() if not key.startswith("created_")}

    try:
        return promises(text) == promises(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_cut_short(artifact: Path, name: str, share: float) -> None:
    whole = (artifact / name).read_bytes()
    (artifact / name).write_bytes(whole[: int(share * len(whole))])
    refused(artifact, name, "is not JSON" if name == MANIFEST else "was cut short")


@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
def test_missing(artifact: Path, name: str) -> None:
    (artifact / name).unlink()
    refused(artifact, name, "is missing")


def test_without_a_manifest(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"Do you mean {artifact}"):
        verify(tmp_path)
    (artifact / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match=r"is not an artifact. There is no manifest.json"):
        verify(artifact)
    with pytest.raises(ArtifactError, match="is not an artifact"):
        verify(tmp_path / "nowhere")


def test_a_file_too_many(artifact: Path) -> None:
    (artifact / "embeddings" / "more.f32").write_bytes(b"x")
    refused(artifact, "embeddings/more.f32", "does not belong")


def test_a_file_too_long(artifact: Path) -> None:
    with (artifact / VECTORS).open("ab") as file:
        file.write(b"x")
    refused(artifact, VECTORS, "is too long: it has 961 bytes, manifest.json lists 960")


def test_links_are_refused(artifact: Path, tmp_path: Path) -> None:
    (artifact / IDS).rename(tmp_path / "ids")
    (artifact / IDS).symlink_to(tmp_path / "ids")
    refused(artifact, IDS, "is not a plain file")
    (artifact / IDS).unlink()
    (tmp_path / "ids").rename(artifact / IDS)
    (artifact / "embeddings").rename(tmp_path / "elsewhere")
    (artifact / "embeddings").symlink_to(tmp_path / "elsewhere")
    refused(artifact, "embeddings", "does not belong")


@pytest.mark.parametrize(
    "name",
    [
        *("../../x", "/etc/passwd", "audio_wav/../../x.wav", "audio_wav/..wav/x.wav"),
        *("audio_wav/.wav", "audio_wav\\x.wav", "C:/x.wav", "audio_wav/a b.wav", "", "."),
        *("audio_wav/x\0.wav", "embeddings/./embeddings.f32", "manifest.json"),
        f"audio_wav/{'x' * 300}.wav",
    ],
)
def test_names_no_artifact_has(artifact: Path, name: str) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    change_json(artifact, MANIFEST, lambda v: v | {"files": {**v["files"], name: entry}})
    refused(artifact, MANIFEST, "which no artifact has")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: v | {"format_version": 2}, "is of format version 2.*Update Kindred"),
        (lambda v: v | {"format_version": True}, "is of format version True"),
        (lambda v: v | {"format": "zip"}, "is not the manifest of an artifact"),
        (lambda v: [v], "is not the manifest of an artifact"),
        (lambda v: v | {"files": []}, "lacks a field or has a wrong one"),
        (lambda v: v | {"dims": "6"}, "lacks a field or has a wrong one"),
        (lambda v: v | {"revision": "2"}, "space_id that does not belong"),
        (lambda v: v | {"space_id": "0" * 16}, "space_id that does not belong"),
        (lambda v: {k: v[k] for k in v if k != "created_at"}, "lacks a field.*created_at"),
        (lambda v: v | {"created_at": "yesterday"}, "does not follow its schema at created_at"),
        (lambda v: v | {"files": {IDS: v["files"][IDS]}}, "does not list .*embeddings.f32"),
        (lambda v: v | {"metric": "euclid"}, "does not follow its schema at metric"),
        (lambda v: v | {"audio_sample_rate": 16_000}, "counts 0 audio files at 16000 Hz"),
        (lambda v: v | {"counts": v["counts"] | {"audio": 1}}, "counts 1 audio files"),
        (
            lambda v: v | {"files": {k: f for k, f in v["files"].items() if k != INDEX_META}},
            "index_meta.json does not belong",
        ),
        (
            lambda v: v | {"files": v["files"] | {IDS: {"bytes": -1, "sha256": "0" * 64}}},
            "has no size and SHA-256 of embeddings/track_ids.json",
        ),
        (
            lambda v: v | {"files": v["files"] | {IDS: {"bytes": 1, "sha256": "xyz"}}},
            "has no size and SHA-256 of embeddings/track_ids.json",
        ),
    ],
)
def test_a_manifest_that_is_not_right(
    artifact: Path, change: Callable[[Any], Any], match: str
) -> None:
    change_json(artifact, MANIFEST, change)
    with pytest.raises(ArtifactError, match=match):
        verify(artifact)


@pytest.mark.parametrize("name", [MANIFEST, META])
@pytest.mark.parametrize(
    "text", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"", b"[" * 100_000, b"\xff\xfe", b"{} {}"]
)
def test_what_is_not_json(artifact: Path, name: str, text: bytes) -> None:
    (artifact / name).write_bytes(text)
    if name != MANIFEST:
        sign(artifact)
    refused(artifact, name, "is not JSON")


# -- wrong content under right checksums -------------------------------------------------------
def rows(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Change the lines of the table."""

    def damage(folder: Path) -> None:
        lines = (folder / TRACKS).read_bytes().decode().split("\r\n")
        (folder / TRACKS).write_bytes("\r\n".join(change(lines)).encode())

    return damage


def ids(change: Callable[[list[str]], Any]) -> Callable[[Path], None]:
    return lambda folder: change_json(folder, IDS, change)


def meta(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder, META, lambda values: values | changes)


def index_meta(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder, INDEX_META, lambda values: values | changes)


def vectors(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        matrix = np.fromfile(folder / VECTORS, "<f4").reshape(-1, SPACE.dims)
        change(matrix).astype("<f4").tofile(folder / VECTORS)

    return damage


def put(matrix: np.ndarray, row: int, value: float) -> np.ndarray:
    matrix[row] = value
    return matrix


@pytest.mark.parametrize(
    ("damage", "name", "match"),
    [
        (rows(lambda r: r[:5] + r[6:]), TRACKS, "has 't005' in row 5, .* has 't004' there"),
        (rows(lambda r: r[:-2] + r[-1:]), TRACKS, "has 39 rows, .* has 40 ids"),
        (rows(lambda r: [*r[:-1], r[3], ""]), TRACKS, "'t002' in row 41, .* has none there"),
        (rows(lambda r: [r[0], r[2], r[1], *r[3:]]), TRACKS, "has 't001' in row 1"),
        (rows(lambda r: [r[0].replace("year", "jahr"), *r[1:]]), TRACKS, "has the columns"),
        (rows(lambda r: [*r[:4], r[4] + ",more", *r[5:]]), TRACKS, "21 cells on line 5"),
        (rows(lambda r: [*r[:4], r[4].replace("1703", "x"), *r[5:]]), TRACKS, "on line 5"),
        (rows(lambda r: [*r[:4], r[4].replace("63.25", "inf"), *r[5:]]), TRACKS, "on line 5"),
        (rows(lambda r: [*r[:4], '"t', *r[5:]]), TRACKS, "cannot be read on line 5"),
        (rows(lambda r: [r[0], r[1] + "[1]", *r[2:]]), TRACKS, "is not a JSON object"),
        (
            rows(lambda r: [*r[:2], r[2].replace(",,s3", ",audio_wav/x.wav,s3"), *r[3:]]),
            TRACKS,
            "names",
        ),
        (ids(lambda v: v[:-1]), IDS, "has 39 ids, .* has 40 rows"),
        (ids(lambda v: [*v[:-1], v[-2]]), IDS, "has the id 't038' twice"),
        (ids(lambda v: v[::-1]), IDS, "ids must ascend"),
        (ids(lambda v: [*v[:-1], 7]), IDS, "does not follow its schema"),
        (ids(lambda v: {"ids": v}), IDS, "does not follow its schema"),
        (ids(lambda v: [*v[:-1], "t999"]), TRACKS, "has 't039' in row 40, .* has 't999' there"),
        (meta(dims=5), META, "has 5 for dims, not 6"),
        (meta(rows=41), META, "has 41 for rows, not 40"),
        (meta(revision="2"), META, "has '2' for revision"),
        (meta(normalisation="none"), META, "does not follow its schema at normalisation"),
        (meta(dtype="float64"), META, "does not follow its schema at dtype"),
        (meta(more=1), META, "does not follow its schema"),
        (meta(library_hash="0" * 64), META, "another library_hash"),
        (vectors(lambda m: m[:-1]), VECTORS, "936 bytes, 40 vectors of 6 dimensions take 960"),
        (vectors(lambda m: put(m, 7, np.nan)), VECTORS, r"length nan in row 7 \(t007\)"),
        (vectors(lambda m: put(m, 7, np.inf)), VECTORS, r"length inf in row 7 \(t007\)"),
        (vectors(lambda m: put(m, 7, 0)), VECTORS, r"length 0 in row 7 \(t007\)"),
        (vectors(lambda m: put(m, 39, 1)), VECTORS, r"length 2.44949 in row 39 \(t039\)"),
        (index_meta(rows=39), INDEX_META, "does not describe index/faiss.index with 40 rows"),
        (index_meta(file="hnsw.index"), INDEX_META, "does not describe index/faiss.index"),
        (index_meta(kind="tree"), INDEX_META, "does not follow its schema at kind"),
        (
            lambda folder: (folder / layout.FLAT).write_bytes(b"IxFI" + bytes(100)),
            layout.FLAT,
            "is not a FAISS index of 40 rows and 6 dimensions",
        ),
        (lambda folder: (folder / INDEX_META).unlink(), MANIFEST, "describes one index"),
        (lambda folder: (folder / layout.FLAT).unlink(), MANIFEST, "lists no index"),
        (
            lambda folder: shutil.copyfile(folder / layout.FLAT, folder / HNSW),
            MANIFEST,
            "describes one index",
        ),
        (
            lambda folder: change_json(folder, layout.EVAL, lambda values: {}),
            layout.EVAL,
            "does not follow its schema",
        ),
    ],
)
def test_wrong_content_under_right_checksums(
    artifact: Path, damage: Callable[[Path], Any], name: str, match: str
) -> None:
    damage(artifact)
    sign(artifact)
    refused(artifact, name, match)


def test_another_dimension_throughout(artifact: Path) -> None:
    """A manifest and meta that agree on another dimension than the vectors have."""
    wider = layout.space_to_dict(replace(SPACE, dims=8))
    change_json(artifact, META, lambda values: values | wider)
    sign(artifact, **wider)
    refused(artifact, VECTORS, "960 bytes, 40 vectors of 8 dimensions take 1280")


def test_audio_without_a_track_and_a_track_without_its_audio(
    store: LocalBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "sound"
    add_tones(store, tmp_path / "music", 2)
    export_artifact(store, SPACE, folder, audio=True)
    whole = bytes_of(folder)
    verify(folder)
    (folder / "audio_wav/tone%3A0.wav").rename(folder / "audio_wav/other.wav")
    sign(folder)
    refused(folder, TRACKS, "names the audio 'audio_wav/tone%3A0.wav' of tone:0")
    (folder / "audio_wav/other.wav").rename(folder / "audio_wav/tone%3A0.wav")
    (folder / TRACKS).write_bytes(whole[TRACKS].replace(b"audio_wav/tone%3A0.wav", b""))
    sign(folder)
    refused(folder, "audio_wav/tone%3A0.wav", "belongs to no track")


def test_every_schema_is_a_schema() -> None:
    from jsonschema import Draft202012Validator

    for name in layout.SCHEMAS:
        Draft202012Validator.check_schema(json.loads(layout.schema_text(name)))
