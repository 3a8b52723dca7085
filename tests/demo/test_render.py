"""Rendering: reproducible, sound, resumable."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kindred.demo import demo_tracks, render_demo
from kindred.demo import render as rendering
from kindred.demo import score as scores
from kindred.demo import synth as synthesiser
from kindred.demo.render import MANIFEST, track_sound
from kindred.errors import KindredError, MissingPackage


def no_rendering(*_: object) -> int:
    raise AssertionError("rendered again")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, render_demo(folder, limit=4, workers=2)


def test_the_same_seed_gives_the_same_samples() -> None:
    for track in demo_tracks()[::50]:
        one, two = (hashlib.sha256(track_sound(track).tobytes()).hexdigest() for _ in range(2))
        assert one == two


def test_sound_is_sound() -> None:
    for track in demo_tracks()[7::33]:
        sound = track_sound(track)
        rate = track.sample_rate
        level = np.abs(sound).max(axis=1)
        assert sound.dtype == np.float32
        assert sound.shape[1] == 2
        assert 29.5 <= len(sound) / rate <= 45.5
        assert 0.2 < level.max() <= 10 ** (-1 / 20)
        assert np.argmax(level > 0.02 * level.max()) / rate < 0.2
        assert level[-100:].max() < 1e-3
        seconds = level[: len(level) // rate * rate].reshape(-1, rate).max(axis=1)
        assert (seconds[:-2] > 0.01).all()


def test_processes_render_what_one_process_does(library: tuple[Path, list[Path]]) -> None:
    folder, paths = library
    tracks = {folder / track.path: track for track in demo_tracks()}
    lossless = [path for path in paths if path.suffix in {".wav", ".flac"}]
    assert lossless
    for path in lossless:
        found, rate = soundfile.read(path, dtype="float32", always_2d=True)
        wanted = track_sound(tracks[path])
        if tracks[path].channels == 1:
            wanted = wanted.mean(axis=1, keepdims=True)
        assert rate == tracks[path].sample_rate
        np.testing.assert_allclose(found, wanted, atol=2 / 32_768)


def test_what_is_there_is_left_alone(
    library: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, paths = library
    calls: list[tuple[int, int, str]] = []
    monkeypatch.setattr(rendering, "_render", no_rendering)
    assert render_demo(folder, limit=4, progress=lambda *call: calls.append(call)) == paths
    assert [call[:2] for call in calls] == [(4, 4)]


def test_only_what_is_damaged_or_out_of_date_is_made_again(
    library: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(library[0], folder)
    paths = [folder / path.relative_to(library[0]) for path in library[1]]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest[str(paths[2].relative_to(folder).as_posix())]["recipe"] = "of yesterday"
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    made: list[Path] = []

    def render(root: Path, track: rendering.Track) -> int:
        made.append(root / track.path)
        (root / track.path).write_bytes(b"new")
        return 3

    monkeypatch.setattr(rendering, "_render", render)
    render_demo(folder, limit=4, workers=1)
    assert made == paths[:3]
    monkeypatch.setattr(rendering, "_render", no_rendering)
    assert render_demo(folder, limit=4, workers=1) == paths


def test_a_cancelled_run_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def render(root: Path, track: rendering.Track) -> int:
        made.append(track.path)
        (root / track.path).parent.mkdir(parents=True, exist_ok=True)
        (root / track.path).write_bytes(b"new")
        return 3

    def cancel(done: int, total: int, title: str) -> None:
        assert (total, bool(title)) == (10, True)
        if done == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "_render", render)
    with pytest.raises(KeyboardInterrupt):
        render_demo(tmp_path, limit=10, workers=1, progress=cancel)
    assert len(made) == 4
    render_demo(tmp_path, limit=10, workers=1)
    assert len(made) == len(set(made)) == 10


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom kindred.demo import render_demo\n"
        "if __name__ == '__main__':\n    render_demo(Path(sys.argv[1]), limit=6, workers=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (folder / MANIFEST).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its workers end by themselves
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    known = [folder / name for name in json.loads((folder / MANIFEST).read_text("utf-8"))]
    assert 1 <= len(known) < 6
    paths = render_demo(folder, limit=6, workers=1)
    assert all(path.is_file() for path in paths)
    assert all(path.stat().st_mtime_ns == before[path] for path in known)
    assert not list(folder.rglob("*.part"))


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {
        "music21": "pip install music21",
        "tinysoundfont": "pip install --no-deps tinysoundfont==0.3.7",
        "pretty_midi": "pip install --force-reinstall pretty_midi",
    }
    real = scores.find_spec
    for missing, command in commands.items():
        synthesiser.soundfont.cache_clear()
        monkeypatch.setattr(
            scores, "find_spec", lambda name, gone=missing: None if name == gone else real(name)
        )
        with pytest.raises(MissingPackage, match=missing) as caught:
            render_demo(tmp_path, limit=1)
        assert command in str(caught.value)
    synthesiser.soundfont.cache_clear()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KindredError, match=r"file.demo for the demo library cannot be made"):
        render_demo(tmp_path / "file" / "demo", limit=1)
