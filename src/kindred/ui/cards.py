"""Cards for tracks: the results of a search, or the query itself as one wide card.

One component draws up to :data:`MAX_CARDS` cards. Playing happens in the browser, through the
player; the other buttons come back to Python as a :class:`CardEvent`. Texts from tags are drawn as
text, never as markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import streamlit as st

from kindred.ui.covers import placeholder_cover
from kindred.ui.player import PlayerTrack, encode_peaks, static_text

Action = Literal["more", "less", "play", "remove"]
Kind = Literal["results", "query"]
Verdict = Literal["hit", "miss", ""]

MAX_CARDS = 100
"""More than this is not looked through; the caller pages."""

REASONS = ("timbre", "harmony", "rhythm", "dynamics")
"""What a similarity is explained by, in the order of the bar."""

_MOUNT = st.components.v2.component(
    "kindred_cards",
    html='<div class="kindred-cards"></div>',
    css=static_text("wave.css", "cards.css"),
    js=static_text("parts.js", "cards.js"),
)


@dataclass(frozen=True)
class Bar:
    """A value of a track in one respect: ``share`` in [0, 1] is drawn, ``note`` said beside it."""

    name: str
    share: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CardItem:
    """One track on a card. Empty fields are left out of the drawing.

    Attributes
    ----------
    track_id : str
        Comes back in the events, and connects the card with the player.
    title, composer, artist, album, genre, format : str
        Standardised text; empty when unknown.
    year : int or None
    duration : float
        Seconds; 0 when unknown.
    similarity : float or None
        Cosine in [-1, 1], higher is nearer.
    reasons : mapping of str to float, or None
        Shares of :data:`REASONS`; scaled to sum 1.
    cover : str or None
        A ``data:`` URI; a placeholder is drawn when there is none.
    peaks : sequence of int
        Waveform columns 0..255.
    url, path : str
        As in :class:`~kindred.ui.player.PlayerTrack`.
    rank : int or None
        1 for the nearest.
    verdict : {"hit", "miss", ""}
        Whether the track is a right answer, drawn as a mark that is readable without colour.
    note : str
        What more is to be said of it here; stands beside the mark.
    at : float
        Where playing begins, as a share of the track.
    bars : sequence of Bar
        Drawn one below the other, in this order.
    """

    track_id: str
    title: str = ""
    composer: str = ""
    artist: str = ""
    album: str = ""
    year: int | None = None
    genre: str = ""
    format: str = ""
    duration: float = 0.0
    similarity: float | None = None
    reasons: Mapping[str, float] | None = None
    cover: str | None = None
    peaks: Sequence[int] = b""
    url: str = ""
    path: str = ""
    rank: int | None = None
    verdict: Verdict = ""
    note: str = ""
    at: float = 0.0
    bars: Sequence[Bar] = ()

    @property
    def subtitle(self) -> str:
        """Composer and artist, once each."""
        return " · ".join(dict.fromkeys(part for part in (self.composer, self.artist) if part))

    def to_player_track(self) -> PlayerTrack:
        """Return this track for :func:`kindred.ui.player.player`."""
        return PlayerTrack(
            track_id=self.track_id,
            title=self.title,
            subtitle=self.subtitle,
            url=self.url,
            path=self.path,
            cover=self.cover or placeholder_cover(self.track_id, self.title),
            peaks=self.peaks,
            duration=self.duration,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what is sent to the browser; the path stays here."""
        return {
            "track_id": self.track_id,
            "title": self.title,
            "subtitle": self.subtitle,
            "album": self.album,
            "year": self.year,
            "genre": self.genre,
            "format": self.format.upper(),
            "duration": self.duration,
            "similarity": self.similarity,
            "reasons": percent_shares(self.reasons) if self.reasons else None,
            "cover": self.cover or placeholder_cover(self.track_id, self.title),
            "peaks": encode_peaks(self.peaks),
            "url": self.url,
            "rank": self.rank,
            "verdict": self.verdict,
            "note": self.note,
            "at": self.at,
            "bars": [asdict(bar) for bar in self.bars],
        }


@dataclass(frozen=True)
class CardEvent:
    """A button of a card was pressed.

    Attributes
    ----------
    action : {"more", "less", "play", "remove"}
        ``"play"`` only arrives where the browser cannot play by itself (``served=False``).
    track_id : str
        The card's track.
    nonce : str
        Differs for every press.
    """

    action: Action
    track_id: str
    nonce: str


def percent_shares(reasons: Mapping[str, float]) -> dict[str, int] | None:
    """Turn shares into whole per cent that sum to 100 (largest remainder).

    Parameters
    ----------
    reasons : mapping of str to float
        Weights >= 0 by name; a missing name of :data:`REASONS` counts as 0.

    Returns
    -------
    dict of str to int, or None
        In the order of :data:`REASONS`; None when every weight is 0.

    Raises
    ------
    ValueError
        For a name that is not in :data:`REASONS`, or a weight that is negative or not finite.
    """
    if unknown := set(reasons) - set(REASONS):
        raise ValueError(f"Unknown reasons {sorted(unknown)}; allowed are {list(REASONS)}.")
    weights = [float(reasons.get(name, 0.0)) for name in REASONS]
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise ValueError(f"Shares must be finite and not negative, got {dict(reasons)}.")
    total = sum(weights)
    if total == 0:
        return None
    exact = [100 * weight / total for weight in weights]
    whole = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: 100 - sum(whole)]:
        whole[i] += 1
    return dict(zip(REASONS, whole, strict=True))


def cards(
    items: Sequence[CardItem],
    *,
    key: str,
    served: bool,
    actions: Sequence[Action] = ("more", "less"),
    selected: Mapping[str, str] | Collection[str] = (),
    kind: Kind = "results",
    label: str = "",
    on_event: Callable[[CardEvent], None] | None = None,
) -> CardEvent | None:
    """Draw cards and tell what was pressed since the last run.

    Parameters
    ----------
    items : sequence of CardItem
        At most :data:`MAX_CARDS`.
    key : str
        Unique on the page.
    served : bool
        Whether this process serves ``/audio``. If not, the play button returns a ``"play"`` event.
    actions : sequence of {"more", "less", "remove"}
        The buttons under each card, in this order.
    selected : mapping or collection of str
        Ids of cards to mark. A mapping also says which button is shown as pressed, such as
        ``{"42": "more"}``.
    kind : {"results", "query"}
        A grid of cards, or wide cards one below the other.
    label : str
        Name of the list for screen readers.
    on_event : callable, optional
        Called with what was pressed, before the page is drawn again.

    Returns
    -------
    CardEvent or None
        What was pressed; None as well where ``on_event`` was told.

    Raises
    ------
    ValueError
        For more than :data:`MAX_CARDS` items, or an unknown action or kind.
    """
    if len(items) > MAX_CARDS:
        raise ValueError(f"cards() draws at most {MAX_CARDS} items, got {len(items)}: page them.")
    if unknown := set(actions) - (set(get_args(Action)) - {"play"}):
        raise ValueError(f"Unknown actions {sorted(unknown)}; allowed are more, less, remove.")
    if kind not in get_args(Kind):
        raise ValueError(f"Unknown kind {kind!r}; allowed are {list(get_args(Kind))}.")

    # Without a mapping the buttons are plain ones: only a mapping tells what is pressed.
    pressed = selected if isinstance(selected, Mapping) else None
    data = {
        "kind": kind,
        "served": served,
        "actions": list(actions),
        "label": label or ("Query" if kind == "query" else "Results"),
        "items": [
            item.to_dict()
            | {
                "playable": bool(item.url if served else item.path),
                "selected": item.track_id in selected,
                "pressed": None if pressed is None else pressed.get(item.track_id, ""),
            }
            for item in items
        ],
    }
    known = frozenset(item.track_id for item in items)
    allowed = frozenset((*actions, "play"))

    def noted() -> None:
        event = _read_event(st.session_state[key].get("event"), known=known, allowed=allowed)
        if event is not None and on_event is not None:
            on_event(event)

    # Streamlit only returns triggers that have a callback.
    result = _MOUNT(key=key, data=data, on_event_change=noted)
    if on_event is not None:
        return None
    return _read_event(result.get("event"), known=known, allowed=allowed)


def _read_event(
    value: object, *, known: Collection[str], allowed: Collection[str]
) -> CardEvent | None:
    """Check what the browser says: it may be late, or made up."""
    if not isinstance(value, Mapping):
        return None
    action, track_id = value.get("action"), value.get("track_id")
    if not isinstance(action, str) or not isinstance(track_id, str):
        return None
    if action not in allowed or track_id not in known:
        return None
    return CardEvent(
        action=cast(Action, action), track_id=track_id, nonce=str(value.get("nonce", ""))
    )
