"""The user's tracks: heard once, kept, ranked by any scorer, and what cannot be read is told."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.errors import ExpressiveError, LibraryError
from kindred.expressive.aspects import KEYS
from kindred.expressive.baselines import Cosine
from kindred.expressive.hearing import (
    WINDOWS,
    LibraryClips,
    analyse,
    analysed,
    clip_features,
)
from kindred.expressive.library import rank, represent, rerank
from kindred.expressive.scorers import OracleScorer, RetrieverScorer
from kindred.expressive.scoring import Floats
from kindred.expressive.sources import Layered
from kindred.storage.records import Track
from tests.conftest import tone
from tests.expressive.made_run import write_scorer

RATE = 4_000
EQUAL = np.ones(len(KEYS), np.float32)


class Heights:
    """A source whose features are the height of a tone and its level: [n, 3, 1, 2]."""

    name = title = "heights"
    revision = "1"
    sample_rate = RATE
    shape = (3, 1, 2)
    layer_names = ("height",)
    spans = ((0.0, 4.0), (4.0, 8.0), (8.0, 12.0))
    forks = False

    def __init__(self, feature_id: str = "heights-1") -> None:
        self.feature_id = feature_id
        self.heard = 0
        self._lock = threading.Lock()

    def layers(self, batch: Floats) -> Floats:
        with self._lock:
            self.heard += len(batch)
        parts = batch.reshape(len(batch), 3, -1)
        spectrum = np.abs(np.fft.rfft(parts, axis=2))
        hz = spectrum.argmax(axis=2) * RATE / parts.shape[2]
        level = np.sqrt(np.mean(parts**2, axis=2))
        return np.stack([np.log2(hz + 1), level], axis=2)[:, :, None].astype(np.float32)


class Nearness:
    """Aspect 0 hears heights, aspect 1 levels, the others nothing; keeps the mean over segments."""

    name = "nearness"

    def represent(self, features: Floats) -> Floats:
        return np.asarray(features.mean(axis=1)[:, 0], np.float32)

    def compare(self, one: Floats, other: Floats) -> Floats:
        scores = np.zeros((len(KEYS), len(one), len(other)), np.float32)
        for aspect in (0, 1):
            scores[aspect] = -np.abs(one[:, None, aspect] - other[None, :, aspect])
        return scores


class Music:
    """Tones as a library; ``paths`` is what a storage backend would answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracks: list[Track] = []
        self.paths: dict[str, Path] = {}

    def add(self, name: str, *, hz: float, seconds: float = 25) -> Track:
        path = tone(self.folder / f"{name}.wav", hz=hz, seconds=seconds, rate=RATE)
        track = Track(name, hashlib.sha256(path.read_bytes()).hexdigest(), title=name)
        self.tracks.append(track)
        self.paths[name] = path
        return track

    def path(self, track_id: str) -> Path:
        if track_id not in self.paths:
            raise LibraryError(f"The file of {track_id} is gone. Ingest its folder again.")
        return self.paths[track_id]


@pytest.fixture
def music(tmp_path: Path) -> Music:
    found = Music(tmp_path / "music")
    for name, hz in {"low": 200, "middle": 400, "high": 800, "higher": 1_000}.items():
        found.add(name, hz=hz)
    return found


def hear(music: Music, folder: Path, source: Heights | None = None) -> LibraryClips:
    return analyse(music.tracks, source or Heights(), folder, audio_path=music.path)


def test_windows_of_every_track_are_heard_once(music: Music, tmp_path: Path) -> None:
    source, steps = Heights(), []
    found = analyse(
        music.tracks,
        source,
        tmp_path / "kept",
        audio_path=music.path,
        progress=lambda done, total, what: steps.append((done, total, what)),
    )
    assert found.track_ids == tuple(name for name in music.paths for _ in range(2))
    assert found.starts.tolist() == [0, 12] * 4
    assert steps == [(number, 4, name) for number, name in enumerate(music.paths, 1)]
    assert source.heard == 8
    again = hear(music, tmp_path / "kept", source)
    assert source.heard == 8
    assert again.track_ids == found.track_ids
    assert np.array_equal(again.features(range(8)), found.features(range(8)))


def test_a_long_track_gives_eight_windows_over_its_length(music: Music, tmp_path: Path) -> None:
    music.tracks = [music.add("long", hz=300, seconds=12 * 40)]
    found = hear(music, tmp_path / "kept")
    assert len(found) == WINDOWS
    gaps = np.diff([0, *found.starts, 12 * 40])
    assert gaps.min() > 20
    assert gaps.max() < 90
    assert (found.starts % 12 == 0).all()


def test_a_short_track_is_completed(music: Music, tmp_path: Path) -> None:
    music.tracks = [music.add("short", hz=300, seconds=3)]
    found = hear(music, tmp_path / "kept")
    assert found.starts.tolist() == [0]
    assert found.features([0])[0, :, 0, 0] == pytest.approx(np.log2(301), abs=0.01)


def test_another_source_keeps_its_own(music: Music, tmp_path: Path) -> None:
    hear(music, tmp_path / "kept")
    other = Heights("heights-2")
    assert len(analysed(music.tracks, other, tmp_path / "kept")) == 0
    hear(music, tmp_path / "kept", other)
    assert other.heard == 8


def garble(music: Music, name: str) -> None:
    music.paths[name].write_bytes(b"RIFF" + bytes(100))
    digest = hashlib.sha256(music.paths[name].read_bytes()).hexdigest()
    place = [track.track_id for track in music.tracks].index(name)
    music.tracks[place] = replace(music.tracks[place], content_hash=digest)


def silence(music: Music, name: str) -> None:
    import soundfile

    soundfile.write(music.paths[name], np.zeros(13 * RATE), RATE)
    digest = hashlib.sha256(music.paths[name].read_bytes()).hexdigest()
    place = [track.track_id for track in music.tracks].index(name)
    music.tracks[place] = replace(music.tracks[place], content_hash=digest)


def forget(music: Music, name: str) -> None:
    del music.paths[name]


def delete(music: Music, name: str) -> None:
    music.paths[name].unlink()


def alter(music: Music, name: str) -> None:
    tone(music.paths[name], hz=123, seconds=25, rate=RATE)


def no_hash(music: Music, name: str) -> None:
    place = [track.track_id for track in music.tracks].index(name)
    music.tracks[place] = replace(music.tracks[place], content_hash="")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (garble, "audio"),
        (silence, "silent"),
        (forget, "is gone"),
        (delete, "no such file"),
        (alter, "changed since it was read"),
        (no_hash, "changed since it was read"),
    ],
)
def test_a_track_that_cannot_be_read_is_told_and_stops_nothing(
    music: Music, tmp_path: Path, spoil: Callable[[Music, str], None], words: str
) -> None:
    spoil(music, "middle")
    found = hear(music, tmp_path / "kept")
    assert set(found.track_ids) == {"low", "high", "higher"}
    assert list(found.unread) == ["middle"]
    assert re.search(words, found.unread["middle"])
    assert analysed(music.tracks, Heights(), tmp_path / "kept").unread == found.unread


def test_a_track_that_can_be_read_again_is_no_longer_told(music: Music, tmp_path: Path) -> None:
    path = music.paths.pop("middle")
    assert "middle" in hear(music, tmp_path / "kept").unread
    music.paths["middle"] = path
    found = hear(music, tmp_path / "kept")
    assert not found.unread
    assert "middle" in found.places


def test_a_stopped_analysis_keeps_what_it_heard_and_goes_on(music: Music, tmp_path: Path) -> None:
    source = Heights()
    asked = iter([False, True])
    found = analyse(
        music.tracks,
        source,
        tmp_path / "kept",
        audio_path=music.path,
        workers=1,
        cancelled=lambda: next(asked),
    )
    assert set(found.track_ids) >= {"low", "middle"}
    assert len(set(found.track_ids)) < 4
    assert len(set(hear(music, tmp_path / "kept", source).track_ids)) == 4
    assert source.heard == 8


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x93NUMPY"])
def test_damaged_features_are_heard_again(music: Music, tmp_path: Path, content: bytes) -> None:
    first = hear(music, tmp_path / "kept")
    path = first.files[0]
    path.write_bytes(content)
    with pytest.raises(ExpressiveError, match="gone or damaged"):
        first.features([0])
    source = Heights()
    assert len(hear(music, tmp_path / "kept", source)) == 8
    assert source.heard == 2


def test_a_clip_from_anywhere_has_the_features_of_its_window(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    there = clip_features(music.paths["high"], Heights(), start=12)
    assert there == pytest.approx(found.features([5]), rel=1e-3)
    assert clip_features(music.paths["high"], Heights(), start=20.5).shape == (1, 3, 1, 2)
    for start in (24.5, 1_000, -1):
        with pytest.raises(ExpressiveError, match="cannot be heard"):
            clip_features(music.paths["high"], Heights(), start=start)


def test_nearest_first_and_never_the_query_itself(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    query = found.features([found.places["high"][0]])
    answer = rank(Nearness(), query, found, EQUAL, own="high")
    assert [hit.track_id for hit in answer.hits] == ["higher", "middle", "low"]
    assert answer.compared == "3 tracks were compared by nearness."
    for hit in answer.hits:
        assert set(hit.aspects) == set(KEYS)
        assert hit.total == pytest.approx(sum(hit.aspects.values()), abs=1e-5)
        assert hit.start in (0, 12)
    assert rank(Nearness(), query, found, EQUAL).hits[0].track_id == "high"


def test_the_best_window_of_a_track_answers(tmp_path: Path) -> None:
    import soundfile

    music = Music(tmp_path / "music")
    music.add("query", hz=700, seconds=12)
    two = music.add("two", hz=200, seconds=12)
    time = np.arange(12 * RATE) / RATE
    both = np.concatenate([np.sin(2 * np.pi * hz * time) for hz in (200, 700)])
    soundfile.write(music.paths["two"], 0.3 * both, RATE)
    digest = hashlib.sha256(music.paths["two"].read_bytes()).hexdigest()
    music.tracks[1] = replace(two, content_hash=digest)
    found = hear(music, tmp_path / "kept")
    [hit] = rank(Nearness(), found.features([0]), found, EQUAL, own="query").hits
    assert (hit.track_id, hit.start) == ("two", 12)


def test_weights_decide(music: Music, tmp_path: Path) -> None:
    import soundfile

    quiet = music.add("quiet", hz=800, seconds=25)
    time = np.arange(25 * RATE) / RATE
    soundfile.write(music.paths["quiet"], 0.02 * np.sin(2 * np.pi * 800 * time), RATE)
    digest = hashlib.sha256(music.paths["quiet"].read_bytes()).hexdigest()
    music.tracks[-1] = replace(quiet, content_hash=digest)
    found = hear(music, tmp_path / "kept")
    query = found.features([found.places["high"][0]])
    height, level = np.eye(len(KEYS), dtype=np.float32)[:2]
    assert rank(Nearness(), query, found, height, own="high").hits[0].track_id == "quiet"
    assert rank(Nearness(), query, found, level, own="high").hits[-1].track_id == "quiet"


def test_ties_order_by_track_id(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    query = found.features([0])
    last = np.eye(len(KEYS), dtype=np.float32)[-1]
    hits = rank(Nearness(), query, found, last).hits
    assert [hit.track_id for hit in hits] == sorted(music.paths)
    assert {hit.start for hit in hits} == {0}


def test_what_was_kept_answers_without_reading_features(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    kept, query = represent(Nearness(), found), found.features([0])
    for path in set(found.files):
        path.unlink()
    answer = rank(Nearness(), query, found, EQUAL, kept=kept, own="low")
    assert [hit.track_id for hit in answer.hits] == ["middle", "high", "higher"]
    with pytest.raises(ExpressiveError, match="is of 7 clips, there are 8"):
        rank(Nearness(), query, found, EQUAL, kept=kept[1:])


def test_a_slow_scorer_ranks_the_first_of_a_quick_one_anew(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    query = found.features([0])
    quick = rank(Cosine(), query, found, EQUAL, own="low")
    slow = rerank(Nearness(), query, found, EQUAL, quick, count=2)
    assert {hit.track_id for hit in slow.hits} == {hit.track_id for hit in quick.hits[:2]}
    assert slow.compared == (
        "The 2 tracks that a quick ranking put first were compared by nearness."
    )
    everything = rerank(Nearness(), query, found, EQUAL, quick)
    whole = rank(Nearness(), query, found, EQUAL, own="low")
    assert everything.hits == whole.hits
    assert rerank(Nearness(), query, found, EQUAL, replace(quick, hits=())).hits == ()


@pytest.mark.parametrize(
    "weights", [[], [1, 1], [0] * 5, [-1, 1, 1, 1, 1], [np.nan] * 5, [np.inf, 0, 0, 0, 0]]
)
def test_weights_that_mean_nothing_are_refused(
    music: Music, tmp_path: Path, weights: list[float]
) -> None:
    found = hear(music, tmp_path / "kept")
    with pytest.raises(ExpressiveError, match=r"[Ww]eight"):
        rank(Nearness(), found.features([0]), found, np.array(weights, np.float32))


def test_scores_that_are_not_finite_are_refused(music: Music, tmp_path: Path) -> None:
    found = hear(music, tmp_path / "kept")
    query = np.full_like(found.features([0]), np.nan)
    with pytest.raises(ExpressiveError, match="not finite"):
        rank(Nearness(), query, found, EQUAL)


def test_an_empty_library_is_said(tmp_path: Path) -> None:
    found = analyse([], Heights(), tmp_path / "kept", audio_path=lambda _: tmp_path)
    with pytest.raises(ExpressiveError, match="Analyse the library first"):
        represent(Nearness(), found)


def test_learned_scorers_rank_a_library_too(tmp_path: Path) -> None:
    """Two files of nearly one sound are nearest, whatever the weights that were drawn."""
    music, source = Music(tmp_path / "music"), Layered()
    for name, hz in {"a": 220, "b": 221, "c": 1_500}.items():
        music.add(name, hz=hz, seconds=13)
    found = analyse(music.tracks, source, tmp_path / "kept", audio_path=music.path)
    query = found.features([found.places["a"][0]])
    for kind in ("distilled", "oracle"):
        write_scorer(tmp_path / kind, kind=kind)
    retriever = RetrieverScorer.load(tmp_path / "distilled")
    quick = rank(retriever, query, found, EQUAL, own="a")
    assert [hit.track_id for hit in quick.hits] == ["b", "c"]
    slow = rerank(OracleScorer.load(tmp_path / "oracle"), query, found, EQUAL, quick)
    assert slow.compared.endswith("were compared by oracle.")
    assert {hit.track_id for hit in slow.hits} == {"b", "c"}
