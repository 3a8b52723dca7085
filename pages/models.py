"""Models: which encoders there are, what they cost, and which one answers."""

import streamlit as st

from kindred.errors import KindredError
from kindred.services import ModelState, Services
from kindred.ui import frame
from kindred.ui.jobs import job_button, show_jobs


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def draw(services: Services, model: ModelState) -> None:
    """One encoder: what it is, where it stands, what can be done."""
    with st.container(border=True):
        with st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
        ):
            st.subheader(model.title, width="content")
            if model.active:
                st.badge("in use", icon=":material/check:", color="green")
            elif model.ready:
                st.badge("ready", color="blue")
            elif model.needs_weights:
                st.badge("weights missing", color="orange")
            else:
                st.badge("not ready", color="gray")
        st.write(model.description)
        facts = [f"{model.dims} dimensions", f"licence: {model.licence}"]
        if model.size:
            facts.append(f"{size(model.size)} on disk")
        if model.revision:
            facts.append(f"revision `{model.revision}`")
        st.caption(" · ".join(facts))
        if model.covered and model.total:
            st.progress(
                min(1.0, model.covered / model.total),
                text=f"{model.covered:,} of {model.total:,} tracks have its vectors",
            )
        if not model.ready:
            icon = ":material/download:" if model.needs_weights else ":material/info:"
            st.info(model.notice, icon=icon)
            if model.command:
                st.code(model.command, language="bash")
        buttons(services, model)


def buttons(services: Services, model: ModelState) -> None:
    """What can be done with an encoder as it stands."""
    with st.container(horizontal=True):
        if not model.ready and model.needs_weights and model.command:
            job_button(
                services,
                "fetch-model",
                {"name": model.name},
                label=f"Fetch {model.title}",
                icon=":material/download:",
            )
        if model.ready and not model.active:
            complete = model.total and model.covered == model.total
            label = f"Use {model.title}" if complete else f"Embed the library with {model.title}"
            if st.button(label, key=f"use-{model.name}", type="primary"):
                try:
                    services.change_encoder(model.name)
                except KindredError as error:
                    st.error(str(error))
                else:
                    st.rerun()
        if model.removable and not model.active:
            with st.popover("Remove weights", icon=":material/delete:"):
                st.write(f"This frees {size(model.size)}. Vectors made with them stay.")
                if st.button("Remove them", key=f"remove-{model.name}"):
                    try:
                        services.remove_weights(model.name)
                    except KindredError as error:
                        st.error(str(error))
                    else:
                        st.rerun()


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Models", "What turns sound into vectors. The old one serves until the new one is ready."
    )
    show_jobs(services)
    for model in services.models():
        draw(services, model)
    if services.settings.model_fields_set & {"encoder"}:
        st.caption("KINDRED_ENCODER is set and decides, whatever is chosen here.")
    frame.end()


page()
