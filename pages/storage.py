"""Storage: where the library is kept, how each store stands, moving and synchronising."""

from collections.abc import Callable
from functools import partial
from typing import get_args

import pandas as pd
import streamlit as st

from kindred.errors import KindredError
from kindred.services import Services
from kindred.services.stores import STORES, StoreState
from kindred.storage.cost import Prices, estimate
from kindred.storage.records import Kind
from kindred.storage.shared.backend import SharedBackend
from kindred.ui import frame
from kindred.ui.jobs import show_jobs, start


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def store(services: Services, state: StoreState) -> None:
    """One store: where it is, how it stands, what can be done."""
    with st.container(border=True):
        with st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
        ):
            st.subheader(state.title, width="content")
            if state.active:
                st.badge("in use", icon=":material/check:", color="green")
            elif not state.configured:
                st.badge("not set up", color="gray")
            elif state.problem:
                st.badge("does not answer", color="orange")
            else:
                st.badge("ready", color="blue")
        if not state.configured:
            st.write("Put this into `.env`, then choose it with `STORAGE_BACKEND`:")
            st.code(f"STORAGE_BACKEND={state.name}\n{STORES[state.name][1]}", language="bash")
            return
        if state.place:
            st.caption(state.place)
        if state.problem:
            st.warning(state.problem)
        else:
            facts(state)
        buttons(services, state)


def facts(state: StoreState) -> None:
    """What is in a store that answers."""
    shown = [f"{state.tracks:,} tracks"]
    shown += [f"{count:,} vectors of {model} ({dims})" for model, dims, count in state.spaces]
    if state.size is not None:
        shown.append(size(state.size))
    shown.append(f"answers in {state.latency_ms:,.1f} ms")
    st.write(" · ".join(shown))


def buttons(services: Services, state: StoreState) -> None:
    """Look a store over, or make its tables."""
    with st.container(horizontal=True):
        checking = st.button("Check", key=f"check-{state.name}", icon=":material/fact_check:")
        making = state.name != "local" and st.button(
            "Make tables", key=f"init-{state.name}", icon=":material/table:",
            help="Makes what is missing; again without harm.",
        )  # fmt: skip
    try:
        if making:
            with st.spinner("Making tables"):
                services.stores.init(state.name)
            st.rerun()
        if checking:
            with st.spinner("Checking"):
                checks = services.stores.check(state.name)
            for check in checks:
                icon = ":material/check:" if check.ok else ":material/error:"
                st.markdown(f"{icon} **{check.name}**: {check.found}")
                if check.remedy:
                    st.caption(check.remedy)
    except KindredError as error:
        st.error(str(error))


def outbox(services: Services) -> None:
    """What waits for the store, and what it refused."""
    storage = services.storage
    if not isinstance(storage, SharedBackend):
        return
    waiting, refused = storage.status().waiting, storage.refused()
    if not waiting and not refused:
        return
    st.subheader("Not sent yet")
    if waiting:
        st.write(f"{waiting:,} writes wait on this computer until the store answers.")
        outbox_button("Send them now", "send", storage.deliver)
    for note in refused:
        with st.container(border=True):
            st.write(f"Refused by the store: {note.reason}")
            with st.container(horizontal=True):
                number = note.number
                outbox_button(
                    "Try again", f"retry-{number}", partial(storage.retry_refused, number)
                )
                outbox_button(
                    "Discard", f"discard-{number}", partial(storage.discard_refused, number)
                )


def outbox_button(label: str, key: str, act: Callable[[], None]) -> None:
    """A button that does something with the outbox, or says why it cannot be done."""
    if not st.button(label, key=key):
        return
    try:
        with st.spinner(label):
            act()
    except KindredError as error:
        st.error(str(error))
    else:
        st.rerun()


def between(services: Services, states: list[StoreState]) -> None:
    """Compare two stores, copy one to the other, or bring both to one state."""
    st.subheader("Move and synchronise")
    ready = [state.name for state in states if state.configured and not state.problem]
    if len(ready) < 2:
        st.info(
            "With a second store set up, the library can be copied there and kept in step."
            " A row that both sides have changed is never overwritten in silence.",
            icon=":material/sync_alt:",
        )
        return
    left, right = st.columns(2)
    a = left.selectbox("From", ready, format_func=lambda name: STORES[name][0])
    others = [name for name in ready if name != a]
    b = right.selectbox("To", others, format_func=lambda name: STORES[name][0])
    with st.container(horizontal=True):
        compare = st.button("Compare", icon=":material/difference:", type="primary")
        if st.button(f"Copy to {STORES[b][0]}", icon=":material/arrow_forward:"):
            start(services, "migrate", {"a": a, "b": b, "migrate": True})
        if st.button("Synchronise both", icon=":material/sync:"):
            start(services, "sync", {"a": a, "b": b})
    if not compare:
        return
    try:
        with st.spinner("Comparing"):
            drift = services.stores.drift(a, b)
            plan = services.stores.plan(a, b)
    except KindredError as error:
        st.error(str(error))
        return
    table = pd.DataFrame(
        [{"": kind} | drift[kind]._asdict() for kind in get_args(Kind) if kind in drift]
    )
    st.dataframe(table.rename(columns=lambda name: name.replace("_", " ")), hide_index=True)
    st.code("\n".join(plan.lines()), language=None)


def conflicts(services: Services) -> None:
    """Versions that lost, to be put back where they were right."""
    try:
        found = services.stores.conflicts()
    except KindredError as error:
        st.error(str(error))
        return
    if not found:
        return
    st.subheader("Changed on both sides")
    st.caption("The later version was taken. The other one is kept here until you settle it.")
    for conflict in found[:20]:
        item = conflict.to_dict()
        with st.container(border=True):
            st.write(f"**{item['title'] or item['key']}** ({item['kind']})")
            with st.container(horizontal=True):
                for keep, label in (("winner", "Keep as it is"), ("loser", "Put the other back")):
                    if st.button(label, key=f"{keep}-{conflict.conflict_id}"):
                        try:
                            services.stores.resolve(conflict.conflict_id, keep=keep)  # type: ignore[arg-type]
                        except KindredError as error:
                            st.error(str(error))
                        else:
                            st.rerun()
    if len(found) > 20:
        st.caption(f"And {len(found) - 20:,} more: `kindred storage conflicts` lists all.")


def cache(services: Services) -> None:
    """What is cached of a shared library."""
    if not isinstance(services.storage, SharedBackend):
        return
    stats = services.storage.cache.stats()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.write(
            f"Cache: {stats.entries:,} entries, {size(stats.bytes)} of"
            f" {services.settings.cache_mb:,} MB, in {services.settings.cache_dir}"
        )
        if st.button("Empty the cache", icon=":material/delete_sweep:"):
            services.storage.cache.clear()
            st.rerun()


def cost(services: Services) -> None:
    """What a library of some size takes and costs."""
    st.subheader("What it takes")
    try:
        tracks = services.storage.count_tracks()
    except KindredError:  # said above
        tracks = 0
    with st.container(horizontal=True):
        count = st.number_input("Tracks", 0, 100_000_000, max(tracks, 1_000), step=1_000)
        dims = st.number_input("Dimensions", 1, 4096, 512)
        windows = st.number_input("Windows a track", 1, 2000, 24, help="CLAP: one for every 10 s.")
        searches = st.number_input("Searches a month", 0, 1_000_000_000, 10_000, step=1_000)
    with st.container(horizontal=True):
        prices = Prices(
            st.number_input("Price of 1 GB a month", 0.0, 1e6, 0.0),
            st.number_input("Price of a million reads", 0.0, 1e6, 0.0),
            st.number_input("Price of a million writes", 0.0, 1e6, 0.0),
        )
    found = estimate(count, dims, windows=windows, searches=searches, prices=prices)
    with st.container(horizontal=True):
        st.metric("In all", size(found.size), border=True)
        st.metric("Vectors", size(found.vectors), border=True)
        st.metric("Window vectors", size(found.segments), border=True)
        st.metric("Index", size(found.index), border=True)
        if prices != Prices():
            st.metric("A month", f"{found.monthly:,.2f}", border=True)
            st.metric("Loading it once", f"{found.loading:,.2f}", border=True)
    st.caption(
        "Bytes are counted from how rows are kept; prices are your provider's. From which size"
        " which index answers is in docs/decisions/0011-index-by-size.md."
    )


def page() -> None:
    """Draw the page."""
    services = frame.begin("Storage", "Where the library is kept, and how to move it.", mends=True)
    show_jobs(services)
    with st.spinner("Asking the stores"):
        states = services.stores.overview()
    for state in states:
        store(services, state)
    outbox(services)
    between(services, states)
    conflicts(services)
    cost(services)
    cache(services)
    frame.end()


page()
