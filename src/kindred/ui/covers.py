"""Pictures for tracks, as data URIs, so that drawing a card never asks for another file.

Embedded art arrives as a small thumbnail from ingest. A track without art gets a placeholder drawn
from its id: the same track always looks the same, and neighbours in a list look different.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import lru_cache
from xml.sax.saxutils import escape

# Two stops of a gradient and the tone of the drawing on it; all carry a white play button.
_PALETTES = (
    ("#8c3b2a", "#d98e5f", "#f6dcc4"),
    ("#274a5a", "#6c9aa0", "#dcebe6"),
    ("#4a2f4d", "#a8738f", "#f2dbe4"),
    ("#3e4a2c", "#93a063", "#ecefd3"),
    ("#6b4a1f", "#cfa24f", "#f8e8c2"),
    ("#2f3a5f", "#7f88b8", "#e0e3f4"),
    ("#5a2a33", "#b86a6a", "#f6d9d2"),
    ("#1f4a44", "#62a08a", "#d6eee2"),
    ("#46352b", "#a08469", "#efe2d3"),
    ("#4c3a6b", "#9c86bf", "#e9e0f5"),
)

_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def initials(title: str) -> str:
    """Up to two letters that stand for a title; empty when it has no letter or digit."""
    words = ("".join(c for c in word if c.isalnum()) for word in title.split())
    return "".join(word[0] for word in words if word)[:2].upper()


def _rings(seed: bytes, tone: str) -> str:
    x, y = 12 + seed[2] % 76, 8 + seed[3] % 50
    return "".join(
        f'<circle cx="{x}" cy="{y}" r="{9 + 11 * i}" fill="none" stroke="{tone}" '
        f'stroke-width="{2 + seed[4 + i] % 4}" opacity="{0.55 - 0.06 * i:.2f}"/>'
        for i in range(6)
    )


def _bars(seed: bytes, tone: str) -> str:
    parts = []
    for i in range(9):
        height = 14 + seed[4 + i] % 46
        parts.append(
            f'<rect x="{8 + 9.8 * i:.1f}" y="{44 - height / 2:.1f}" width="5" height="{height}" '
            f'rx="2.5" fill="{tone}" opacity="{0.25 + (seed[14 + i] % 40) / 100:.2f}"/>'
        )
    return "".join(parts)


def _waves(seed: bytes, tone: str) -> str:
    parts = []
    phase = seed[2] / 255 * 2 * math.pi
    for i in range(6):
        height, swing = 12 + 13 * i, 4 + seed[4 + i] % 10
        points = (
            f"{x} {height + swing * math.sin(phase + 0.5 * i + x / (13 + seed[3] % 9)):.1f}"
            for x in range(-4, 105, 4)
        )
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{tone}" '
            f'stroke-width="2.2" opacity="{0.2 + 0.07 * i:.2f}"/>'
        )
    return "".join(parts)


def _discs(seed: bytes, tone: str) -> str:
    return "".join(
        f'<circle cx="{seed[4 + i] % 100}" cy="{seed[9 + i] % 80}" r="{12 + seed[14 + i] % 24}" '
        f'fill="{tone}" opacity="0.17"/>'
        for i in range(5)
    )


_DRAWINGS = (_rings, _bars, _waves, _discs)


@lru_cache(maxsize=4096)
def placeholder_cover(track_id: str, title: str) -> str:
    """Draw a cover for a track that has none.

    Parameters
    ----------
    track_id : str
        Decides colours and drawing.
    title : str
        Gives the initials in the corner.

    Returns
    -------
    str
        An SVG of 100 by 100 units as a ``data:`` URI.
    """
    seed = hashlib.sha256(track_id.encode()).digest()
    dark, light, tone = _PALETTES[seed[0] % len(_PALETTES)]
    turn = seed[1] % 4 * 90
    drawing = _DRAWINGS[seed[31] % len(_DRAWINGS)](seed, tone)
    letters = escape(initials(title))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
        f'<defs><linearGradient id="g" gradientTransform="rotate({turn % 180 / 2 + 20} .5 .5)">'
        f'<stop stop-color="{dark}"/><stop offset="1" stop-color="{light}"/>'
        "</linearGradient></defs>"
        f'<rect width="100" height="100" fill="url(#g)"/>{drawing}'
        f'<text x="8" y="92" font-family="Georgia, serif" font-size="19" fill="#fff" '
        f'opacity="0.92">{letters}</text></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def cover_uri(thumbnail: bytes | None) -> str | None:
    """Return a picture that came with a track for a page.

    Parameters
    ----------
    thumbnail : bytes or None
        The picture as ingest keeps it: WebP; PNG, JPEG and GIF are told by their first bytes.

    Returns
    -------
    str or None
        A ``data:`` URI. None when there is no picture or its kind is unknown; cards and the player
        then draw :func:`placeholder_cover`.
    """
    if not thumbnail:
        return None
    if thumbnail[:4] == b"RIFF" and thumbnail[8:12] == b"WEBP":
        kind = "image/webp"
    elif not (kind := next((k for mark, k in _SIGNATURES if thumbnail.startswith(mark)), "")):
        return None
    return f"data:{kind};base64,{base64.b64encode(thumbnail).decode()}"
