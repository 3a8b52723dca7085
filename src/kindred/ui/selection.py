"""What is being looked for, shared by the pages and kept in the address of the page.

``/similar?track=ID&track=ID&less=ID`` opens with the same tracks wanted and unwanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from kindred.search.query import Clip

_KEY = "kindred_selection"


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
    """Return the selection: the address wins when it was changed by hand or by a link."""
    known: Selection = st.session_state.get(_KEY, Selection())
    plus = tuple(dict.fromkeys(st.query_params.get_all("track")))
    minus = tuple(dict.fromkeys(st.query_params.get_all("less")))
    if (plus or minus) and (plus, minus) != (known.plus, known.minus):
        return Selection(plus, tuple(item for item in minus if item not in plus))
    return known


def write(selection: Selection) -> None:
    """Keep the selection, and show it in the address."""
    st.session_state[_KEY] = selection
    wanted = {"track": list(selection.plus), "less": list(selection.minus)}
    for name, values in wanted.items():
        if st.query_params.get_all(name) != values:
            if values:
                st.query_params[name] = values
            elif name in st.query_params:
                del st.query_params[name]
