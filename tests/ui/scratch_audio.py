"""Sounds and cards for the scratch app: tones, one broken file and one that is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf

from kindred.ui.cards import CardItem

RATE = 16_000
SECONDS = 30.0
HOSTILE = "<img src=x onerror=alert(1)>"


def make_files(folder: Path) -> None:
    """Write the tones once; ``gone`` is left out on purpose and ``damaged`` is not audio."""
    rng = np.random.default_rng(5)
    seconds = np.arange(int(RATE * SECONDS)) / RATE
    for number in range(1, 13):
        beat = 0.15 + 0.85 * np.abs(np.sin(np.pi * seconds * (0.05 + 0.03 * number)))
        tone = np.sin(2 * np.pi * (110 + 40 * number) * seconds)
        noise = rng.normal(0, 0.05, seconds.size)
        sf.write(folder / f"s{number:02d}.wav", 0.25 * beat * tone + 0.1 * beat * noise, RATE)
    (folder / "damaged.wav").write_bytes(b"This is not audio." * 50)


def peaks(number: int, columns: int = 120) -> bytes:
    """Return a waveform that looks like music: slow swells, fast beats."""
    rng = np.random.default_rng(number)
    x = np.linspace(0, 1, columns)
    swell = 0.35 + 0.65 * np.abs(np.sin(np.pi * (x * (1 + number % 5) + 0.13 * number)))
    return (255 * np.clip(swell * rng.uniform(0.45, 1.0, columns), 0, 1)).astype(np.uint8).tobytes()


def items(*, folder: Path, url: Callable[[str], str]) -> list[CardItem]:
    """Twelve tracks as different as a library has them."""
    rows = [
        ("Nocturne in E-flat major, Op. 9 No. 2", "Frédéric Chopin", "Maria João Pires"),
        (
            "Sinfonie Nr. 3 in d-Moll, VI. Langsam. Ruhevoll. Empfunden: Was mir die Liebe "
            "erzählt (Live at the Concertgebouw, remastered)",
            "Gustav Mahler",
            "Royal Concertgebouw Orchestra, Riccardo Chailly",
        ),
        (HOSTILE, "<b>Nobody</b>", ""),
        ("夜想曲 第20番 嬰ハ短調", "フレデリック・ショパン", "辻井伸行"),
        ("", "", ""),
        ("Spiegel im Spiegel", "Arvo Pärt", "Angèle Dubeau & La Pietà"),
        ("ليالي الأنس", "فريد الأطرش", "أسمهان"),
        ("So What", "", "Miles Davis"),
        ("Gymnopédie No. 1: Lent et douloureux", "Erik Satie", "Pascal Rogé"),
        ("Донаудонауобербургдампфшиффартсгезельшафт", "Сергей Рахманинов", ""),
        ("Clair de lune", "Claude Debussy", "Claude Debussy"),
        ("Untitled demo 7", "", "Unknown Band With A Rather Long Name From Nowhere"),
    ]
    albums = ["Nocturnes", "Symphony No. 3 — The Decca Recordings 1994–2004", "", "ノクターン集"]
    genres = ["Classical", "Romantic", "", "Piano", "Ambient / Drone / Experimental", "Jazz"]
    made = []
    for i, (title, composer, artist) in enumerate(rows):
        number = i + 1
        track_id = f"s{number:02d}"
        share = np.random.default_rng(number).dirichlet([2, 2, 2, 1.2])
        names = ("timbre", "harmony", "rhythm", "dynamics")
        made.append(
            CardItem(
                track_id=track_id,
                title=title,
                composer=composer,
                artist=artist,
                album=albums[i % 4],
                genre=genres[i % 6],
                year=None if i == 4 else 1890 + 11 * i,
                format=["flac", "mp3", "wav"][i % 3],
                duration=SECONDS,
                similarity=None if i == 4 else round(0.9712 - 0.083 * i, 4),
                reasons=None
                if i in (4, 9)
                else dict(zip(names, (float(s) for s in share), strict=True)),
                peaks=b"" if i == 4 else peaks(number),
                url="" if i == 11 else url(track_id),
                path=str(folder / f"{track_id}.wav"),
                rank=number,
            )
        )
    return made
