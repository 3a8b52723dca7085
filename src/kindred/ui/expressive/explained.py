"""Aspects: each in words, and as five clips that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from kindred.expressive.aspects import ASPECTS, LEVELS, Aspect
from kindred.expressive.clips import Clip
from kindred.services import Services
from kindred.services.expressive import Run
from kindred.ui import frame
from kindred.ui.cards import cards
from kindred.ui.expressive import words
from kindred.ui.expressive.questions import clip_card
from kindred.ui.server import is_served

_CONTROLS = {
    "transpose": ("Transposition", "The same notes, so many semitones higher or lower."),
    "texture": ("Texture", "The same piece, with this share of its parts."),
}


def explained(services: Services, run: Run | None) -> None:
    """Draw the view."""
    clips = services.expressive.sweeps(run.run_id) if run is not None else ()
    bases = {clip.clip_id: clip for clip in clips if not clip.base}
    base = None
    if bases:
        names = {key: " · ".join(words.titled(clip)) for key, clip in bases.items()}
        base = st.selectbox(
            "Heard on",
            list(names),
            format_func=names.__getitem__,
            help="Pieces that no scorer was trained on.",
        )
    else:
        st.info("With a run, each aspect can be heard here on a piece.", icon=":material/hearing:")
    ours = [clip for clip in clips if base in (clip.base, clip.clip_id)]
    for aspect in ASPECTS:
        _aspect(services, aspect, ours)
    if ours:
        st.header("What must not matter")
        for name, (title, meaning) in _CONTROLS.items():
            st.subheader(title)
            st.markdown(meaning)
            _row(services, name, _controls(ours, name))


def _aspect(services: Services, aspect: Aspect, clips: Sequence[Clip]) -> None:
    st.subheader(aspect.title)
    st.markdown(f"**{aspect.question}** {aspect.meaning}")
    steps = ", ".join(
        words.INSTRUMENTS[int(step)] if aspect.key == "timbre" else f"{step:g}"
        for step in aspect.steps
    )
    st.caption(
        f"Levels: {steps} ({aspect.unit}). Played: {aspect.rendered} Where no notes are known,"
        f" heard as {aspect.proxy} ({aspect.proxy_unit})."
    )
    rows = {clip.level(aspect.key): clip for clip in clips if clip.varies in ("", aspect.key)}
    named = [(words.named_level(aspect, rows[n]), rows[n]) for n in range(LEVELS) if n in rows]
    _row(services, aspect.key, named)


def _controls(clips: Sequence[Clip], name: str) -> list[tuple[str, Clip]]:
    """Clips of a control in the order of its value, the base among them."""
    found = [clip for clip in clips if clip.varies in ("", name)]
    found.sort(key=lambda clip: float(getattr(clip.recipe, name)))
    if name == "transpose":
        return [(_semitones(clip.recipe.transpose), clip) for clip in found]
    return [(f"{clip.recipe.texture:.0%} of the parts", clip) for clip in found]


def _semitones(count: int) -> str:
    return f"{count:+d} semitones".replace("-", "−") if count else "as written"


def _row(services: Services, name: str, clips: Sequence[tuple[str, Clip]]) -> None:
    """Cards, each headed by what is different in it."""
    if not clips:
        return
    items = [
        replace(clip_card(services, clip), title=said, composer=words.titled(clip)[0], artist="")
        for said, clip in clips
    ]
    key = f"expressive_sweep_{name}"
    event = cards(items, key=key, served=is_served(), actions=(), label=name.capitalize())
    if event is not None:
        frame.order(next(item for item in items if item.track_id == event.track_id))
