"""Bundles: written, checked to the byte, copied, refused when anything is wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.artifacts import layout, s3_client
from kindred.artifacts.transfer import pull, push
from kindred.errors import ArtifactError, ExpressiveError
from kindred.expressive import bundle
from kindred.expressive.model_files import MODEL
from kindred.expressive.sources import Layered
from tests.artifacts.s3_server import S3Server
from tests.expressive.made_run import make_run, write_scorer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "r1")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r1"))


def change(folder: Path, name: str, edit: Callable[[Any], Any]) -> None:
    """Change a JSON file of a bundle."""
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(edit(values)))


def test_a_whole_run_is_verified_and_told(made: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    manifest = bundle.verify(made, progress=lambda *step: steps.append(step))
    assert (manifest.run_id, manifest.dims, manifest.feature_id) == ("r1", 80, Layered().feature_id)
    assert manifest.rows == len(json.loads((made / bundle.IDS).read_text()))
    assert steps[-1][0] == steps[-1][1] == manifest.size
    assert set(bundle.NEEDED) <= manifest.files.keys()
    assert f"{bundle.RETRIEVER}/seeds/1/model.safetensors" in manifest.files


def test_the_same_run_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = make_run(tmp_path / "r1")
    one, other = (
        {
            name: entry
            for name, entry in bundle.verify(folder).files.items()
            if name not in (bundle.GATES, bundle.THRESHOLDS)  # they tell when they were frozen
        }
        for folder in (made, again)
    )
    assert one == other


def test_the_index_finds_each_row_itself(made: Path) -> None:
    import faiss

    vectors = np.fromfile(made / bundle.VECTORS, "<f4").reshape(-1, 80)
    scores, rows = faiss.read_index(str(made / bundle.INDEX)).search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(len(vectors)))
    assert scores[:, 0] == pytest.approx(1, abs=1e-5)


def test_a_large_run_has_a_graph_for_an_index(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r2", ann_threshold=4)
    assert json.loads((run / bundle.INDEX_META).read_text())["kind"] == "hnsw"
    bundle.verify(run)


def test_every_file_guards_its_bytes(run: Path) -> None:
    names = [*bundle.verify(run).files]
    for name in names:
        path = run / name
        whole = path.read_bytes()
        wrong = bytearray(whole)
        wrong[len(wrong) // 2] ^= 1
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match=f"{name} has other bytes"):
            bundle.verify(run)
        path.write_bytes(whole[:-1])
        with pytest.raises(ArtifactError, match=f"{name} was cut short"):
            bundle.verify(run)
        path.unlink()
        with pytest.raises(ArtifactError, match=f"{name} is missing"):
            bundle.verify(run)
        path.write_bytes(whole)
    bundle.verify(run)


def test_a_file_too_many_or_a_link_is_refused(run: Path) -> None:
    (run / bundle.ORACLE / "more.bin").write_bytes(b"?")
    with pytest.raises(ArtifactError, match=r"more\.bin does not belong"):
        bundle.verify(run)
    (run / bundle.ORACLE / "more.bin").unlink()
    report = run / bundle.EVALUATION / "report.md"
    report.rename(run / "report.md")
    os.symlink(run / "report.md", report)
    with pytest.raises(ArtifactError, match="not a plain file"):
        bundle.verify(run)


def drop_row(run: Path) -> str:
    path = run / bundle.VECTORS
    path.write_bytes(path.read_bytes()[: -4 * 80])
    return r"vectors\.f32 has \d+ bytes, \d+ vectors of 80"


def drop_id(run: Path) -> str:
    change(run, bundle.IDS, lambda ids: ids[1:])
    return r"vectors\.f32 has \d+ bytes"


def two_ids(run: Path) -> str:
    change(run, bundle.IDS, lambda ids: [ids[1], *ids[1:]])
    return r"clip_ids\.json does not follow its schema"


def foreign_id(run: Path) -> str:
    change(run, bundle.IDS, lambda ids: ["nobody", *ids[1:]])
    return r"clip_ids\.json names 'nobody'"


def other_dims(run: Path) -> str:
    write_scorer(run / bundle.RETRIEVER, kind="distilled", dims=8)
    return r"vectors\.f32 has \d+ bytes, \d+ vectors of 40 dimensions"


def other_features(run: Path) -> str:
    write_scorer(run / bundle.ORACLE, kind="oracle", feature_id="mert-1")
    return r"oracle_scorer/config\.json is of the features 'mert-1'"


def not_unit(run: Path) -> str:
    path = run / bundle.VECTORS
    vectors = np.fromfile(path, "<f4")
    vectors[:80] = np.nan
    path.write_bytes(vectors.tobytes())
    return r"vectors\.f32 has a vector of length nan in row 0"


def no_tensors(run: Path) -> str:
    (run / bundle.ORACLE / MODEL).write_bytes(b"not tensors")
    return r"oracle_scorer/model\.safetensors cannot be read"


def not_finite(run: Path) -> str:
    from safetensors.numpy import load_file, save_file

    path = run / bundle.RETRIEVER / MODEL
    tensors = load_file(path)
    tensors["layers"][0, 0] = np.inf
    save_file(tensors, path)
    return r"projection_retriever/model\.safetensors has values in layers that are not finite"


def other_index(run: Path) -> str:
    (run / bundle.INDEX).write_bytes(b"IxFI" + bytes(100))
    return r"index\.faiss is not a FAISS index"


def gate_without_verdict(run: Path) -> str:
    change(run, bundle.GATES, lambda gates: gates | {"gates": [{"name": "works"}]})
    return r"gates\.json does not follow its schema at gates\[0\]"


def other_labels(run: Path) -> str:
    name = f"{bundle.LABELS}/splits.json"
    change(run, name, lambda splits: splits | {"test": {}})
    return r"splits\.json has other bytes than labels\.json"


@pytest.mark.parametrize(
    "spoil",
    [
        drop_row,
        drop_id,
        two_ids,
        foreign_id,
        other_dims,
        other_features,
        not_unit,
        no_tensors,
        not_finite,
        other_index,
        gate_without_verdict,
        other_labels,
    ],
)
def test_what_does_not_belong_together_is_refused_with_right_checksums_too(
    run: Path, spoil: Callable[[Path], str]
) -> None:
    words = spoil(run)
    bundle.write_manifest(run)
    with pytest.raises(ArtifactError, match=words):
        bundle.verify(run)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "oracle_scorer/../x",
        "oracle_scorer/.x",
        "oracle_scorer",
        "audio/a.flac",
        "evaluation/a//b",
        "evaluation/x.tmp",
        "manifest.json",
    ],
)
def test_a_manifest_cannot_name_other_places(run: Path, name: str) -> None:
    entry = {"bytes": 0, "sha256": "0" * 64}
    change(run, layout.MANIFEST, lambda m: m | {"files": {**m["files"], name: entry}})
    with pytest.raises(ArtifactError, match="which no artifact has"):
        bundle.verify(run)


@pytest.mark.parametrize(
    ("change_to", "words"),
    [
        ({"format": "kindred-artifact"}, "not the manifest of an expressive run"),
        ({"format_version": 2}, "format version 2"),
        ({"format_version": True}, "format version True"),
        ({"run_id": "../up"}, "has the run_id"),
        ({"dims": "many"}, "wrong one"),
        ({"files": []}, "wrong one"),
        ({"rows": None}, "wrong one"),
        ({"created_at": "yesterday"}, "does not follow its schema at created_at"),
    ],
)
def test_a_wrong_manifest_is_refused(run: Path, change_to: dict[str, Any], words: str) -> None:
    change(run, layout.MANIFEST, lambda manifest: manifest | change_to)
    with pytest.raises(ArtifactError, match=words):
        bundle.verify(run)


def test_a_run_that_is_not_whole_gets_no_manifest(run: Path) -> None:
    (run / bundle.GATES).unlink()
    with pytest.raises(ArtifactError, match=r"gates\.json is missing.*expressive train"):
        bundle.write_manifest(run)


def test_what_a_killed_writer_left_is_removed_and_odd_names_refused(run: Path) -> None:
    left = run / bundle.RETRIEVER / "config.json.12.34.tmp"
    left.write_text("{")
    bundle.write_manifest(run)
    assert not left.exists()
    (run / bundle.RETRIEVER / "odd name").write_text("")
    with pytest.raises(ArtifactError, match="odd name has a name no bundle may have"):
        bundle.write_manifest(run)


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        (["a"], np.ones((2, 80), np.float32)),
        (["a", "a"], np.ones((2, 80), np.float32)),
        (["a"], np.ones(80, np.float32)),
    ],
)
def test_vectors_need_an_id_each(tmp_path: Path, ids: list[str], vectors: np.ndarray) -> None:
    with pytest.raises(ExpressiveError, match="one vector for each"):
        bundle.write_vectors(tmp_path, ids, vectors)


def test_an_export_is_the_run_without_what_else_it_keeps(run: Path, tmp_path: Path) -> None:
    (run / "work").mkdir()
    (run / "work" / "notes.txt").write_text("not of the bundle")
    target = tmp_path / "out" / "bundle"
    manifest = bundle.export(run, target)
    assert manifest == bundle.verify(target) == bundle.verify(run)
    assert sorted(path.name for path in target.iterdir()) == sorted(
        [*bundle.PARTS, "manifest.json"]
    )
    (run / bundle.EVALUATION / "report.md").write_text("# Changed in the run alone\n")
    bundle.verify(target)


def test_an_export_replaces_a_bundle_and_nothing_else(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    bundle.export(run, target)
    (run / bundle.EVALUATION / "report.md").write_text("# Newer\n")
    bundle.write_manifest(run)
    bundle.export(run, target)
    assert (target / bundle.EVALUATION / "report.md").read_text() == "# Newer\n"
    (target / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"mine\.txt does not belong to the artifact"):
        bundle.export(run, target)
    other = tmp_path / "music"
    other.mkdir()
    (other / "song.mp3").write_bytes(b"")
    with pytest.raises(ArtifactError, match="holds other files"):
        bundle.export(run, other)
    assert [path.name for path in other.iterdir()] == ["song.mp3"]


def test_a_stopped_export_leaves_the_target_and_goes_on(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    asked = iter([False] * 3)
    assert bundle.export(run, target, cancelled=lambda: next(asked, True)) is None
    assert not target.exists()
    assert bundle.export(run, target) is not None
    bundle.verify(target)


def test_a_run_is_not_exported_into_itself(run: Path) -> None:
    for target in (run / "copy", run / bundle.EVALUATION / "copy"):
        with pytest.raises(ArtifactError, match="inside the run"):
            bundle.export(run, target)
    bundle.verify(run)


def test_a_damaged_run_is_not_exported(run: Path, tmp_path: Path) -> None:
    (run / bundle.EVALUATION / "report.md").write_text("# By hand\n")
    with pytest.raises(ArtifactError, match=r"report\.md"):
        bundle.export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_goes_over_s3_by_the_code_of_artifacts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    server = S3Server()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-nobody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client, "ATTEMPTS", 2)
    try:
        boto3.client("s3").create_bucket(Bucket="models")
        url, target = "s3://models/expressive/r1", tmp_path / "pulled"
        sent = push(run, url, kind=bundle.BUNDLE)
        came = pull(url, target, kind=bundle.BUNDLE)
        assert sent.moved == came.moved + 1 > 20  # the manifest is not counted when it comes
        assert bundle.verify(target) == bundle.verify(run)
        assert pull(url, target, kind=bundle.BUNDLE).moved == 0
        with pytest.raises(ArtifactError, match="not the manifest of an artifact"):
            pull(url, tmp_path / "as-vectors")
        (run / bundle.EVALUATION / "report.md").write_text("# By hand")
        with pytest.raises(ArtifactError, match=r"report\.md"):
            push(run, url, kind=bundle.BUNDLE)
    finally:
        server.stop()
