"""Why a clip is where it is: its aspects' scores, the moments that match, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from kindred.errors import KindredError
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.scoring import Floats
from kindred.services import Services
from kindred.services.expressive import Run
from kindred.ui.evaluation.charts import BARE
from kindred.ui.evaluation.words import plain_text
from kindred.ui.expressive import charts, words
from kindred.ui.expressive.questions import Answer, Answers, Question


def why(
    services: Services,
    run: Run,
    question: Question,
    answers: Mapping[str, Answers],
    weights: Sequence[float],
) -> None:
    """Let an answer be chosen, and say why it is there."""
    st.subheader("Why")
    names = {
        f"{system}/{rank}": f"{words.SYSTEMS[system]} {rank}: {each.item.title}"
        for system in sorted(answers, key=lambda name: name != "retriever")
        for rank, each in enumerate(answers[system].found, 1)
    }
    if not names:
        return
    left, right = st.columns([2, 3], gap="large")
    chosen = left.selectbox("Answer", list(names), format_func=names.__getitem__)
    system, rank = chosen.split("/")
    answer = answers[system].found[int(rank) - 1]
    with left:
        st.markdown(said(system, int(rank), answer, weights))
        st.plotly_chart(
            charts.bars(answer.scores),
            key="expressive_scores",
            config=BARE,
            alt=f"Scores of {words.SYSTEMS[system]} in each aspect",
        )
    with right:
        aspect = st.segmented_control(
            "Moments that match in",
            KEYS,
            default=KEYS[0],
            required=True,
            format_func=lambda key: ASPECTS[KEYS.index(key)].title,
            key="expressive_why_aspect",
        )
        try:
            times = services.expressive.moments(run.run_id)
            scores = question.matched(answer, aspect)
        except KindredError as error:
            st.error(str(error), icon=":material/error:")
            return
        st.markdown(moments_said(scores, times, ASPECTS[KEYS.index(aspect)].title.lower()))
        st.plotly_chart(
            charts.moments(scores, times),
            key="expressive_moments",
            config=BARE,
            alt="How much each pair of moments speaks for likeness",
        )
        st.caption(
            "By the retriever, whoever answered: its score of the halves of the clips around these"
            f" moments, as if there was no more. The retriever: {words.standing(run)[0]}."
        )


def said(system: str, rank: int, answer: Answer, weights: Sequence[float]) -> str:
    """Why an answer stands where it does, in a sentence or two."""
    weighed = {
        aspect.key: aspect.title.lower()
        for aspect, weight in zip(ASPECTS, weights, strict=True)
        if weight
    }
    name, title = words.SYSTEMS[system], plain_text(answer.item.title)
    if system == "cosine":
        text = (
            f"{name} puts *{title}* at {rank}. It has one score for all aspects,"
            f" {answer.scores[KEYS[0]]:.2f}, so the sliders do not move it."
        )
    else:
        order = sorted(weighed, key=lambda key: -answer.scores[key])
        text = f"{name} puts *{title}* at {rank}: nearest in {_scored(order[0], answer)}"
        if len(order) > 1:
            text += f", least near in {_scored(order[-1], answer)}"
        text += ", of what counts."
    if answer.grades:
        same = [weighed[key] for key in weighed if answer.grades[key] == 3]
        apart = [weighed[key] for key in weighed if answer.grades[key] == 0 and key != "timbre"]
        parts = []
        if same:
            parts.append(f"{words.joined(same)} {'are' if len(same) > 1 else 'is'} the same")
        if apart:
            parts.append(f"{words.joined(apart)} {'are' if len(apart) > 1 else 'is'} far off")
        if "timbre" in weighed and answer.grades["timbre"] == 0:
            parts.append("the instrument is another")
        text += f" In truth {'; '.join(parts) or 'all that counts is near, and nothing the same'}."
    return text


def moments_said(scores: Floats, times: Sequence[float], aspect: str) -> str:
    """The pair of moments that speaks most for likeness, in a sentence."""
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    best = float(scores[row, column])
    if best <= 0:
        return f"No two moments speak for likeness in {aspect}."
    return (
        f"What speaks most for likeness in {aspect}: {times[row]:.1f} s into the query and"
        f" {times[column]:.1f} s into the answer."
    )


def _scored(key: str, answer: Answer) -> str:
    return f"{ASPECTS[KEYS.index(key)].title.lower()} ({answer.scores[key]:.2f})"
