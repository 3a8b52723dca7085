"""What is asked on the Expressive page, and what each scorer answers: test clips, or one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import soundfile
import streamlit as st

from kindred.audio.waveform import PeakMeter
from kindred.errors import TrackNotFound
from kindred.expressive.aspects import ASPECTS, KEYS, Aspect
from kindred.expressive.clips import SECONDS, Clip
from kindred.expressive.scoring import Floats
from kindred.services import Services
from kindred.services.expressive import Found
from kindred.ui.cards import Bar, CardItem
from kindred.ui.expressive import words
from kindred.ui.tracks import cards_of

#: Cards below each scorer.
K = 5


@dataclass(frozen=True)
class Answer:
    """A clip that a scorer found: its card, where it lies, and its aspects' scores.

    ``grades`` are 0 to 3 by aspect, and empty where no truth is known.
    """

    item: CardItem
    start: float
    scores: dict[str, float]
    grades: dict[str, int]


@dataclass(frozen=True)
class Answers:
    """What a scorer answers, nearest first, and which clips it compared, in words."""

    found: tuple[Answer, ...]
    compared: str


class Question(Protocol):
    """A clip that others are compared with."""

    @property
    def item(self) -> CardItem:
        """Its card."""

    def answers(self, weights: Sequence[float]) -> Mapping[str, Answers]:
        """What each scorer finds; KindredError when it cannot."""

    def matched(self, answer: Answer, aspect: str) -> Floats:
        """How much moments speak for likeness, float32 [segments, segments]."""


@dataclass(frozen=True)
class TestClip:
    """A rendered clip, of which the truth is known."""

    services: Services
    run_id: str
    test: str
    clip: Clip

    @property
    def item(self) -> CardItem:
        """Its card."""
        return clip_card(self.services, self.clip)

    def answers(self, weights: Sequence[float]) -> dict[str, Answers]:
        """See :class:`Question`."""
        room = self.services.expressive
        found = room.find(self.run_id, self.clip.clip_id, weights, test=self.test, k=K)
        clips = len(room.bench(self.run_id, self.test).clips)
        right = self.right(weights)
        compared = f"Compared with all {clips:,} clips of this test, one by one."
        return {
            name: Answers(
                tuple(self._answer(rank, one, weights, right) for rank, one in enumerate(hits, 1)),
                compared,
            )
            for name, hits in found.items()
        }

    def right(self, weights: Sequence[float]) -> float:
        """The weighted grade, of 3, from which an answer is right: that of the K-th in truth."""
        others = [
            clip
            for clip in self.services.expressive.bench(self.run_id, self.test).clips
            if clip.performance != self.clip.performance
        ]
        pairs = [zip(ASPECTS, self.clip.levels, clip.levels, strict=True) for clip in others]
        nearest = sorted(
            (_weighed([a.grade(one, other) for a, one, other in pair], weights) for pair in pairs),
            reverse=True,
        )
        return nearest[:K][-1] if nearest else 0.0

    def _answer(self, rank: int, found: Found, weights: Sequence[float], right: float) -> Answer:
        grade = _weighed([found.grades[key] for key in KEYS], weights)
        own = " · same piece" if found.clip.work == self.clip.work else ""
        item = replace(
            clip_card(self.services, found.clip),
            rank=rank,
            verdict="hit" if grade >= right > 0 else "miss",
            note=f"{grade:.1f} of 3 · score {words.number(found.total)}{own}",
            bars=_bars(
                found.aspects,
                lambda aspect: (
                    f" · {words.level(aspect, found.clip)},"
                    f" {words.off(aspect, found.grades[aspect.key])}"
                ),
            ),
        )
        return Answer(item, 0.0, found.aspects, found.grades)

    def matched(self, answer: Answer, aspect: str) -> Floats:
        """See :class:`Question`."""
        room = self.services.expressive
        bench = room.bench(self.run_id, self.test)
        one, other = (bench.row(of) for of in (self.clip.clip_id, answer.item.track_id))
        return room.matched(self.run_id, bench.features[one], bench.features[other], aspect)


@dataclass(frozen=True)
class OwnClip:
    """Twelve seconds of a track of the library."""

    services: Services
    run_id: str
    track_id: str
    start: float

    @property
    def item(self) -> CardItem:
        """The track's card, which plays from here."""
        [item] = cards_of(self.services, self.services.storage.get_tracks([self.track_id]))
        return _at(item, self.start)

    def answers(self, weights: Sequence[float]) -> dict[str, Answers]:
        """See :class:`Question`."""
        ranked = self.services.expressive.rank_library(
            self.run_id, self.track_id, self.start, weights, k=K
        )
        ids = list(dict.fromkeys(hit.track_id for one in ranked.values() for hit in one.hits))
        items = cards_of(self.services, self.services.storage.get_tracks(ids))
        card = {item.track_id: item for item in items}
        found: dict[str, Answers] = {}
        for name, ranking in ranked.items():
            answers = []
            for rank, hit in enumerate((h for h in ranking.hits if h.track_id in card), 1):
                item = replace(
                    _at(card[hit.track_id], hit.start),
                    rank=rank,
                    note=f"from {clock(hit.start)} · score {words.number(hit.total)}",
                    bars=_bars(hit.aspects),
                )
                answers.append(Answer(item, hit.start, hit.aspects, {}))
            found[name] = Answers(tuple(answers), ranking.compared)
        return found

    def matched(self, answer: Answer, aspect: str) -> Floats:
        """See :class:`Question`."""
        room = self.services.expressive
        clips = room.library(self.run_id)
        one, other = (
            clips.features(
                [min(clips.places[track], key=lambda place: abs(clips.starts[place] - start))]
            )[0]
            for track, start in (
                (self.track_id, self.start),
                (answer.item.track_id, answer.start),
            )
        )
        return room.matched(self.run_id, one, other, aspect)


def clip_card(services: Services, clip: Clip, *, note: str = "") -> CardItem:
    """A rendered clip as a card; without its sound it cannot be played."""
    title, composer = words.titled(clip)
    try:
        path = str(services.expressive.clip_path(clip.clip_id))
    except TrackNotFound:
        path = ""
    return CardItem(
        track_id=clip.clip_id,
        title=title,
        composer=composer,
        artist=words.take(clip),
        duration=SECONDS,
        peaks=_peaks(path) if path else b"",
        url=f"/clips/{clip.clip_id}" if path else "",
        path=path,
        note=note,
    )


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _weighed(grades: Sequence[int], weights: Sequence[float]) -> float:
    return sum(w * grade for w, grade in zip(weights, grades, strict=True)) / sum(weights)


def _bars(
    scores: Mapping[str, float], said: Callable[[Aspect], str] = lambda aspect: ""
) -> list[Bar]:
    """Each aspect's score, and what more is said of it."""
    return [
        Bar(aspect.title, scores[aspect.key], words.number(scores[aspect.key]) + said(aspect))
        for aspect in ASPECTS
    ]


def _at(item: CardItem, start: float) -> CardItem:
    return replace(item, at=min(1.0, start / item.duration) if item.duration else 0.0)


@st.cache_data(max_entries=4_096, show_spinner=False)
def _peaks(path: str) -> bytes:
    """The waveform of a clip; its name says what it sounds like, so it never changes."""
    meter = PeakMeter()
    with soundfile.SoundFile(path) as file:
        meter.add(file.read(dtype="float32"))
    return meter.peaks()
