"""A folder of broken, odd and good files, and what should become of each."""

from __future__ import annotations

import os
import struct
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

RATE = 44_100


def sine(
    seconds: float = 2.0, *, hz: float = 440.0, rate: int = RATE, channels: int = 1
) -> NDArray[np.float32]:
    """A sine at -6 dBFS, float32 [n, channels]."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * hz * time, dtype=np.float32)
    return np.repeat(wave[:, None].astype(np.float32), channels, axis=1)


def write_av(
    path: Path, audio: NDArray[Any], *, codec: str, container: str, rate: int = RATE, **options: str
) -> Path:
    """Encode float [n, channels] by ffmpeg."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[audio.shape[1]]
    with av.open(os.fspath(path), "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        planes = np.ascontiguousarray(audio.T, np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        for part in (frame, None):
            for packet in stream.encode(part):
                out.mux(packet)
    return path


def write_film(path: Path) -> Path:
    """A short video without sound."""
    with av.open(os.fspath(path), "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(20):
            picture = np.full((48, 64, 3), shade * 10, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def _id3(title: str, cover: bytes = b"") -> bytes:
    """An ID3v2.3 tag with a UTF-8-safe Latin title and, perhaps, a cover."""
    frames = [(b"TIT2", b"\x00" + title.encode("latin-1"))]
    if cover:
        frames.append((b"APIC", b"\x00image/png\x00\x03\x00" + cover))
    body = b"".join(name + struct.pack(">I", len(data)) + b"\0\0" + data for name, data in frames)
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + body


def png(*, side: int = 32, noise: bool = False) -> bytes:
    """A PNG; of noise it is about 3 bytes a pixel."""
    import io

    pixels = np.full((side, side, 3), 90, np.uint8)
    if noise:
        pixels = np.random.default_rng(5).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def make_odd_files(folder: Path) -> dict[str, str]:
    """Write the files.

    Returns
    -------
    dict
        By path relative to ``folder``: ``"track"``, or the code under which it is refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str] = {}
    hz = iter(range(200, 4_000, 37))  # no two good files hold the same audio

    def put(name: str, content: bytes, what: str) -> None:
        (folder / name).write_bytes(content)
        expected[name] = what

    def sound(name: str, audio: NDArray[Any], what: str = "track", **how: Any) -> bytes:
        rate = how.pop("rate", RATE)
        soundfile.write(folder / name, audio, rate, **({"format": "WAV"} | how))
        expected[name] = what
        return (folder / name).read_bytes()

    def tone(seconds: float = 2.0, **how: Any) -> NDArray[np.float32]:
        return sine(seconds, hz=next(hz), **how)

    # Good files, one of each kind.
    wav = sound("plain.wav", tone(3.0, channels=2))
    mp3 = sound("plain.mp3", tone(3.0, channels=2), format="MP3")
    flac = sound("plain.flac", tone(3.0, channels=2), format="FLAC")
    ogg = sound("plain.ogg", tone(3.0, channels=2), format="OGG", subtype="VORBIS")
    sound("plain.opus", tone(3.0, rate=48_000), format="OGG", subtype="OPUS", rate=48_000)
    sound("plain.aiff", tone(3.0), format="AIFF")
    write_av(folder / "plain.m4a", tone(3.0, channels=2), codec="aac", container="ipod")
    write_av(folder / "lossless.m4a", tone(3.0, channels=2), codec="alac", container="ipod")
    write_av(folder / "plain.aac", tone(3.0), codec="aac", container="adts")
    expected |= dict.fromkeys(("plain.m4a", "lossless.m4a", "plain.aac"), "track")

    # Good audio in an unusual shape.
    sound("surround.wav", tone(channels=6), format="WAVEX")
    sound("surround.flac", tone(channels=6), format="FLAC")
    sound("fast.wav", tone(rate=192_000), rate=192_000)
    sound("slow.wav", tone(rate=8_000), rate=8_000)
    sound("deep.wav", tone(), subtype="PCM_24")
    sound("loud.wav", 4 * tone(), subtype="FLOAT")
    sound("bytes.wav", tone(), subtype="PCM_U8")
    sound("half-a-second.wav", tone(0.5))

    # Good audio under an odd name.
    sound("really-wav.mp3", tone())
    sound("really-mp3.wav", tone(), format="MP3")
    sound("music.txt", tone())
    sound("flac without ending", tone(), format="FLAC")
    sound(unicodedata.normalize("NFD", "Dvořák – Größe 🎻.wav"), tone())
    sound("n" * 246 + ".wav", tone())
    sound("-a 'name'\nwith \"all\" of it;$(x).wav", tone())

    # Good audio with odd surroundings.
    bare = sound("tagged.mp3", tone(), format="MP3")
    put("tagged.mp3", _id3("T" * 1_000_000, png(side=1_000, noise=True)) + bare, "track")
    bare = sound("broken-id3.mp3", tone(), format="MP3")
    put("broken-id3.mp3", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"?" * 300 + bare, "track")
    bare = sound("wrong-riff-size.wav", tone())
    put("wrong-riff-size.wav", bare[:4] + b"\x10\0\0\0" + bare[8:], "track")
    bare = sound("piped.wav", tone())
    at = bare.index(b"data") + 4
    streamed = bare[:4] + b"\xff" * 4 + bare[8:at] + b"\xff" * 4 + bare[at + 4 :]
    put("piped.wav", streamed, "track")

    # Not enough, or not fit, to be heard.
    put("empty.mp3", b"", "empty")
    sound("ten-milliseconds.wav", tone(0.01), "too-short")
    sound("nearly-half-a-second.wav", tone(0.49), "too-short")
    sound("silence.wav", np.zeros(RATE * 2), "silent")
    bad = tone()
    bad[RATE] = np.nan
    sound("nan.wav", bad, "not-finite", subtype="FLOAT")
    bad[RATE] = np.inf
    sound("inf.wav", bad, "not-finite", subtype="FLOAT")

    # Cut off or overwritten.
    put("header-only.wav", wav[:20], "damaged")
    put("cut.wav", wav[: len(wav) // 2], "damaged")
    put("cut.mp3", mp3[: len(mp3) // 2], "damaged")
    put("cut.flac", flac[: len(flac) // 2], "damaged")
    put("cut.ogg", ogg[: len(ogg) * 9 // 10], "track")  # an ogg does not say how long it is
    m4a = (folder / "plain.m4a").read_bytes()
    put("cut.m4a", m4a[: len(m4a) // 2], "damaged")  # without its index, which comes last
    quick = write_av(
        folder / "quick.m4a", tone(3.0), codec="aac", container="ipod", movflags="faststart"
    ).read_bytes()
    put("quick.m4a", quick[: len(quick) // 2], "damaged")
    middle = len(flac) // 2
    noise = np.random.default_rng(3).bytes(4_000)
    put("overwritten.flac", flac[:middle] + noise + flac[middle + 4_000 :], "damaged")

    # Not audio at all.
    put("one-byte.wav", b"R", "not-audio")
    put("random.mp3", np.random.default_rng(4).bytes(50_000), "not-audio")
    put("zeros.mp3", bytes(50_000), "not-audio")
    put("text.mp3", "Kein Ton, nur Größe.\n".encode() * 50, "not-audio")
    put("page.mp3", b"<!DOCTYPE html><html><body>Log in</body></html>", "not-audio")
    put("picture.flac", png(), "not-audio")
    put("list.mp3", b"#EXTM3U\n#EXTINF:3,x\nplain.wav\n", "not-audio")
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nplain.mp3\n#EXT-X-ENDLIST\n"
    put("hls.mp3", hls, "not-audio")
    put("concat.mp3", b"ffconcat version 1.0\nfile plain.wav\n", "not-audio")
    put("notes.mp3", b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0", "not-audio")
    put("score.mp3", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not-audio")
    put("._plain.mp3", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " * 4, "not-audio")
    with zipfile.ZipFile(folder / "archive.mp3", "w") as archive:
        archive.writestr("plain.wav", wav)
    write_film(folder / "film.m4a")
    expected |= dict.fromkeys(("archive.mp3", "film.m4a"), "not-audio")

    # Not files at all.
    (folder / "dangling.wav").symlink_to("gone.wav")
    (folder / "itself.wav").symlink_to("itself.wav")
    expected |= dict.fromkeys(("dangling.wav", "itself.wav"), "broken-link")
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.mp3").mkdir()
    expected |= dict.fromkeys(("pipe.wav", "folder.mp3"), "not-a-file")
    (folder / "inner").mkdir()
    (folder / "inner" / "up").symlink_to("..", target_is_directory=True)
    expected["inner/up"] = "link-loop"
    if os.geteuid() != 0:
        sound("locked.wav", tone(), "no-permission")
        (folder / "locked.wav").chmod(0)
    return expected
