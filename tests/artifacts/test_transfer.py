"""Artifacts over HTTP to an S3 store and back, through every kind of fault."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import moto.backends
import moto.s3.models
import numpy as np
import pytest

from kindred.artifacts import layout, meter, s3, s3_client
from kindred.artifacts.export import export_artifact
from kindred.artifacts.layout import FLAT, IDS, MANIFEST, TRACKS, VECTORS, Entry
from kindred.artifacts.transfer import fetch_audio, pull, push
from kindred.artifacts.verify import verify
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ArtifactError
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding
from tests.artifacts.library import bytes_of, change_json, fill
from tests.artifacts.s3_server import Request, S3Server

KEY, SECRET = "AKIAEXAMPLEEXAMPLE", "a-secret-that-nobody-may-see"
URL = "s3://models/kindred/v1"
MIB = 1 << 20
WIDE = EmbeddingSpace("wide", "1", 8_000, 1.0, 1.0, "mean", 1_024)


@pytest.fixture(scope="module")
def servers() -> Iterator[list[S3Server]]:
    """The servers that were started; the last one runs, unless a test stopped it."""
    started = [S3Server()]
    yield started
    started[-1].stop()


@pytest.fixture
def server(
    servers: list[S3Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[S3Server]:
    if not servers[-1].running:
        servers.append(S3Server())
    for name, value in {
        "AWS_ENDPOINT_URL": servers[-1].url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(s3_client, "ATTEMPTS", 2)
    monkeypatch.setattr(s3_client, "TIMEOUT", 10.0)
    monkeypatch.setattr(s3, "PART", MIB)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", MIB)
    client().create_bucket(Bucket="models")
    servers[-1].requests.clear()
    yield servers[-1]
    servers[-1].fault = lambda request: None
    moto.backends.get_backend("s3").reset()


@pytest.fixture
def restart(servers: list[S3Server], monkeypatch: pytest.MonkeyPatch) -> Callable[[], S3Server]:
    """Stop the store and start it again, elsewhere."""

    def start() -> S3Server:
        servers[-1].stop()
        servers.append(S3Server(keep=True))
        monkeypatch.setenv("AWS_ENDPOINT_URL", servers[-1].url)
        return servers[-1]

    return start


def client() -> Any:
    return _client(os.environ["AWS_ENDPOINT_URL"])


@functools.cache  # making one takes longer than all it is used for
def _client(url: str) -> Any:
    return boto3.client("s3", endpoint_url=url)


def objects() -> dict[str, bytes]:
    """Every object of the bucket."""
    listed = client().list_objects_v2(Bucket="models").get("Contents", ())
    return {
        item["Key"]: client().get_object(Bucket="models", Key=item["Key"])["Body"].read()
        for item in listed
    }


@pytest.fixture(scope="session")
def large_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    with LocalBackend(folder / "library") as backend:
        fill(backend, 900, space=WIDE)
        export_artifact(backend, WIDE, folder / "artifact", index=False)
    return folder / "artifact"


@pytest.fixture
def large(large_: Path, tmp_path: Path) -> Path:
    """An artifact whose vectors go in four parts of 1 MiB."""
    return Path(shutil.copytree(large_, tmp_path / "large"))


def told(work: Callable[[], Any], match: str) -> str:
    """The error's message, which must tell no secret."""
    with pytest.raises(ArtifactError, match=match) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert KEY not in message
    return message


# -- there and back ----------------------------------------------------------------------------
def test_there_and_back(server: S3Server, large: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    sent = push(large, URL, progress=lambda done, total, name: seen.append((done, total)))
    assert (sent.moved, sent.kept) == (len(bytes_of(large)), 0)
    assert seen[-1][0] == seen[-1][1]
    assert {key.removeprefix("kindred/v1/"): data for key, data in objects().items()} == bytes_of(
        large
    )
    assert server.seen("PUT")[-1].key == f"kindred/v1/{MANIFEST}"  # the manifest comes last
    assert len(server.seen("PUT", "partNumber=")) == 4

    seen.clear()
    got = pull(URL, tmp_path / "got", progress=lambda done, total, name: seen.append((done, total)))
    assert (got.moved, got.kept) == (len(bytes_of(large)) - 1, 0)
    assert seen[-1] == (got.bytes, got.bytes)
    assert bytes_of(tmp_path / "got") == bytes_of(large)
    verify(tmp_path / "got")
    assert not list(tmp_path.glob(".got.p*"))


def test_what_is_there_is_not_sent_or_fetched_again(
    server: S3Server, large: Path, tmp_path: Path
) -> None:
    push(large, URL)
    pull(URL, tmp_path / "got")
    server.requests.clear()
    sent = push(large, URL)
    assert (sent.moved, sent.kept) == (0, len(bytes_of(large)))
    assert server.seen("PUT") == server.seen("POST") == []
    client().delete_object(Bucket="models", Key=f"kindred/v1/{IDS}")
    client().put_object(Bucket="models", Key=f"kindred/v1/{TRACKS}", Body=b"other")
    assert push(large, URL).moved == 2
    (tmp_path / "got" / VECTORS).write_bytes(b"damaged")
    server.requests.clear()
    got = pull(URL, tmp_path / "got")
    assert got.moved == 1
    assert [request.key for request in server.seen("GET", "embeddings.f32")] == [
        f"kindred/v1/{VECTORS}"
    ]
    assert bytes_of(tmp_path / "got") == bytes_of(large)


def test_another_artifact_is_overwritten_only_on_demand(
    server: S3Server, artifact: Path, large: Path
) -> None:
    push(large, URL)
    before = objects()
    told(lambda: push(artifact, URL), "holds another artifact, made 20.*--overwrite")
    assert objects() == before
    client().put_object(Bucket="models", Key="kindred/v1/notes.txt", Body=b"mine")
    push(artifact, URL, overwrite=True)
    keys = {key.removeprefix("kindred/v1/") for key in objects()}
    assert keys == {*bytes_of(artifact), "notes.txt"}
    push(large, URL, overwrite=True)  # its files are not in the other one: they went
    assert f"kindred/v1/{FLAT}" not in objects()


def test_a_damaged_artifact_is_not_sent(server: S3Server, artifact: Path) -> None:
    (artifact / IDS).write_bytes(b"[]")
    told(lambda: push(artifact, URL), r"track_ids.json was cut short")
    assert objects() == {}


# -- the store goes away -----------------------------------------------------------------------
@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_a_store_that_stops_while_sending(
    server: S3Server,
    large: Path,
    tmp_path: Path,
    restart: Callable[[], S3Server],
    after: int,
) -> None:
    pieces: list[int] = []

    def stop(done: int, total: int, name: str) -> None:
        pieces.append(done)
        if len(pieces) == after:
            server.fault = lambda request: "drop"

    message = told(lambda: push(large, URL, progress=stop), "stopped answering while")
    assert "goes on where it stopped" in message
    assert server.url in message
    server = restart()
    there, parts = objects(), _parts()
    assert f"kindred/v1/{MANIFEST}" not in there
    told(lambda: pull(URL, tmp_path / "got"), r"holds no whole artifact.*manifest.json")
    assert not (tmp_path / "got").exists()

    server.requests.clear()
    sent = push(large, URL)
    assert sent.kept == len(there)
    resent = {int(_value(request, "partNumber")) for request in server.seen("PUT", "partNumber=")}
    assert not resent & parts
    assert resent | parts == ({1, 2, 3, 4} if f"kindred/v1/{VECTORS}" not in there else set())
    pull(URL, tmp_path / "got")
    assert bytes_of(tmp_path / "got") == bytes_of(large)


def _value(request: Request, name: str) -> str:
    return dict(part.partition("=")[::2] for part in request.query.split("&"))[name]


def _parts() -> set[int]:
    """Parts of the vectors that are there although their upload was not ended."""
    found: set[int] = set()
    for upload in client().list_multipart_uploads(Bucket="models").get("Uploads", ()):
        listed = client().list_parts(
            Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"]
        )
        found |= {part["PartNumber"] for part in listed.get("Parts", ())}
    return found


def _begin(large: Path, server: S3Server) -> None:
    """Push until two parts of the vectors are there."""
    count: list[Request] = []

    def fault(request: Request) -> str | None:
        if "partNumber=" in request.query:
            count.append(request)
            return None if len(count) <= 2 else "drop"
        return None

    server.fault = fault
    told(lambda: push(large, URL), "stopped answering")
    server.fault = lambda request: None
    server.requests.clear()


def test_parts_that_are_there_are_not_sent_again(server: S3Server, large: Path) -> None:
    _begin(large, server)
    there = _parts()
    assert len(there) == 2
    push(large, URL)
    sent = {int(_value(request, "partNumber")) for request in server.seen("PUT", "partNumber=")}
    assert sent == {1, 2, 3, 4} - there
    assert objects()[f"kindred/v1/{VECTORS}"] == (large / VECTORS).read_bytes()
    assert _parts() == set()


def test_parts_of_another_file_are_dropped(
    server: S3Server, large: Path, home: Path, tmp_path: Path
) -> None:
    _begin(large, server)
    with LocalBackend(home) as store:
        vectors = fill(store, 900, space=WIDE)
        turned = np.roll(vectors, 1, axis=1)
        store.put_embeddings(
            WIDE,
            [
                Embedding(track.track_id, track.content_hash, vector, vector[None])
                for track, vector in zip(store.list_tracks(), turned, strict=True)
            ],
        )
        export_artifact(store, WIDE, tmp_path / "other", index=False)
    push(tmp_path / "other", URL)
    assert len(server.seen("PUT", "partNumber=")) == 4
    assert objects()[f"kindred/v1/{VECTORS}"] == (tmp_path / "other" / VECTORS).read_bytes()
    assert _parts() == set()


def test_where_listing_uploads_is_forbidden_they_begin_anew(server: S3Server, large: Path) -> None:
    _begin(large, server)
    server.fault = lambda request: (
        "deny" if request.method == "GET" and "uploads" in request.query else None
    )
    push(large, URL)
    assert len(server.seen("PUT", "partNumber=")) == 4
    assert objects()[f"kindred/v1/{VECTORS}"] == (large / VECTORS).read_bytes()
    server.fault = lambda request: None
    for upload in client().list_multipart_uploads(Bucket="models").get("Uploads", ()):
        client().abort_multipart_upload(
            Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"]
        )


def test_a_connection_that_breaks_is_taken_up_again(
    server: S3Server, large: Path, tmp_path: Path
) -> None:
    push(large, URL)
    server.requests.clear()
    server.fault = lambda request: 1_300_000 if request.key.endswith(".f32") else None
    pull(URL, tmp_path / "got")
    assert bytes_of(tmp_path / "got") == bytes_of(large)
    ranges = [request.range for request in server.seen("GET", "embeddings.f32")]
    size = (large / VECTORS).stat().st_size
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in ranges]
    assert starts[0] == 0
    assert len(starts) > 2
    assert all(after > before for before, after in pairwise(starts))
    assert starts[-1] < size


def test_a_store_that_stops_while_fetching(
    server: S3Server,
    large: Path,
    tmp_path: Path,
    restart: Callable[[], S3Server],
    exported: Path,
) -> None:
    push(large, URL)
    shutil.copytree(exported, tmp_path / "got")
    before = bytes_of(tmp_path / "got")

    def fault(request: Request) -> str | int | None:
        if not request.key.endswith(".f32"):
            return None
        server.fault = lambda request: "drop"
        return 2 * MIB

    server.fault = fault
    told(lambda: pull(URL, tmp_path / "got"), "stopped answering while .*goes on where it stopped")
    assert bytes_of(tmp_path / "got") == before  # the old one is untouched
    part = tmp_path / ".got.pulling" / f"{VECTORS}.part"
    have = part.stat().st_size
    assert have >= MIB
    server = restart()
    got = pull(URL, tmp_path / "got")
    assert [request.range for request in server.seen("GET", "embeddings.f32")] == [f"bytes={have}-"]
    assert got.kept + got.moved == len(bytes_of(large)) - 1
    assert bytes_of(tmp_path / "got") == bytes_of(large)
    assert not (tmp_path / ".got.pulling").exists()


def test_a_store_that_is_not_there(server: S3Server, artifact: Path, tmp_path: Path) -> None:
    server.stop()
    told(lambda: push(artifact, URL), f"{server.url} stopped answering")
    told(lambda: pull(URL, tmp_path / "got"), f"{server.url} stopped answering")
    told(lambda: fetch_audio("s3://models/a.flac", tmp_path / "a"), "stopped answering")
    assert not (tmp_path / "got").exists()


# -- wrong objects -----------------------------------------------------------------------------
def replaced(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Replace an object; returns what it was."""
    key = f"kindred/v1/{name}"
    whole: bytes = client().get_object(Bucket="models", Key=key)["Body"].read()
    client().put_object(Bucket="models", Key=key, Body=change(whole))
    return whole


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda data: data[:-1] + b"?", "has other bytes"),
        (lambda data: data[: len(data) // 2], "bytes, .* were sent there"),
        (lambda data: data + b"x", "bytes, .* were sent there"),
        (lambda data: b"", "is shorter than|bytes, .* were sent"),
    ],
)
@pytest.mark.parametrize("name", [VECTORS, TRACKS])
def test_wrong_bytes_are_refused(
    server: S3Server,
    large: Path,
    tmp_path: Path,
    exported: Path,
    change: Callable[[bytes], bytes],
    match: str,
    name: str,
) -> None:
    push(large, URL)
    shutil.copytree(exported, tmp_path / "got")
    replaced(name, change)
    message = told(lambda: pull(URL, tmp_path / "got"), match)
    assert f"s3://models/kindred/v1/{name}" in message
    assert "Push it again" in message
    assert bytes_of(tmp_path / "got") == bytes_of(exported)
    assert not (tmp_path / ".got.pulling" / name).exists()
    push(large, URL)  # mends it
    pull(URL, tmp_path / "got")
    assert bytes_of(tmp_path / "got") == bytes_of(large)


def test_a_part_of_an_object_that_was_replaced_meanwhile(
    server: S3Server, large: Path, tmp_path: Path
) -> None:
    push(large, URL)
    part = tmp_path / ".got.pulling" / f"{VECTORS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\xff" * MIB)  # of an older object
    (tmp_path / ".got.pulling" / f"{TRACKS}.part").parent.mkdir()
    (tmp_path / ".got.pulling" / f"{TRACKS}.part").write_bytes(bytes(MIB))  # longer than it is now
    pull(URL, tmp_path / "got")
    assert bytes_of(tmp_path / "got") == bytes_of(large)


def test_a_missing_object_is_named(server: S3Server, artifact: Path, tmp_path: Path) -> None:
    push(artifact, URL)
    client().delete_object(Bucket="models", Key=f"kindred/v1/{IDS}")
    told(lambda: pull(URL, tmp_path / "got"), f"nothing at the address.*kindred/v1/{IDS}")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "audio_wav/../../evil.wav"])
def test_a_manifest_from_afar_is_not_trusted(
    server: S3Server, artifact: Path, tmp_path: Path, name: str
) -> None:
    push(artifact, URL)
    entry = {"bytes": 1, "sha256": "0" * 64}
    change_json(artifact, MANIFEST, lambda v: v | {"files": {**v["files"], name: entry}})
    replaced(MANIFEST, lambda data: (artifact / MANIFEST).read_bytes())
    server.requests.clear()
    told(lambda: pull(URL, tmp_path / "got"), "which no artifact has")
    assert len(server.requests) == 1  # only the manifest was asked for
    assert {path.name for path in tmp_path.iterdir()} == {"artifact"}


@pytest.mark.parametrize("text", [b"", b"{", b'{"format": "zip"}'])
def test_a_manifest_that_is_none(
    server: S3Server, artifact: Path, tmp_path: Path, text: bytes
) -> None:
    push(artifact, URL)
    replaced(MANIFEST, lambda data: text)
    told(lambda: pull(URL, tmp_path / "got"), f"{URL}/{MANIFEST} is not")
    told(lambda: push(artifact, URL), "holds another artifact, which cannot be read")
    push(artifact, URL, overwrite=True)
    pull(URL, tmp_path / "got")
    assert bytes_of(tmp_path / "got") == bytes_of(artifact)


def test_where_etags_are_no_digests_the_noted_sha256_tells(
    server: S3Server, artifact: Path
) -> None:
    path, key = artifact / IDS, "a-key"
    entry = Entry(path.stat().st_size, layout.sha256_of(path))
    bucket, found = s3.Bucket("models"), s3.Found(entry.bytes, "encrypted")
    for encryption, noted, same in (
        ("aws:kms", entry.sha256, True),
        ("aws:kms", "0" * 64, False),
        ("AES256", entry.sha256, False),
    ):
        client().put_object(
            Bucket="models",
            Key=key,
            Body=path.read_bytes(),
            ServerSideEncryption=encryption,
            Metadata={"sha256": noted},
        )
        assert bucket.has(key, found, path, entry) is same


# -- refusals ----------------------------------------------------------------------------------
def test_no_bucket(server: S3Server, artifact: Path, tmp_path: Path) -> None:
    told(lambda: push(artifact, "s3://nobodys/a"), "has no bucket 'nobodys'")
    told(lambda: pull("s3://nobodys/a", tmp_path / "got"), "has no bucket 'nobodys'")


def test_no_access(server: S3Server, artifact: Path, tmp_path: Path) -> None:
    server.fault = lambda request: "deny"
    told(lambda: push(artifact, URL), "refused reading .*AccessDenied.*credentials")
    server.fault = lambda request: "deny" if request.method == "PUT" else None
    told(lambda: push(artifact, URL), "refused sending .*AccessDenied")
    server.fault = lambda request: None
    assert objects() == {}


def test_no_credentials(
    server: S3Server, artifact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as bare:
        bare.delenv("AWS_ACCESS_KEY_ID")
        told(lambda: push(artifact, URL), "no usable S3 credentials.*AWS_ACCESS_KEY_ID")
    with monkeypatch.context() as bare:
        bare.delenv("AWS_ACCESS_KEY_ID")
        bare.delenv("AWS_SECRET_ACCESS_KEY")
        told(lambda: push(artifact, URL), "no usable S3 credentials.*AWS_ACCESS_KEY_ID")
    with monkeypatch.context() as bare:
        bare.setenv("AWS_PROFILE", "nobody")
        told(lambda: push(artifact, URL), "boto3 cannot be set up.*AWS_PROFILE")
    with monkeypatch.context() as bare:
        bare.setenv("AWS_ENDPOINT_URL", "not a url")
        told(lambda: push(artifact, URL), "boto3 cannot be set up.*AWS_ENDPOINT_URL")


@pytest.mark.parametrize(
    "url", ["models/a", "s3:/models/a", "s3://models", "s3://models/", "s3://"]
)
def test_addresses_that_are_none(artifact: Path, tmp_path: Path, url: str) -> None:
    for work in (
        lambda: push(artifact, url),
        lambda: pull(url, tmp_path / "got"),
        lambda: fetch_audio(url, tmp_path / "a"),
    ):
        told(work, "is not an address in S3")


def test_a_name_no_bucket_can_have(server: S3Server, artifact: Path) -> None:
    told(lambda: push(artifact, "s3://a bucket/x"), "S3 takes no such name")


def test_other_files_are_not_replaced(server: S3Server, artifact: Path, tmp_path: Path) -> None:
    push(artifact, URL)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mp3").write_bytes(b"x")
    told(lambda: pull(URL, tmp_path / "music"), r"holds other files, such as song.mp3")
    assert (tmp_path / "music" / "song.mp3").exists()


# -- stopping ----------------------------------------------------------------------------------
def test_stopped_and_taken_up(
    server: S3Server, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "THREADS", 1)
    pieces: list[int] = []

    def progress(done: int, total: int, name: str) -> None:
        pieces.append(done)

    outcome = push(large, URL, progress=progress, cancelled=lambda: len(pieces) >= 4)
    assert outcome.cancelled
    assert "Stopped" in outcome.sentence()
    assert len(objects()) == 4
    assert f"kindred/v1/{MANIFEST}" not in objects()
    sent = push(large, URL)
    assert (sent.kept, sent.cancelled) == (4, False)
    pieces.clear()
    # the vectors come in four pieces, then two small files
    stopped = pull(URL, tmp_path / "got", progress=progress, cancelled=lambda: len(pieces) >= 6)
    assert stopped.cancelled
    assert not (tmp_path / "got").exists()
    server.requests.clear()
    got = pull(URL, tmp_path / "got")
    assert (got.kept, got.cancelled) == (2, False)
    assert bytes_of(tmp_path / "got") == bytes_of(large)


# -- audio -------------------------------------------------------------------------------------
def test_audio_comes_whole(server: S3Server, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3 * MIB)
    client().put_object(Bucket="models", Key="music/Für Elise #1.flac", Body=data)
    url = "s3://models/music/Für Elise #1.flac"
    cuts = iter([MIB + 5, MIB])
    server.fault = lambda request: next(cuts, None) if request.method == "GET" else None
    digest = hashlib.sha256(data).hexdigest()
    target = tmp_path / "new" / "a.flac"
    assert fetch_audio(url, target, sha256=digest) == target
    assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["a.flac"]
    server.fault = lambda request: None
    assert fetch_audio(url, tmp_path / "b.flac").read_bytes() == data


def test_audio_goes_on_where_it_stopped(server: S3Server, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3 * MIB)
    client().put_object(Bucket="models", Key="a.flac", Body=data)
    digest = hashlib.sha256(data).hexdigest()
    seen: list[int] = []
    with pytest.raises(ArtifactError, match="was stopped"):
        fetch_audio(
            "s3://models/a.flac",
            tmp_path / "a.flac",
            sha256=digest,
            progress=lambda done, total, name: seen.append(done),
            cancelled=lambda: len(seen) >= 2,
        )
    assert not (tmp_path / "a.flac").exists()
    server.requests.clear()
    fetch_audio("s3://models/a.flac", tmp_path / "a.flac", sha256=digest)
    assert [request.range for request in server.seen("GET")] == [f"bytes={seen[-1]}-"]
    assert (tmp_path / "a.flac").read_bytes() == data


def test_audio_that_is_not_the_tracks(server: S3Server, tmp_path: Path) -> None:
    client().put_object(Bucket="models", Key="a.flac", Body=b"other audio")
    told(
        lambda: fetch_audio("s3://models/a.flac", tmp_path / "a", sha256="0" * 64),
        "s3://models/a.flac has other bytes",
    )
    told(
        lambda: fetch_audio("s3://models/b.flac", tmp_path / "a"), "nothing at the address.*b.flac"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_outcome_is_ready_for_json(server: S3Server, artifact: Path) -> None:
    assert json.loads(json.dumps(push(artifact, URL).to_dict()))["url"] == URL
