"""The one player of the app: a bar at the foot of the window through which everything sounds.

Mount it once on every page with :func:`player`. The bar and its sound live in the browser window,
so they outlast reruns and page switches; Python only passes data. Two ways start a track:

- in the browser, by the window event ``kindred:play`` (see ``static/player.js``), which the cards
  dispatch inside the click;
- from Python, by ``player(track=..., autoplay=True)``. Such an order is carried out once, however
  often a rerun repeats it; a new ``request`` number orders the same track again.

Under plain ``streamlit run`` nothing serves ``/audio``. Then ``served`` is False and the track is
played by ``st.audio`` from its path.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

_STATIC = Path(__file__).parent / "static"


def static_text(*names: str) -> str:
    """Join files of ``static/``, which are sent inline: there is no build and no second request."""
    return "\n".join((_STATIC / name).read_text("utf-8") for name in names)


def encode_peaks(peaks: Sequence[int]) -> str:
    """Pack waveform columns (0..255) as base64, a third of their size as JSON numbers."""
    return base64.b64encode(bytes(peaks)).decode()


@dataclass(frozen=True, kw_only=True)
class PlayerTrack:
    """What the player needs to know of one track.

    Attributes
    ----------
    track_id : str
        Tells tracks apart; cards with the same id follow the player.
    title, subtitle : str
        Shown as text, never as markup. The subtitle is the composer or artist.
    url : str
        Where the browser gets the audio, such as ``/audio/<track_id>``.
    path : str
        The file, for the fallback without an audio route.
    cover : str or None
        A ``data:`` URI or an address on the app's own origin.
    peaks : sequence of int
        Waveform columns 0..255, left to right.
    duration : float
        Seconds; shown until the browser has read the file. 0 when unknown.
    """

    track_id: str
    title: str
    subtitle: str = ""
    url: str = ""
    path: str = ""
    cover: str | None = None
    peaks: Sequence[int] = b""
    duration: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what is sent to the browser; the path stays here."""
        return {
            "track_id": self.track_id,
            "title": self.title,
            "subtitle": self.subtitle,
            "url": self.url,
            "cover": self.cover,
            "peaks": encode_peaks(self.peaks),
            "duration": self.duration,
        }


_MOUNT = st.components.v2.component(
    "kindred_player",
    css=static_text("wave.css", "player.css"),
    js=static_text("parts.js", "player.js"),
)


def player(
    *,
    served: bool,
    track: PlayerTrack | None = None,
    autoplay: bool = False,
    queue: Sequence[PlayerTrack] = (),
    request: int = 0,
) -> None:
    """Mount the player; call it once on every page.

    Parameters
    ----------
    served : bool
        Whether this process serves ``/audio``. If not, ``track`` is played by ``st.audio``.
    track : PlayerTrack or None
        A track to bring into the bar. ``None`` leaves the bar as it is.
    autoplay : bool
        Start it. Without, a track waits in the bar unless another one is playing.
    queue : sequence of PlayerTrack
        What "next" and "previous" go through when a started track brings no queue of its own.
    request : int
        Raise it to order the same track once more.
    """
    if served:
        _MOUNT(
            key="kindred_player",
            data={
                "track": track.to_dict() if track else None,
                "autoplay": autoplay,
                "queue": [one.to_dict() for one in queue],
                "request": request,
            },
        )
    elif track is not None:
        _play_without_route(track, autoplay=autoplay)


def _play_without_route(track: PlayerTrack, *, autoplay: bool) -> None:
    with st.container(border=True):
        st.text(" · ".join(part for part in (track.title or "Untitled", track.subtitle) if part))
        if track.path and Path(track.path).is_file():
            st.audio(track.path, autoplay=autoplay)
        else:
            st.warning("This file can no longer be found.")
