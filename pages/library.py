"""Library: what is in it, what failed, and how more comes in."""

import pandas as pd
import streamlit as st

from kindred.errors import KindredError
from kindred.library.scan import resolve_roots
from kindred.services import Services
from kindred.ui import frame, selection
from kindred.ui.jobs import job_button, show_jobs, start
from kindred.ui.selection import Selection
from kindred.ui.tracks import LibraryView, cards_of, library_view, printable

SUFFIXES = ["wav", "mp3", "m4a", "aac", "flac", "ogg", "oga", "opus", "aiff", "aif"]


def overview(view: LibraryView, failed: int) -> None:
    """Counts, formats and durations."""
    table = view.frame
    hours, minutes = divmod(int(table["seconds"].sum() // 60), 60)
    with st.container(horizontal=True):
        st.metric("Tracks", f"{len(table):,}")
        st.metric("Music", f"{hours} h {minutes:02d} min")
        st.metric("Composers", f"{len(view.values('composer')):,}")
        st.metric("Albums", f"{len(view.values('album')):,}")
        st.metric("Not usable", f"{failed:,}")
    formats = table["format"].replace("", "none").value_counts()
    st.caption("Formats: " + " · ".join(f"{name} {count:,}" for name, count in formats.items()))


def tracks(services: Services, view: LibraryView) -> None:
    """The table: search, sort, click to play."""
    wanted = st.text_input(
        "Search", placeholder="Title, composer, artist, album or genre", key="library_search"
    )
    table = view.frame
    for word in wanted.casefold().split():
        texts = table[["title", "composer", "artist", "album", "genre"]]
        match = pd.Series(False, index=table.index)
        for column in texts:
            match |= texts[column].str.casefold().str.contains(word, regex=False)
        table = table[match]
    if table.empty:
        st.info("No track matches.", icon=":material/search_off:")
        return
    st.caption(f"{len(table):,} tracks. Choose a row to play it; click a heading to sort.")
    chosen = st.container()  # above the table, where it is seen
    event = st.dataframe(
        table,
        key=f"library_table_{wanted}",
        hide_index=True,
        placeholder="",
        height=min(560, 38 + 35 * len(table)),
        on_select="rerun",
        selection_mode="single-row",
        column_order=(
            "title", "composer", "artist", "album", "genre", "year", "length", "format", "added",
        ),
        column_config={
            "title": st.column_config.TextColumn("Title", width="medium"),
            "composer": "Composer",
            "artist": "Artist",
            "album": "Album",
            "genre": "Genre",
            "year": st.column_config.NumberColumn("Year", format="%d", width="small"),
            "length": st.column_config.TextColumn("Length", width="small", alignment="right"),
            "format": st.column_config.TextColumn("Format", width="small"),
            "added": st.column_config.TextColumn("Added", width="small"),
        },
    )  # fmt: skip
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(table):
        with chosen:
            play(services, str(table.index[rows[0]]))


def play(services: Services, track_id: str) -> None:
    """Play the chosen row and offer to look for what is like it."""
    [item] = cards_of(services, services.storage.get_tracks([track_id]))
    if st.session_state.get("library_playing") != track_id:
        st.session_state["library_playing"] = track_id
        frame.order(item)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"{item.title or 'Untitled'} · {item.subtitle}")
        if st.button("Find what sounds like it", icon=":material/graphic_eq:", type="primary"):
            selection.write(Selection(plus=(track_id,)))
            st.switch_page("pages/similar.py", query_params={"track": track_id})


def bring_in(services: Services) -> None:
    """A folder on the server, files dropped here, a table of metadata, or the demo library."""
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("A folder on this machine")
        with st.form("folder", border=False):
            folder = st.text_input("Folder", placeholder="/home/me/Music")
            st.caption("Files stay where they are. Only what is new or changed is read.")
            if st.form_submit_button("Read it", type="primary") and folder.strip():
                try:
                    start(services, "ingest", {"paths": resolve_roots([folder.strip()])})
                except KindredError as error:
                    st.error(str(error))
        if services.storage.roots():
            names = ", ".join(printable(root) for root in services.storage.roots())
            st.caption(f"On record: {names}")
            job_button(services, "ingest", {}, label="Scan them again", icon=":material/refresh:")
    with right:
        st.subheader("Files from here")
        with st.form("files", border=False, clear_on_submit=True):
            files = st.file_uploader(
                "Audio files",
                type=SUFFIXES,
                accept_multiple_files=True,
                max_upload_size=services.settings.max_upload_mb,
            )
            st.caption(
                f"At most {services.settings.max_upload_mb} MB each. They are copied into the"
                " library."
            )
            if st.form_submit_button("Add them", type="primary") and files:
                try:
                    services.upload([(file.name, file) for file in files])
                except KindredError as error:
                    st.error(str(error))
                else:
                    st.rerun()
    with st.expander("A table of metadata (tracks_metadata.csv)"):
        bring_in_table(services)


def bring_in_table(services: Services) -> None:
    """Import a CSV file whose audio lies on this machine."""
    st.caption(
        "Columns: track_id, album_id, track_no, title, composer, audio_path, duration_sec. What the"
        " table says wins over the files' own tags."
    )
    root = st.text_input("Folder the audio paths start from", placeholder="/home/me/Music")
    table = st.file_uploader("Table", type=["csv", "tsv", "txt"], key="library_csv")
    if not st.button("Import", disabled=table is None or not root.strip()) or table is None:
        return
    try:
        [audio_root] = resolve_roots([root.strip()])
        services.upload_table(table.getvalue(), audio_root)
    except KindredError as error:
        st.error(str(error))
    else:
        st.rerun()


def not_usable(services: Services) -> None:
    """Files in quarantine with their reasons."""
    records = services.storage.list_quarantine()
    if not records:
        st.info("Every file that was found could be used.", icon=":material/check_circle:")
        return
    st.caption("These files were left out; the others were not held up. They stay untouched.")
    st.dataframe(
        pd.DataFrame(
            {
                "File": [printable(item.path) for item in records],
                "Why": [item.reason for item in records],
                "Kind": [item.code for item in records],
                "Seen": [item.seen_at.replace("T", " ")[:16] for item in records],
            }
        ),
        hide_index=True,
    )
    job_button(services, "ingest", {"retry": True}, label="Try them again")


def page() -> None:
    """Draw the page."""
    services = frame.begin("Library", "What is here, how it came in, and what could not be used.")
    view = library_view(services)
    failed = len(services.storage.list_quarantine())
    if view.labels:
        overview(view, failed)
    else:
        st.info(
            "The library is empty. Build the demo library in about two minutes, or add your own.",
            icon=":material/library_music:",
        )
        job_button(
            services, "demo", {}, label="Build the demo library", icon=":material/auto_awesome:"
        )
    show_jobs(services)
    gone = int((~view.frame["audio"]).sum()) if view.labels else 0
    if gone:
        st.warning(f"{gone} tracks have no file any more.", icon=":material/link_off:")
        if st.button("Remove them from the library"):
            services.catalogue.remove_missing()
            st.rerun()
    section = st.segmented_control(
        "Section",
        ["Tracks", "Add music", "Not usable"],
        format_func=lambda name: f"{name} ({failed:,})" if name == "Not usable" else name,
        default="Tracks" if view.labels else "Add music",
        required=True,
        label_visibility="collapsed",
    )
    if section == "Add music":
        bring_in(services)
    elif section == "Not usable":
        not_usable(services)
    elif view.labels:
        tracks(services, view)
    frame.end()


page()
