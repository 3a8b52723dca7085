"""The table of the demo library, without rendering any of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import PurePosixPath

from kindred.demo import demo_tracks
from kindred.demo.ensembles import BY_NAME, ENSEMBLES
from kindred.demo.pieces import SPELLINGS, pieces
from kindred.demo.score import package_folder
from kindred.demo.tracks import FORMATS, Track, safe_name
from kindred.library.composers import standardise_composer

TRACKS = demo_tracks()


def by_composer() -> dict[str, list[Track]]:
    found: dict[str, list[Track]] = defaultdict(list)
    for track in TRACKS:
        found[track.standard].append(track)
    return found


def test_it_is_large_and_mixed_enough() -> None:
    works = {name: {track.work for track in tracks} for name, tracks in by_composer().items()}
    assert len(TRACKS) >= 64
    assert len(works) >= 10
    assert sum(len(names) >= 4 for names in works.values()) >= 8


def test_several_works_are_played_more_than_once_and_never_by_the_same_ensemble() -> None:
    played: dict[str, list[str]] = defaultdict(list)
    for track in TRACKS:
        played[track.source].append(track.artist)
    again = [artists for artists in played.values() if len(artists) > 1]
    assert len(again) >= 8
    assert all(len(set(artists)) == len(artists) for artists in again)


def test_the_ensemble_does_not_give_the_composer_away() -> None:
    artists: dict[str, list[str]] = defaultdict(list)
    for track in TRACKS:
        artists[track.standard].append(track.artist)
    for names in artists.values():
        if len(names) >= 4:
            assert max(Counter(names).values()) / len(names) < 0.6
    used = Counter(name for names in artists.values() for name in names)
    assert set(used) == {ensemble.name for ensemble in ENSEMBLES}


def test_formats_rates_and_channels_are_dealt() -> None:
    shares = Counter(track.format for track in TRACKS)
    assert set(shares) == set(FORMATS)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert {track.sample_rate for track in TRACKS} == {44_100, 48_000}
    assert 2 <= sum(track.channels == 1 for track in TRACKS) <= len(TRACKS) // 5


def test_other_spellings_are_used_and_mean_the_same_composer() -> None:
    assert sum(track.composer != track.standard for track in TRACKS) >= 10
    for name, spellings in SPELLINGS.items():
        assert {standardise_composer(text) for text in (name, *spellings)} == {name}
    assert {piece.composer for piece in pieces()} >= set(SPELLINGS)


def test_every_score_is_in_the_corpus() -> None:
    corpus = package_folder("music21", "") / "corpus"
    missing = [p.source for p in pieces() if not (corpus / p.source.partition("#")[0]).is_file()]
    assert missing == []


def test_paths_are_safe_and_differ_even_without_case() -> None:
    assert len({track.path.casefold() for track in TRACKS}) == len(TRACKS)
    for track in TRACKS:
        parts = PurePosixPath(track.path).parts
        assert len(parts) == 3
        assert all(safe_name(part[:80]) == part[:80].rstrip(" .") for part in parts)
        assert max(map(len, parts)) <= 90


def test_albums_hold_several_tracks_numbered_from_one() -> None:
    albums: dict[str, list[int]] = defaultdict(list)
    for track in TRACKS:
        albums[track.album].append(track.number)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in albums.values())
    assert min(map(len, albums.values())) >= 2


def test_a_recipe_has_a_digest_of_its_own() -> None:
    assert len({track.digest for track in TRACKS}) == len(TRACKS)
    assert [track.digest for track in demo_tracks()] == [track.digest for track in TRACKS]
    assert TRACKS[0].digest != demo_tracks(seed=2)[0].digest


def test_no_ensemble_leaves_the_general_midi_range() -> None:
    for ensemble in BY_NAME.values():
        for instrument in ensemble.instruments:
            assert 0 <= instrument.program <= 127
            assert instrument.low + 24 <= instrument.high


def test_names_are_made_safe() -> None:
    assert safe_name('  A/B: "C"?  . ') == "A-B- -C-"


def test_importing_the_demo_is_light() -> None:
    heavy = "{'numpy', 'music21', 'PIL', 'av', 'soundfile', 'tinysoundfont', 'mutagen'}"
    code = f"import sys, kindred.demo; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
