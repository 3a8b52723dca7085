"""Weights of the hub: found, checked, fetched over a connection that breaks, and removed."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.embeddings import hub_download
from kindred.embeddings.hub_download import fetch
from kindred.embeddings.hub_weights import HubModel, locate, remove, status
from kindred.errors import EncoderError, WeightsMissing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = HubModel(
    title="Tiny",
    repo_id="someone/tiny",
    revision=COMMIT,
    files=("config.json",),
    weights=("model.safetensors", "pytorch_model.bin"),
    licence="CC-BY-NC-4.0",
    setting="KINDRED_TINY_MODEL",
    command="kindred models pull tiny",
)
ON_MAIN = replace(MODEL, revision=None)
_HEADER = json.dumps({"w": {"dtype": "U8", "shape": [3_000_000], "data_offsets": [0, 3_000_000]}})
WEIGHTS = (
    len(_HEADER).to_bytes(8, "little")
    + _HEADER.encode()
    + np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
)
CONFIG = b'{"model_type": "tiny"}'
SIZE = len(WEIGHTS) + len(CONFIG)
SHA = hashlib.sha256(WEIGHTS).hexdigest()


@dataclass
class Hub:
    """A hub with one model; ``drop`` gives the bytes after which a transfer breaks, in turn."""

    files: dict[str, bytes] = field(
        default_factory=lambda: {
            "config.json": CONFIG,
            "model.safetensors": WEIGHTS,
            "pytorch_model.bin": b"not wanted",
        }
    )
    drop: list[int] = field(default_factory=list)
    corrupt: bool = False
    ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.files.items():
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            entry = {"rfilename": name, "size": len(data), "blobId": git}
            if not name.endswith(".json"):
                sha = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return {"id": MODEL.repo_id, "sha": COMMIT, "siblings": siblings, "private": False}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which the real client is pointed to."""
    import huggingface_hub
    from huggingface_hub import constants

    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.rpartition("/")[2]
            hub.asked.append((name, self.headers.get("Range", "")))
            if path.startswith(f"/api/models/{MODEL.repo_id}"):
                self._send(json.dumps(hub.info()).encode())
            elif path == f"/{MODEL.repo_id}/resolve/{COMMIT}/{name}" and name in hub.files:
                data = hub.files[name]
                self._send(data[::-1] if hub.corrupt else data)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()

        def _send(self, data: bytes) -> None:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if hub.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            # Leaving before all is sent closes the connection, as a network that fails does.
            end = start + hub.drop.pop(0) if len(data) > 100_000 and hub.drop else len(data)
            self.wfile.write(data[start:end])

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output to the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub_download, "_CHUNK", 100_000)
    huggingface_hub.close_session()
    yield hub
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def root(models: Path) -> Path:
    return models / "models--someone--tiny"


def weights_requests(hub: Hub) -> list[str]:
    return [asked for name, asked in hub.asked if name == "model.safetensors"]


@pytest.mark.parametrize("model", [MODEL, ON_MAIN])
def test_fetched_weights_are_counted_and_found(hub: Hub, tmp_path: Path, model: HubModel) -> None:
    before = status(tmp_path, model)
    assert (before.available, before.size, before.command) == (False, 0, model.command)
    assert before.missing == ("config.json", "model.safetensors or pytorch_model.bin")
    seen: list[tuple[int, int]] = []
    weights = fetch(tmp_path, model, progress=lambda *counts: seen.append(counts))
    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)
    assert len(seen) > 10
    assert weights == locate(tmp_path, model, verify=True)
    assert weights.revision == f"someone/tiny@{COMMIT[:12]}"
    assert weights.file == root(tmp_path) / "snapshots" / COMMIT / "model.safetensors"
    assert weights.file.resolve() == root(tmp_path) / "blobs" / SHA
    assert weights.file.read_bytes() == WEIGHTS
    after = status(tmp_path, model, verify=True)
    assert (after.available, after.missing, after.damaged, after.command) == (True, (), "", "")
    assert SIZE <= after.size < SIZE + 100
    assert "CC-BY-NC-4.0" in after.notice
    hub.asked.clear()
    assert fetch(tmp_path, model) == weights  # nothing is left to do
    assert len(hub.asked) == 1


def test_the_hubs_own_client_reads_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    weights = fetch(tmp_path, ON_MAIN)
    found = snapshot_download(MODEL.repo_id, cache_dir=tmp_path, local_files_only=True)
    assert Path(found) == weights.folder


def test_a_connection_that_breaks_half_way_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.drop = [1_500_000]
    assert fetch(tmp_path, MODEL).file.read_bytes() == WEIGHTS
    assert weights_requests(hub) == ["", "bytes=1500000-"]


def test_a_download_that_was_stopped_goes_on(hub: Hub, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 1_000_000:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        fetch(tmp_path, MODEL, progress=stop)
    assert not (root(tmp_path) / "snapshots").exists()
    told = status(tmp_path, MODEL)
    assert (told.available, told.command) == (False, MODEL.command)
    assert told.size > 1_000_000  # what a stopped download holds is counted
    seen: list[int] = []
    fetch(tmp_path, MODEL, progress=lambda done, total: seen.append(done))
    assert seen[1] > 1_000_000
    assert weights_requests(hub)[-1].startswith("bytes=1")
    assert status(tmp_path, MODEL, verify=True).available


def test_a_server_that_cannot_resume_sends_all_again(hub: Hub, tmp_path: Path) -> None:
    hub.drop, hub.ranges = [1_500_000], False
    assert fetch(tmp_path, MODEL).file.read_bytes() == WEIGHTS


def test_a_connection_that_breaks_again_and_again_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.drop = [500_000] + [0] * 50
    start = time.monotonic()
    with pytest.raises(WeightsMissing, match="goes on where it stopped") as caught:
        fetch(tmp_path, MODEL)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    assert len(weights_requests(hub)) == 2 + hub_download.RETRIES
    hub.drop = []
    assert fetch(tmp_path, MODEL).file.read_bytes() == WEIGHTS


def test_what_was_not_announced_is_deleted(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt = True
    with pytest.raises(EncoderError, match=r"is damaged.*run `kindred models pull tiny` again"):
        fetch(tmp_path, MODEL)
    assert not list((root(tmp_path) / "blobs").iterdir())
    hub.corrupt = False
    fetch(tmp_path, MODEL)


def test_a_checksum_known_beforehand_goes_before_the_hubs(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is damaged"):
        fetch(tmp_path, replace(MODEL, checksums={"model.safetensors": "0" * 64}))
    fetch(tmp_path, replace(MODEL, checksums={"model.safetensors": SHA}))


def test_a_file_that_went_bad_is_found_and_fetched_again(hub: Hub, tmp_path: Path) -> None:
    file = fetch(tmp_path, MODEL).file
    data = bytearray(WEIGHTS)
    data[2_000_000] ^= 1
    file.write_bytes(data)
    assert status(tmp_path, MODEL).available  # its header tells nothing
    told = status(tmp_path, MODEL, verify=True)
    assert (told.available, told.damaged) == (False, "model.safetensors")
    with pytest.raises(EncoderError, match="checksum"):
        locate(tmp_path, MODEL, verify=True)
    assert fetch(tmp_path, MODEL).file.read_bytes() == WEIGHTS


def test_a_model_the_hub_has_not_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no someone/else.*KINDRED_TINY_MODEL"):
        fetch(tmp_path, replace(MODEL, repo_id="someone/else"))
    del hub.files["config.json"]
    with pytest.raises(WeightsMissing, match="not a Tiny model"):
        fetch(tmp_path, MODEL)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_beforehand(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(WeightsMissing, match="needs 3 MB more"):
        fetch(tmp_path, MODEL)


def test_a_models_folder_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(WeightsMissing, match="cannot be written"):
        fetch(tmp_path / "models", MODEL)


def test_two_downloads_at_once_are_refused(hub: Hub, tmp_path: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(WeightsMissing, match="Another process"):
            fetch(tmp_path, MODEL)
        with pytest.raises(EncoderError, match="Another process"):
            remove(tmp_path, MODEL)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fetch(tmp_path, MODEL, progress=again)


def test_without_a_network_one_line_says_so_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsMissing, match="could not be fetched") as caught:
        fetch(tmp_path / "models", MODEL)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "models").exists()


def test_removing_frees_the_disk(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path, ON_MAIN)
    size = status(tmp_path, ON_MAIN).size
    assert remove(tmp_path, ON_MAIN) == size
    assert not list(tmp_path.iterdir())
    with pytest.raises(WeightsMissing, match="There are no Tiny weights"):
        remove(tmp_path, ON_MAIN)


def test_removing_leaves_what_others_put_there(hub: Hub, tmp_path: Path) -> None:
    other = root(tmp_path) / "blobs" / "another"
    other.parent.mkdir(parents=True)
    other.write_text("of another program")
    with pytest.raises(EncoderError, match="not fetched by Kindred"):
        remove(tmp_path, MODEL)
    fetch(tmp_path, MODEL)
    record = root(tmp_path) / "kindred.json"
    outside = tmp_path / "outside"
    outside.write_text("precious")
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "files": [*values["files"], "../outside"]}))
    assert remove(tmp_path, MODEL) == SIZE
    assert outside.read_text() == "precious"
    assert [path for path in root(tmp_path).rglob("*") if path.is_file()] == [other]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "config.json").write_bytes(CONFIG)
    (path / "model.safetensors").write_bytes(WEIGHTS)
    return path


def test_a_users_folder_is_read_and_left_alone(folder: Path, tmp_path: Path) -> None:
    model = replace(MODEL, repo_id=str(folder))
    weights = locate(tmp_path, model)
    assert weights.revision.startswith("folder@")
    told = status(tmp_path, model)
    assert (told.available, told.location, told.size) == (True, folder, SIZE)
    with pytest.raises(EncoderError, match="folder of yours"):
        remove(tmp_path, model)
    with pytest.raises(WeightsMissing, match="only a Hugging Face id"):
        fetch(tmp_path, model)
    (folder / "config.json").write_bytes(CONFIG + b"\n")
    assert locate(tmp_path, model).revision != weights.revision
    gone = replace(MODEL, repo_id=str(tmp_path / "gone"))
    with pytest.raises(WeightsMissing, match=r"KINDRED_TINY_MODEL names the folder .*gone"):
        locate(tmp_path, gone)
    assert status(tmp_path, gone).command == ""


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).unlink()
    model = replace(MODEL, repo_id=str(folder))
    with pytest.raises(WeightsMissing, match=name):
        locate(tmp_path, model)
    assert name in status(tmp_path, model).missing[0]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config.json", b"{ not"),
        ("config.json", b""),
        ("model.safetensors", b""),
        ("model.safetensors", WEIGHTS[:4]),
        ("model.safetensors", WEIGHTS[:-9]),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
        ("pytorch_model.bin", b"PK\x03\x04 cut off"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, tmp_path: Path, name: str, data: bytes) -> None:
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(data)
    model = replace(MODEL, repo_id=str(folder))
    with pytest.raises(EncoderError, match=rf"{name} is damaged.*Copy a complete Tiny model"):
        locate(tmp_path, model)
    assert status(tmp_path, model).damaged == name
