"""What is being looked for, shared by the pages and kept in the address of the page.

``/similar?track=ID&track=ID&less=ID`` opens with the same tracks wanted and unwanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from kindred.search.query import Clip

_KEY, _SEEN = "kindred_selection", "kindred_address"


@dataclass(frozen=True)
class Selection:
    """Tracks (and perhaps a clip) to be near to, and tracks to be far from."""

    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    clip: Clip | None = None

    def hop(self, track_id: str) -> Selection:
        """Look for what is like one track."""
        return Selection(plus=(track_id,))

    def without(self, track_id: str) -> Selection:
        """Move away from a track."""
        return replace(
            self,
            plus=tuple(item for item in self.plus if item != track_id),
            minus=tuple(dict.fromkeys((*self.minus, track_id))),
        )


def read() -> Selection:
    """Return the selection: the address wins when a link or a hand has changed it."""
    address = _address()
    if address != st.session_state.get(_SEEN, ((), ())):
        plus, minus = address
        st.session_state[_SEEN] = address
        write(Selection(plus, tuple(item for item in minus if item not in plus)))
    selection: Selection = st.session_state.get(_KEY, Selection())
    return selection


def write(selection: Selection) -> None:
    """Keep the selection."""
    st.session_state[_KEY] = selection


def publish(selection: Selection) -> None:
    """Keep the selection and show it in the address.

    Call it in a run that ends by itself: what a run tells the browser of the address just before
    ``st.rerun`` does not arrive.
    """
    write(selection)
    for name, values in (("track", selection.plus), ("less", selection.minus)):
        if tuple(st.query_params.get_all(name)) != values:
            if values:
                st.query_params[name] = list(values)
            else:
                del st.query_params[name]
    st.session_state[_SEEN] = _address()


def _address() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tracks wanted and unwanted, as the address of the page has them."""
    plus, minus = (tuple(st.query_params.get_all(name)) for name in ("track", "less"))
    return plus, minus
