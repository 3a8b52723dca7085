"""Listen: pick a clip, weigh the aspects, and hear what each scorer finds like it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from kindred.errors import KindredError
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.report import TITLES
from kindred.services import Services
from kindred.services.expressive import ANSWERING, Run
from kindred.ui import frame
from kindred.ui.cards import CardItem, cards
from kindred.ui.expressive import words
from kindred.ui.expressive.questions import Answers, K, OwnClip, Question, TestClip, clock
from kindred.ui.expressive.why import why
from kindred.ui.jobs import job_button, show_jobs
from kindred.ui.roles import role
from kindred.ui.server import is_served
from kindred.ui.tracks import library_view

RENDERED, OWN = "Test clips", "My library"


def listen(services: Services, run: Run) -> None:
    """Draw the view."""
    left, right = st.columns([2, 9], vertical_alignment="bottom")
    source = left.segmented_control(
        "Clips",
        [RENDERED, OWN],
        default=RENDERED,
        required=True,
        key="expressive_source",
        persist_state="session",
        help="Test clips are rendered from works that no scorer was trained on, so how each is"
        " played is known. My library is judged by ear.",
    )
    with right:
        question = (_rendered if source == RENDERED else _own)(services, run)
    if question is None:
        return
    _play([question.item], key="expressive_query", label="Query")
    if isinstance(question, TestClip):
        st.markdown(
            "Played so: " + " ".join(f":gray-badge[{said}]" for said in words.levels(question.clip))
        )
    _ranked(services, run, question)


# -- a clip to ask about -------------------------------------------------------------------------


def _rendered(services: Services, run: Run) -> Question | None:
    """A clip of a test."""
    tests = list(run.ranking.get("test", ()))
    if not tests:
        st.info("This run has no ranking that can be read.", icon=":material/broken_image:")
        return None
    left, middle, right = st.columns([2, 5, 1], vertical_alignment="bottom")
    test = left.selectbox("Test", tests, format_func=TITLES.__getitem__)
    with st.spinner("Listening to the test's clips"):
        bench = services.expressive.bench(run.run_id, test)
    by_id = {clip.clip_id: clip for clip in bench.clips}
    names = {
        clip.clip_id: " · ".join([*words.titled(clip), words.take(clip), *words.levels(clip)])
        for clip in sorted(bench.clips, key=lambda clip: (*words.titled(clip), clip.performance))
    }
    chosen = _choose(f"expressive_clip_{test}", names, middle, right)
    return TestClip(services, run.run_id, test, by_id[chosen])


def _own(services: Services, run: Run) -> Question | None:
    """A clip of the library, once it was heard."""
    if role(services.settings) == "organiser":
        show_jobs(services, "analyse", only_open=True)
    view = library_view(services)
    if not view.labels:
        st.info("The library is empty. Bring some music in first.", icon=":material/library_music:")
        st.page_link("pages/library.py", label="Go to the library", icon=":material/arrow_forward:")
        return None
    clips = services.expressive.library(run.run_id)
    heard = {track: name for track, name in view.labels.items() if track in clips.places}
    unread = {track: why for track, why in clips.unread.items() if track in view.labels}
    waiting = len(view.labels) - len(heard) - len(unread)
    if waiting:
        st.info(
            f"{waiting:,} of {len(view.labels):,} tracks were not listened to yet with"
            f" {words.features(run)}." if heard else
            "Nothing of the library was listened to yet. Up to eight clips of each track are"
            f" heard once, with {words.features(run)}; they serve every run with these features.",
            icon=":material/hearing:",
        )  # fmt: skip
        if role(services.settings) == "organiser":
            job_button(
                services,
                "analyse",
                {"run_id": run.run_id},
                label="Listen to the library" if not heard else "Listen to the rest",
                icon=":material/hearing:",
                type="secondary" if heard else "primary",
            )
        else:
            st.caption("An organiser can have the library listened to.")
    if unread:
        with st.expander(f"{len(unread):,} could not be read", icon=":material/warning:"):
            for track, reason in unread.items():
                st.text(f"{view.labels[track]}: {reason}")
    if not heard:
        return None
    left, middle, right = st.columns([5, 2, 1], vertical_alignment="bottom")
    track_id = _choose("expressive_track", heard, left, right)
    starts = [float(clips.starts[place]) for place in clips.places[track_id]]
    start = middle.selectbox(
        "Beginning at",
        starts,
        index=len(starts) // 2,
        format_func=clock,
        key=f"expressive_start_{track_id}",
        help="A clip is twelve seconds long.",
    )
    return OwnClip(services, run.run_id, track_id, start)


def _choose(
    key: str,
    names: Mapping[str, str],
    place: st.delta_generator.DeltaGenerator,
    beside: st.delta_generator.DeltaGenerator,
) -> str:
    """One of the clips or tracks, by name or by chance."""
    state = st.session_state
    if state.get(key) not in names:
        state[key] = next(iter(names))

    def another() -> None:
        others = [name for name in names if name != state[key]]
        state[key] = random.choice(others) if others else state[key]

    # Drawn later than the state is set, so that both see the same.
    beside.button("Another", icon=":material/casino:", on_click=another, width="stretch")
    return place.selectbox(
        "Clip" if "clip" in key else "Track",
        list(names),
        format_func=names.__getitem__,
        key=key,
        persist_state="session",
    )


# -- weights and answers -------------------------------------------------------------------------


@st.fragment
def _ranked(services: Services, run: Run, question: Question) -> None:
    """Sliders, what the scorers answer, and why; drawn again alone when a slider moves."""
    weights = _weights()
    if not any(weights):
        st.info("Every weight is 0: give an aspect some weight.", icon=":material/tune:")
        return
    try:
        answers = question.answers(weights)
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
        return
    shown = st.pills(
        "Answered by",
        list(words.SYSTEMS),
        selection_mode="multi",
        default=list(words.SYSTEMS),
        format_func=words.SYSTEMS.__getitem__,
        key="expressive_shown",
        persist_state="session",
    )
    if isinstance(question, TestClip):
        st.caption(
            "How near levels lie in truth: same 3, 1 off 2, 2 off 1, else 0; the mean by these"
            f" weights. A hit is as near as the {K} nearest of the test:"
            f" {question.right(weights):.1f} of 3 or more."
        )
    for column, name in zip(st.columns(max(1, len(shown)), gap="medium"), shown, strict=False):
        with column:
            _column(run, name, answers[name])
    why(services, run, question, answers, weights)


def _weights() -> list[float]:
    """A slider for each aspect, and buttons that set all."""
    keys = {key: f"expressive_weight_{key}" for key in KEYS}
    for key in keys.values():
        st.session_state.setdefault(key, 1.0)

    def take(only: str) -> None:
        for key, slider in keys.items():
            st.session_state[slider] = float(only in ("", key))

    st.subheader("What counts")
    with st.container(horizontal=True):
        st.button("Equal", on_click=partial(take, ""), key="expressive_equal")
        for aspect in ASPECTS:
            st.button(
                f"Only {aspect.title.lower()}",
                on_click=partial(take, aspect.key),
                key=f"expressive_only_{aspect.key}",
            )
    return [
        column.slider(
            aspect.title,
            0.0,
            1.0,
            step=0.05,
            key=keys[aspect.key],
            help=aspect.question,
            persist_state="session",
        )
        for column, aspect in zip(st.columns(len(ASPECTS), gap="medium"), ASPECTS, strict=True)
    ]


def _column(run: Run, name: str, answers: Answers) -> None:
    """What one scorer answers."""
    word, icon, colour = "baseline", "", "gray"
    if name in words.LEARNED:
        word, icon, colour = words.standing(run)
    if run.released and name == "oracle":
        word, icon, colour = "teacher, not released", ":material/school:", "gray"
    st.markdown(f"#### {words.SYSTEMS[name]} :{colour}-badge[{icon} {word}]")
    st.caption(ANSWERING[name])
    if not answers.found:
        st.info("There is nothing else to compare it with.", icon=":material/search_off:")
        return
    items = [each.item for each in answers.found]
    _play(items, key=f"expressive_{name}", label=words.SYSTEMS[name])
    st.caption(answers.compared)


def _play(items: Sequence[CardItem], *, key: str, label: str) -> None:
    """Cards that can be heard, also where the player is told by Python."""
    kind = "query" if key == "expressive_query" else "results"
    event = cards(items, key=key, served=is_served(), actions=(), kind=kind, label=label)  # type: ignore[arg-type]
    if event is not None:
        frame.order(next(item for item in items if item.track_id == event.track_id))
        st.rerun()
