"""What is chosen on the map, kept in the address of the page.

``/map?map=ID&open=TRACK&pick=...&colour=tempo`` opens the same map with the same track open, the
same set selected and the same colours. ``pick`` names rows of that map, packed, so that a lasso
around some thousand tracks still fits; tracks that were placed on the map afterwards are named by
``also``.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from kindred.services.maps import MapView

#: Longest packed selection that goes into the address; servers and chats cut longer ones.
LONGEST = 6_000
#: What points are coloured by where nothing else was chosen.
USUAL = "composer"
_ALSO = 30
_KEY, _SEEN, _FOCUS = "kindred_map", "kindred_map_address", "map_focus"


@dataclass(frozen=True)
class MapState:
    """The map, the track that is open on it, the set that is selected, and what colours mean."""

    map_id: str = ""
    opened: str = ""
    picked: tuple[str, ...] = ()
    colour: str = USUAL


def pack(rows: Sequence[int]) -> str:
    """Pack rows of a map into a short text; ascending, each once."""
    unique = np.unique(np.asarray(rows, np.int64))
    if not len(unique):
        return ""
    steps = np.diff(unique, prepend=0).astype("<u4")
    return base64.urlsafe_b64encode(zlib.compress(steps.tobytes(), 9)).rstrip(b"=").decode()


def unpack(text: str, count: int) -> list[int]:
    """Inverse of :func:`pack`; nothing for a text that names no rows of ``count``."""
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # A text made to grow without end is cut off, and then names nothing; 0 would be no limit.
        data = zlib.decompressobj().decompress(packed, 4 * count or 1)
        rows = np.cumsum(np.frombuffer(data, "<u4").astype(np.int64))
    except (ValueError, binascii.Error, zlib.error):
        return []
    known = len(rows) and rows[-1] < count and (np.diff(rows) > 0).all()
    return rows.tolist() if known else []


def named_map() -> str:
    """The map that the address names."""
    return str(st.query_params.get("map", ""))


def read(view: MapView) -> MapState:
    """What is chosen: the address wins when a link or a hand has changed it."""
    address = _address()
    state: MapState = st.session_state.get(_KEY, MapState())
    if address != st.session_state.get(_SEEN) and any(address):
        st.session_state[_SEEN] = address
        place = {int(row): index for index, row in enumerate(view.rows) if row >= 0}
        # Rows of another map, which is not kept any more, would be other tracks here.
        packed = address[2] if address[0] == view.map.map_id else ""
        rows = unpack(packed, len(view.map.track_ids))
        picked = [view.track_ids[place[row]] for row in rows if row in place]
        both = dict.fromkeys([*picked, *address[3]])
        state = MapState("", address[1], tuple(both), address[4] or USUAL)
    known = set(view.track_ids)
    state = replace(
        state,
        map_id=view.map.map_id,
        opened=state.opened if state.opened in known else "",
        picked=tuple(track_id for track_id in state.picked if track_id in known),
    )
    st.session_state[_KEY] = state
    return state


def write(state: MapState) -> None:
    """Keep what is chosen."""
    st.session_state[_KEY] = state


def visit(view: MapView, track_id: str) -> None:
    """Open a track and have the map fly there."""
    write(replace(read(view), opened=track_id))
    st.session_state["map_panel"] = "track"
    st.session_state[_FOCUS] = (track_id, st.session_state.get(_FOCUS, ("", 0))[1] + 1)


def focus() -> tuple[str, int] | None:
    """Where the map flies, with a number that is another for each flight."""
    found: tuple[str, int] | None = st.session_state.get(_FOCUS)
    return found


def publish(view: MapView, state: MapState) -> bool:
    """Show what is chosen in the address; return whether the whole selection fits into it."""
    write(state)
    picked = set(state.picked)
    rows = [
        int(row)
        for track_id, row in zip(view.track_ids, view.rows, strict=True)
        if track_id in picked
    ]
    packed = pack([row for row in rows if row >= 0])
    also = [
        track_id
        for track_id, row in zip(view.track_ids, view.rows, strict=True)
        if row < 0 and track_id in picked
    ]
    fits = len(packed) <= LONGEST and len(also) <= _ALSO
    said = {
        "map": [state.map_id],
        "open": [state.opened],
        "pick": [packed if fits else ""],
        "also": also if fits else [],
        "colour": [state.colour if state.colour != USUAL else ""],
    }
    wanted = {name: values for name, values in said.items() if any(values)}
    if wanted != {name: st.query_params.get_all(name) for name in st.query_params}:
        st.query_params.from_dict(wanted)  # all at once: one step on the browser's way back
    st.session_state[_SEEN] = _address()
    return fits


def _address() -> tuple[str, str, str, tuple[str, ...], str]:
    found = [str(st.query_params.get(name, "")) for name in ("map", "open", "pick", "colour")]
    return found[0], found[1], found[2], tuple(st.query_params.get_all("also")), found[3]
