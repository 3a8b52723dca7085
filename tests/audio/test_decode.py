"""What is decoded: the right sound, length, mix and rate, in small blocks."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from kindred.audio import sources
from kindred.audio.decode import AudioInfo, decode, open_audio, probe
from kindred.errors import AudioError
from tests.odd_files import RATE, sine, write_av

KINDS = [
    ("wav", {"subtype": "PCM_16"}),
    ("wav", {"subtype": "PCM_24"}),
    ("wav", {"subtype": "PCM_32"}),
    ("wav", {"subtype": "FLOAT"}),
    ("wav", {"subtype": "DOUBLE"}),
    ("wav", {"subtype": "PCM_U8"}),
    ("wav", {"format": "WAVEX"}),
    ("wav", {"format": "RF64"}),
    ("aiff", {"subtype": "PCM_24"}),
    ("caf", {}),
    ("flac", {}),
    ("ogg", {"subtype": "VORBIS"}),
    ("opus", {"format": "OGG", "subtype": "OPUS"}),
    ("mp3", {}),
    ("m4a", {"codec": "aac", "container": "ipod"}),
    ("aac", {"codec": "aac", "container": "adts"}),
    ("m4a", {"codec": "alac", "container": "ipod"}),
    ("mp3", {"codec": "libmp3lame", "container": "mp3", "write_xing": "0"}),
    ("mka", {"codec": "aac", "container": "matroska"}),
]


def write(path: Path, audio: np.ndarray, *, rate: int, how: dict[str, str]) -> Path:
    if "codec" in how:
        return write_av(path, audio, rate=rate, **how)
    soundfile.write(path, audio, rate, **how)
    return path


def sweep(seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """A sweep from 100 Hz to 3 kHz, whose position in time can be told."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (100 * time + 2_900 / seconds * time**2 / 2)
    return np.repeat(0.4 * np.sin(phase)[:, None], channels, axis=1)


@pytest.mark.parametrize(("suffix", "how"), KINDS)
def test_every_format_gives_the_same_sound(
    tmp_path: Path, suffix: str, how: dict[str, str]
) -> None:
    rate = 48_000 if suffix == "opus" else RATE
    path = write(tmp_path / f"sweep.{suffix}", sweep(5.0, rate), rate=rate, how=how)
    with open_audio(path, sample_rate=rate) as stream:
        heard = np.concatenate(list(stream.blocks()))
        assert stream.seconds == pytest.approx(heard.size / rate, abs=1e-9)
    wanted = sweep(5.0, rate, 1)[:, 0]
    assert stream.seconds == pytest.approx(5.0, abs=0.08)
    assert stream.info.sample_rate == rate
    assert stream.info.channels == 2
    # The nearest lag within a codec's delay.
    size = rate * 4
    lags = [
        np.corrcoef(wanted[lag : lag + size], heard[other : other + size])[0, 1]
        for lag, other in [(0, 0), (0, 1024), (0, 1105), (0, 2112), (0, 576), (0, 528 + 577)]
        if other + size <= heard.size
    ]
    assert max(lags) > (0.97 if how.get("subtype") == "OPUS" else 0.999)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("target", [8_000, 22_050, 48_000])
def test_resampling_keeps_a_1_khz_tone_at_1_khz(tmp_path: Path, rate: int, target: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(2.0, hz=1_000, rate=rate), rate, subtype="FLOAT")
    audio = decode(tmp_path / "a.wav", sample_rate=target)
    assert audio.size == pytest.approx(2 * target, abs=1)
    middle = audio[target // 2 : target // 2 + target]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(target)))
    assert np.argmax(spectrum) == 1_000
    assert np.abs(middle).max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("levels", "mono"),
    [
        ([0.5], 0.5),
        ([0.5, 0.25], 0.375),
        ([0.3, 0.6, 0.9], 0.6),
        ([0.1, 0.2, 0.3, 0.4], 0.25),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0.3),
        ([1.0, 0, 0, 0, 0, 0], 0.5 / (1 + np.sqrt(2))),
        ([0, 1.0, 0, 0, 0, 0], 0.5 / (1 + np.sqrt(2))),
        ([0, 0, 1.0, 0, 0, 0], np.sqrt(0.5) / (1 + np.sqrt(2))),
        ([0, 0, 0.1, 1.0, 0, 0], 0.1 * np.sqrt(0.5) / (1 + np.sqrt(2))),
        ([0, 0, 0, 0, 1.0, 0], np.sqrt(0.125) / (1 + np.sqrt(2))),
        ([0, 0, 0, 0, 0, 1.0], np.sqrt(0.125) / (1 + np.sqrt(2))),
        ([0.7] * 6, 0.7),
        ([0.2] * 8, 0.2),
    ],
)
def test_the_mix_to_mono_is_exact(tmp_path: Path, levels: list[float], mono: float) -> None:
    audio = np.tile(np.array(levels, np.float32), (8_000, 1))
    soundfile.write(tmp_path / "a.wav", audio, 8_000, subtype="FLOAT", format="WAVEX")
    heard = decode(tmp_path / "a.wav", sample_rate=8_000)
    np.testing.assert_allclose(heard, np.full(8_000, mono), rtol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [("m4a", "alac", "ipod"), ("m4a", "aac", "ipod"), ("mka", "aac", "matroska")],
)
def test_surround_by_ffmpeg_leaves_the_low_frequency_channel_out(
    tmp_path: Path, suffix: str, codec: str, container: str
) -> None:
    audio = np.zeros((RATE * 2, 6), np.float32)
    audio[:, 3] = sine(2.0, hz=60)[:, 0]
    audio[:, 2] = 0.1 * sine(2.0, hz=1_000)[:, 0]
    path = write_av(tmp_path / f"a.{suffix}", audio, codec=codec, container=container)
    heard = decode(path, sample_rate=RATE)[RATE // 2 : RATE * 3 // 2]
    spectrum = np.abs(np.fft.rfft(heard)) / (RATE / 2)
    assert spectrum[60] < 1e-3
    assert spectrum[1_000] == pytest.approx(0.05 * np.sqrt(0.5) / (1 + np.sqrt(2)), rel=0.02)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "ogg"])
def test_a_stream_in_small_blocks_equals_the_whole(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, sweep(7.3, RATE), RATE)
    monkeypatch.setattr(sources, "_BLOCK_SECONDS", 60)
    whole = decode(path, sample_rate=48_000)
    monkeypatch.undo()
    with open_audio(path, sample_rate=48_000) as stream:
        blocks = list(stream.blocks())
    assert max(block.size for block in blocks) <= 48_000 * 3
    assert len(blocks) >= 3
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)
    # An independent resampling of the whole, in one go.
    import soxr

    native = decode(path, sample_rate=RATE)
    np.testing.assert_allclose(soxr.resample(native, RATE, 48_000), whole, atol=1e-4)


def test_an_hour_is_streamed_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8_000, 2) as out:
        minute = sine(60.0, rate=8_000, channels=2)
        for _ in range(60):
            out.write(minute)
    total = largest = 0
    with open_audio(tmp_path / "long.wav", sample_rate=16_000) as stream:
        for block in stream.blocks():
            assert block.flags.owndata or block.base is not None
            total += block.size
            largest = max(largest, block.size)
        assert stream.seconds == 3_600.0
    assert total == pytest.approx(3_600 * 16_000, abs=1)
    assert largest <= 3 * 16_000


def test_a_block_stays_as_it_was_when_the_next_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sweep(6.0, 8_000, 1), 8_000, subtype="FLOAT")
    with open_audio(tmp_path / "a.wav", sample_rate=8_000) as stream:
        blocks = list(stream.blocks())
    np.testing.assert_allclose(np.concatenate(blocks), sweep(6.0, 8_000, 1)[:, 0], atol=1e-6)


def test_max_seconds_stops_early_and_judges_nothing_later(tmp_path: Path) -> None:
    audio = sine(4.0, rate=8_000)
    audio[-10:] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, 8_000, subtype="FLOAT")
    assert decode(tmp_path / "a.wav", sample_rate=16_000, max_seconds=0.25).size == 4_000
    with pytest.raises(AudioError) as caught:
        decode(tmp_path / "a.wav", sample_rate=16_000)
    assert caught.value.code == "not-finite"
    assert "2.0 s" in str(caught.value)


def test_probe_tells_what_the_header_says(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", sine(2.0, rate=96_000, channels=2), 96_000)
    assert probe(tmp_path / "a.flac") == AudioInfo("flac", 96_000, 2, 2.0)


@pytest.mark.parametrize(
    ("level", "code"), [(10 ** (-91 / 20), "silent"), (10 ** (-89 / 20), "track"), (0.0, "silent")]
)
def test_silence_is_below_minus_90_dbfs(tmp_path: Path, level: float, code: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8_000, level), 8_000, subtype="FLOAT")
    try:
        decode(tmp_path / "a.wav", sample_rate=8_000)
        got = "track"
    except AudioError as error:
        got = error.code
    assert got == code


def test_channels_that_cancel_are_silent_to_a_mono_ear(tmp_path: Path) -> None:
    audio = sine(1.0, channels=2) * np.array([1, -1], np.float32)
    soundfile.write(tmp_path / "a.wav", audio, RATE)
    with pytest.raises(AudioError, match="mixed to mono"):
        decode(tmp_path / "a.wav", sample_rate=RATE)


def test_an_mp3_without_a_header_is_decoded_to_its_end(tmp_path: Path) -> None:
    """A variable bitrate without a Xing header makes every estimate of the length wrong."""
    audio = np.concatenate((sine(3.0), np.random.default_rng(0).normal(0, 0.2, (RATE * 9, 1))))
    path = write_av(
        tmp_path / "a.mp3", audio, codec="libmp3lame", container="mp3", write_xing="0", q="4"
    )
    with open_audio(path, sample_rate=RATE) as stream:
        for _ in stream.blocks():
            pass
    assert stream.seconds == pytest.approx(12.0, abs=0.1)


def test_a_rate_that_changes_within_the_file_is_followed(tmp_path: Path) -> None:
    first = write_av(tmp_path / "1.aac", sine(2.0), codec="aac", container="adts").read_bytes()
    second = write_av(
        tmp_path / "2.aac", sine(2.0, rate=32_000), codec="aac", container="adts", rate=32_000
    ).read_bytes()
    (tmp_path / "both.aac").write_bytes(first + second)
    with open_audio(tmp_path / "both.aac", sample_rate=16_000) as stream:
        audio = np.concatenate(list(stream.blocks()))
    assert stream.seconds == pytest.approx(4.0, abs=0.15)
    for half in (audio[8_000:24_000], audio[40_000:56_000]):
        spectrum = np.abs(np.fft.rfft(half * np.hanning(16_000)))
        assert np.argmax(spectrum) == 440


def test_mp4_with_picture_and_sound_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(10):
            picture = np.zeros((48, 64, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sine(1.0).T), format="fltp", layout="mono"
        )
        frame.sample_rate = RATE
        for part in (frame, None):
            out.mux(sound.encode(part))
        out.mux(video.encode(None))
    assert probe(path).format == "mp4"
    assert decode(path, sample_rate=8_000).size == pytest.approx(8_000, abs=500)


def test_a_cover_in_an_m4a_is_not_taken_for_a_film(tmp_path: Path) -> None:
    from mutagen.mp4 import MP4, MP4Cover

    from tests.odd_files import png

    path = write_av(tmp_path / "a.m4a", sine(), codec="aac", container="ipod")
    tagged = MP4(path)
    tagged["covr"] = [MP4Cover(png(), imageformat=MP4Cover.FORMAT_PNG)]
    tagged.save()
    assert probe(path).format == "m4a"


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_header_with_an_absurd_rate_is_damaged(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(4_000), rate)
    with pytest.raises(AudioError) as caught:
        decode(tmp_path / "a.wav", sample_rate=48_000)
    assert caught.value.code == "damaged"
    assert f"{rate} Hz" in str(caught.value)


def test_files_are_closed(tmp_path: Path) -> None:
    import os

    good = write_av(tmp_path / "a.m4a", sine(), codec="aac", container="ipod")
    (tmp_path / "bad.m4a").write_bytes(good.read_bytes()[:5_000])
    soundfile.write(tmp_path / "a.wav", sine(), RATE)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        probe(good)
        probe(tmp_path / "a.wav")
        with pytest.raises(AudioError):
            probe(tmp_path / "bad.m4a")
    assert len(os.listdir("/proc/self/fd")) == before
