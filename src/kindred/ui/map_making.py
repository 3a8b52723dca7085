"""Maps asked for and taken along: the form, the first one, files, what maps are called."""

from __future__ import annotations

from functools import partial

import streamlit as st

from kindred.maps.options import METHODS, MapOptions
from kindred.maps.record import LibraryMap
from kindred.services import Services
from kindred.services.maps import MapView
from kindred.ui.jobs import start
from kindred.ui.map_files import SUFFIXES, TABLES, map_file


def tracks(count: int) -> str:
    """``1 track``, ``1,200 tracks``."""
    return f"{count:,} track{'' if count == 1 else 's'}"


def build_form(services: Services) -> None:
    """Choose how a map is made, and start the job."""
    encoders = services.embedded_encoders()
    active = services.active_encoder().name
    if not encoders:
        st.info(f"No track has vectors of {active} yet.", icon=":material/hourglass_empty:")
        return
    default = encoders.index(active) if active in encoders else 0
    encoder = st.selectbox("Model", encoders, index=default, key="map_encoder")
    method = st.segmented_control(
        "Method",
        list(METHODS),
        format_func=METHODS.__getitem__,
        default="umap",
        required=True,
        key="map_method",
        help="UMAP keeps neighbours together and shows groups. t-SNE keeps the nearest ones a"
        " little better. PCA is a plain projection: it distorts least and shows least.",
    )
    given: dict[str, object] = {"method": method}
    if method == "umap":
        given["neighbours"] = st.slider("Neighbours", 2, 100, 15, help="Fewer: finer groups.")
        given["min_dist"] = st.slider("Least distance", 0.0, 0.99, 0.1, 0.05, help="Less: denser.")
    elif method == "tsne":
        given["perplexity"] = float(st.slider("Perplexity", 5, 100, 30, help="Less: finer groups."))
    if method != "pca":
        given["metric"] = st.selectbox("Distance", ["cosine", "euclidean"])
    given["dims"] = st.segmented_control("Dimensions", [2, 3], default=2, required=True)
    given["seed"] = int(
        st.number_input("Seed", 0, 1_000_000, 0, help="The same seed, the same map.")
    )
    again = st.checkbox("Even if there is this very map already")
    if st.button("Build", type="primary", icon=":material/map:"):
        options = MapOptions.from_dict(given)
        start(
            services,
            "map",
            {"encoder": encoder, "options": options.to_dict(), "again": again},
        )


def nothing_yet(services: Services) -> None:
    """There is no map: say what one is and offer to build it."""
    st.info(
        f"There is no map of {tracks(services.storage.count_tracks())} yet. A map puts tracks"
        " that the model hears as alike next to each other; you walk through it and hear every"
        " place.",
        icon=":material/map:",
    )
    if st.button("Build the map", type="primary", icon=":material/map:"):
        encoder = services.active_encoder().name
        start(services, "map", {"encoder": encoder, "options": MapOptions().to_dict()})
    with st.expander("Choose how it is made"):
        build_form(services)


def offer_files(services: Services, view: MapView, by: str) -> None:
    """Offer a map as files: pictures and a page in the colours that are seen, and tables."""
    dark = st.context.theme.type == "dark"
    flat = view.positions.shape[1] == 2
    for suffix, what in SUFFIXES.items():
        if flat or suffix in TABLES:
            st.download_button(
                f"{suffix[1:].upper()}, a {what}",
                partial(map_file, services, view, suffix, by=by, dark=dark),
                f"kindred-map{suffix}",
                on_click="ignore",  # it is made when it is asked for
            )


def short_title(made: LibraryMap) -> str:
    """What a map is called in a list: model, method, parameters that are not the usual, time."""
    used, usual = made.options.used, MapOptions(method=made.options.method).used
    unusual = [
        f"{name.replace('_', ' ')} {value}" for name, value in used.items() if value != usual[name]
    ]
    when = made.created_at[:16].replace("T", " ")
    return " · ".join([made.space.model, METHODS[made.options.method], *unusual, when])
