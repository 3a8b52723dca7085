"""Similar: pick tracks or give a clip, and hear what sounds alike."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import streamlit as st

from kindred.errors import KindredError
from kindred.search.overlap import overlap
from kindred.search.query import MAX_K, Clip, SimilarQuery, SimilarResult
from kindred.services import Services
from kindred.storage.records import TrackFilter
from kindred.ui import frame, selection
from kindred.ui.cards import CardEvent, CardItem, cards
from kindred.ui.exports import offer_playlists
from kindred.ui.selection import Selection
from kindred.ui.server import is_served
from kindred.ui.suggestions import start_anywhere
from kindred.ui.tracks import LibraryView, cards_of, library_view

SUFFIXES = ["wav", "mp3", "m4a", "aac", "flac", "ogg", "opus", "aiff", "aif"]


def put_aside() -> None:
    """Forget the words and the clip that were given: a track is asked for in their place."""
    st.session_state["similar_words"] = ""
    st.session_state["similar_clip_aside"] = st.session_state.get("similar_clip_file")


def picked() -> None:
    """Take over what was changed in the two lists, before the page is drawn again."""
    st.session_state["similar_words"] = ""
    plus = tuple(st.session_state["similar_plus"])
    minus = tuple(item for item in st.session_state["similar_minus"] if item not in plus)
    selection.write(replace(selection.read(), plus=plus, minus=minus))


def choose(view: LibraryView, chosen: Selection) -> None:
    """Let the user search for tracks as they type, and add and remove them."""
    # The lists follow the selection, because cards and links change it too.
    st.session_state["similar_plus"] = list(chosen.plus)
    st.session_state["similar_minus"] = list(chosen.minus)

    def name(track_id: str) -> str:
        return view.labels.get(track_id, track_id)

    left, right = st.columns([3, 2])
    left.multiselect(
        "Sounds like",
        list(view.labels),
        format_func=name,
        key="similar_plus",
        on_change=picked,
        placeholder="Type a title, composer or album",
        select_all=False,
    )
    # "Less like this" on a card adds here; a second list of the whole library would be slow.
    right.multiselect(
        "But not like",
        list(chosen.minus),
        format_func=name,
        key="similar_minus",
        on_change=picked,
        placeholder="Press “Less like this” on a result",
        select_all=False,
        disabled=not chosen.minus,
    )


def listen(services: Services, chosen: Selection) -> Selection:
    """Let the user give a clip, which is heard and forgotten, never added to the library."""
    with st.popover("Use a clip", icon=":material/mic:"):
        st.caption("A clip is compared with the library. It is not added to it.")
        uploaded = st.file_uploader(
            "A file", type=SUFFIXES, max_upload_size=services.settings.max_upload_mb
        )
        recorded = st.audio_input("Or record one", sample_rate=48_000)
    given = uploaded or recorded
    if given is None or given.file_id == st.session_state.get("similar_clip_aside"):
        return replace(chosen, clip=None)
    if st.session_state.get("similar_clip_file") == given.file_id:
        return replace(chosen, clip=st.session_state.get("similar_clip"))
    name = uploaded.name if uploaded else "your recording"
    clip: Clip | None = None
    with tempfile.NamedTemporaryFile(suffix=".clip") as file:
        file.write(given.getbuffer())
        file.flush()
        try:
            with st.spinner(f"Listening to {name}"):
                clip = services.embed_clip(Path(file.name), name=name)
        except KindredError as error:
            st.error(str(error), icon=":material/hearing_disabled:")
    st.session_state["similar_clip_file"] = given.file_id
    st.session_state["similar_clip"] = clip
    # A new clip is a new question: the tracks asked for before are put aside.
    return Selection(clip=clip) if clip else chosen


def in_words(services: Services, chosen: Selection) -> Selection:
    """Let the user say what it should sound like, where an encoder understands words."""
    try:
        services.words_encoder()
    except KindredError as error:
        st.text_input("In words", disabled=True, placeholder="Needs CLAP", help=str(error))
        return chosen
    text = st.text_input(
        "In words",
        key="similar_words",
        placeholder="warm strings:2; not drums",
        help="Phrases separated by a comma or semicolon; :2 weighs one more, not takes away.",
    )
    if not text.strip():
        return chosen
    try:
        with st.spinner("Reading your words"):
            return Selection(minus=chosen.minus, clip=services.words(text))
    except KindredError as error:
        st.error(str(error), icon=":material/text_fields:")
        return chosen


def tags(services: Services, track_id: str) -> None:
    """What the track sounds like in words, by zero-shot tagging."""
    try:
        with st.spinner("Looking for words"):
            found = services.tags_of(track_id)
    except KindredError as error:
        st.caption(f":material/label_off: No tags: {error}")
        return
    if found:
        parts = [
            f"**{kind}** " + ", ".join(f"{tag} {score:.0%}" for tag, score in ranked)
            for kind, ranked in found.items()
        ]
        st.caption(
            "Heard by CLAP: " + " · ".join(parts),
            help="Shares rank the words of a vocabulary against each other; they are no"
            " probabilities. Put your own vocabulary.csv into the library folder.",
        )


def options(view: LibraryView) -> SimilarQuery:
    """Let the user narrow the answers down."""
    with st.popover("Filters", icon=":material/tune:"):
        k = st.slider("How many", 1, MAX_K, 12, key="similar_k", persist_state="session")
        diversity = st.slider(
            "Variety",
            0.0,
            1.0,
            0.0,
            0.05,
            help="0 gives the nearest tracks. More avoids results that are alike each other.",
        )
        not_same = st.pills(
            "Leave out the same", ["work", "album", "artist"], selection_mode="multi"
        )
        composers = st.multiselect("Composer", view.values("composer"))
        artists = st.multiselect("Artist", view.values("artist"))
        albums = st.multiselect("Album", view.values("album"))
        genres = st.multiselect("Genre", view.values("genre"))
        year = between("Year", view.frame["year"].dropna().astype(int).tolist())
        minutes = between("Minutes", [int(value // 60) for value in view.frame["seconds"]])
    return SimilarQuery(
        k=k,
        diversity=diversity,
        not_same=tuple(not_same or ()),
        where=TrackFilter(
            composers=tuple(composers),
            artists=tuple(artists),
            albums=tuple(albums),
            genres=tuple(genres),
            year=year,
            duration=(
                None if minutes[0] is None else 60.0 * minutes[0],
                None if minutes[1] is None else 60.0 * minutes[1] + 59.999,
            ),
        ),
    )


def between(label: str, values: list[int]) -> tuple[int | None, int | None]:
    """A range of whole numbers; an end left where it is does not restrict."""
    low, high = min(values, default=0), max(values, default=0)
    if low == high:
        return None, None
    first, last = st.slider(label, low, high, (low, high))
    return (None if first == low else first), (None if last == high else last)


def export(result: SimilarResult) -> None:
    """Offer the results as files for other programs."""
    tracks = [match.track for match in result.matches]
    scores = {match.track.track_id: match.similarity for match in result.matches}
    with st.popover("Export", icon=":material/download:", disabled=not tracks):
        offer_playlists(
            lambda: tracks, stem="kindred", title="Kindred: similar", similarities=scores
        )


def pressed(items: list[CardItem]) -> Callable[[CardEvent], None]:
    """What to do when something is pressed on one of these cards."""

    def act(event: CardEvent) -> None:
        chosen = selection.read()
        if event.action == "more":
            put_aside()
            selection.write(chosen.hop(event.track_id))
        elif event.action == "less":
            selection.write(chosen.without(event.track_id))
        else:
            frame.order(next(item for item in items if item.track_id == event.track_id))

    return act


def result_cards(services: Services, result: SimilarResult) -> list[CardItem]:
    """A result as cards."""
    return cards_of(
        services,
        [match.track for match in result.matches],
        similarities=[match.similarity for match in result.matches],
        reasons=[match.reasons for match in result.matches],
    )


def said(result: SimilarResult, tracks: int) -> str:
    """Which model and index answered, and how fast."""
    return (
        f"{result.space.model} vectors of {result.space.dims} dimensions · {result.index} search"
        f" over {tracks:,} tracks · {1000 * result.seconds:.0f} ms"
    )


def compare(services: Services, result: SimilarResult, query: SimilarQuery, tracks: int) -> None:
    """Put what another encoder answers beside the result; both have vectors of the library."""
    others = [name for name in services.embedded_encoders() if name != result.space.model]
    if not others or query.clip is not None:
        return
    other = st.pills("Compare with another model", others, key="similar_compare")
    if not other:
        return
    beside = services.similar(query, other)
    both = overlap(result, beside)
    st.subheader(f"The same question, answered by {other}")
    st.caption(
        f"{both.common} of {both.k} tracks are in both lists"
        + (f"; those moved by {both.shift:.1f} places on average" if both.common else "")
        + f" · rank-biased overlap {both.rbo:.2f}"
    )
    items = result_cards(services, beside)
    cards(items, key="similar_beside", served=is_served(), on_event=pressed(items))
    st.caption(said(beside, tracks))


def page() -> None:
    """Draw the page."""
    services = frame.begin("Similar", "Pick a track, hear what sounds like it, and hop on.")
    view = library_view(services)
    if not view.labels:
        frame.end_empty()
        return
    chosen = selection.read()
    unknown = [item for item in (*chosen.plus, *chosen.minus) if item not in view.labels]
    if unknown:
        st.warning(
            f"This link names a track that is not in the library ({', '.join(unknown)}). It may"
            " have been removed.",
            icon=":material/link_off:",
        )
        known = view.labels.keys()
        chosen = replace(
            chosen,
            plus=tuple(item for item in chosen.plus if item in known),
            minus=tuple(item for item in chosen.minus if item in known),
        )
    choose(view, chosen)
    bar = st.container(horizontal=True)
    with bar:
        chosen = listen(services, chosen)
        query = options(view)
    chosen = in_words(services, chosen)
    selection.publish(chosen)
    if not chosen.plus and chosen.clip is None:
        st.subheader("Start anywhere")
        frame.end(start_anywhere(services, view, key="similar_start"))
        return
    query = replace(query, plus=chosen.plus, minus=chosen.minus, clip=chosen.clip)
    if chosen.clip is not None:
        st.info(f"Looking for what sounds like **{chosen.clip.name}**.", icon=":material/mic:")
    elif len(chosen.plus) == 1:
        tags(services, chosen.plus[0])
    wanted = cards_of(services, services.storage.get_tracks(chosen.plus))
    cards(
        wanted,
        key="similar_query",
        served=is_served(),
        actions=(),
        kind="query",
        on_event=pressed(wanted),
    )
    try:
        result = services.similar(query)
    except KindredError as error:
        st.error(str(error), icon=":material/search_off:")
        frame.end(wanted)
        return
    items = result_cards(services, result)
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        name = "Near, and unlike each other" if query.diversity else "Nearest tracks"
        st.subheader(name, width="content")
        export(result)
    if not items:
        st.info("No track passes the filters. Loosen them.", icon=":material/filter_alt_off:")
    cards(items, key="similar_results", served=is_served(), on_event=pressed(items))
    st.caption(said(result, len(view.labels)))
    compare(services, result, query, len(view.labels))
    frame.end([*wanted, *items])


page()
