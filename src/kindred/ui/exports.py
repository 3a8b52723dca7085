"""Lists of tracks to take along, as playlists and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import streamlit as st

from kindred.library.playlists import to_csv, to_jspf, to_m3u8
from kindred.storage.records import Track


def offer_playlists(
    tracks: Callable[[], Sequence[Track]],
    *,
    stem: str,
    title: str,
    similarities: Mapping[str, float] | None = None,
) -> None:
    """Draw a button for each kind of file; it is written when it is asked for.

    Parameters
    ----------
    tracks : callable
        Reads them, in order: there may be as many as the library has.
    stem : str
        Of the files' names.
    title : str
        What programs call the list.
    similarities : mapping of str to float, optional
        Cosine by track id, for the table.
    """

    def written(write: Callable[[Sequence[Track]], str]) -> Callable[[], bytes]:
        return lambda: write(tracks()).encode("utf-8")

    kinds: dict[str, tuple[str, Callable[[Sequence[Track]], str]]] = {
        "m3u8": ("audio/x-mpegurl", to_m3u8),
        "csv": ("text/csv", partial(to_csv, similarities=similarities)),
        "jspf": ("application/json", partial(to_jspf, title=title)),
    }
    for suffix, (mime, write) in kinds.items():
        name = f"{stem}.{suffix}"
        st.download_button(name, written(write), name, mime, on_click="ignore")
