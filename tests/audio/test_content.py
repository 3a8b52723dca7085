"""Content told by its first bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kindred.audio.content import AUDIO_SUFFIXES, is_audio_head, looks_like, sha256_of
from tests.odd_files import make_odd_files


def test_good_audio_is_known_by_64_bytes_and_the_rest_is_not(tmp_path: Path) -> None:
    expected = make_odd_files(tmp_path)
    for name, code in expected.items():
        if code in {"track", "damaged", "too-short", "silent", "not-finite"}:
            assert is_audio_head((tmp_path / name).read_bytes()[:64]), name
        elif code == "not-audio":
            assert not is_audio_head((tmp_path / name).read_bytes()[:64]), name


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"PK\x03\x04rest", "zip"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"%PDF-1.4", "PDF"),
        (b"<!DOCTYPE HTML>", "HTML"),
        (b"\xef\xbb\xbf  <html>", "HTML"),
        (b"MThd\0\0\0\6", "MIDI"),
        (b"\x00\x05\x16\x07", "macOS"),
        (b"#EXTM3U\n", "playlist"),
        (b"Title;Composer\n", "text"),
        ("Dvořák".encode(), "text"),
        ("Dvořák".encode()[:-5], "text"),
        (b"\xff\xfeD\0v\0", "text"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypisom", "MP4"),
        (bytes(64), "zeros"),
    ],
)
def test_what_is_not_audio_has_a_name(head: bytes, word: str) -> None:
    assert word in (looks_like(head) or "")
    assert not is_audio_head(head)


@pytest.mark.parametrize("head", [b"", b"R", b"\xff", b"\xff\xfb", b"\xff\xff\xff\xff", b"RIFF"])
def test_too_little_is_not_audio(head: bytes) -> None:
    assert not is_audio_head(head)


def test_noise_is_nothing() -> None:
    heads = [np.random.default_rng(seed).bytes(4_096) for seed in range(200)]
    assert {looks_like(head) for head in heads} == {None}
    assert sum(is_audio_head(head) for head in heads) <= 1  # two bytes may always agree by chance


def test_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_suffixes_are_lower_case_with_their_dot() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in AUDIO_SUFFIXES)
    assert {".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aiff"} <= AUDIO_SUFFIXES
