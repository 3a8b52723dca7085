"""A listening study as it is designed, and frozen when it opens.

::

    Study
    +-- Design         what the organiser chose: form, aspect, systems, counts, rules
    +-- Item, ...      the pool: a reference and candidates, each a clip of a track
        +-- Candidate  a clip, and where each system placed its track

An item is what may be asked; a trial (:mod:`kindred.audit.plan`) is one asking of it in one
sitting, with its candidates in an order of that sitting. Everything after opening carries
``design_hash``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from kindred.errors import AuditError

Form = Literal["ab", "graded", "odd"]
#: What is asked of the listener, and how many candidates an item of the form has at most.
FORMS: dict[Form, tuple[str, int]] = {
    "ab": ("A reference, A and B: which is closer, on five points with equal in the middle", 2),
    "graded": ("A reference and up to five others, each graded for how similar it is", 5),
    "odd": ("Three clips: which one is the odd one out", 3),
}
#: What a listener is asked about, in the words of the question, and what is meant by it.
ASPECTS: dict[str, tuple[str, str]] = {
    "overall": ("overall", "Everything you hear, as you would compare two pieces yourself."),
    "tempo": ("in tempo", "How fast the beat goes, whatever is played."),
    "phrasing": ("in phrasing", "How time is bent: rubato, breathing, slowing at ends of phrases."),
    "dynamics": ("in dynamics", "How far loud and soft lie apart and how they swell and fade."),
    "articulation": ("in articulation", "How notes are joined: from short and detached to legato."),
    "timbre": ("in timbre", "The colour of the sound: instruments, voices, brightness."),
    "harmony": ("in harmony", "The chords and keys, whatever plays them."),
    "texture": ("in texture", "How many voices sound together and how they are layered."),
}
State = Literal["draft", "open", "closed"]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Exclusions:
    """When a listener's answers do not count; fixed before a study opens.

    Attributes
    ----------
    min_catches : float
        Share of catch trials that must be answered right, 0 to 1.
    min_repeat_agreement : float
        Least weighted kappa between a listener's answers to the repeats and to the trials repeated
        (-1 to 1); -1 leaves it out.
    min_seconds : float
        A trial answered faster than this, counted from when its last clip had been heard, is a
        hasty one.
    max_hasty : float
        Share of hasty trials above which the listener is left out.
    """

    min_catches: float = 5 / 6
    min_repeat_agreement: float = -1.0
    min_seconds: float = 0.3
    max_hasty: float = 0.25


@dataclass(frozen=True)
class Design:
    """What the organiser chose.

    Attributes
    ----------
    title : str
        For organisers; listeners never see it.
    form, aspect
        Keys of :data:`FORMS` and :data:`ASPECTS`.
    systems : tuple of str
        Names of the systems whose answers are compared, such as ``"clap"`` or ``"clap, csls"``.
    trials, catches, repeats, practice : int
        Trials of a sitting: real ones, ones whose answer is known, real ones asked again with the
        candidates the other way round, and practice before them.
    overlap : int
        How many listeners at least hear each item.
    listeners : int
        How many are expected; trials * listeners / overlap items are drawn,
        rounded down.
    clip_seconds, fade_seconds : float
    clip_choice : str
        ``"matching"``: the segments of reference and candidate that are nearest in the first
        system's vectors; ``"random"``: any.
    stratify : str
        Queries are drawn evenly from ``"composer"``, ``"cluster"``, or ``"none"``.
    k : int
        How deep in each system's answers candidates are looked for.
    match_loudness : bool
        Whether clips are brought to -23 LUFS; off only where dynamic level is the question.
    seed : int
    """

    title: str
    form: Form = "ab"
    aspect: str = "overall"
    systems: tuple[str, ...] = ()
    trials: int = 20
    catches: int = 6
    repeats: int = 4
    practice: int = 2
    overlap: int = 3
    listeners: int = 10
    clip_seconds: float = 10.0
    fade_seconds: float = 0.05
    clip_choice: Literal["matching", "random"] = "matching"
    stratify: Literal["composer", "cluster", "none"] = "composer"
    k: int = 5
    match_loudness: bool = True
    seed: int = 0
    exclusions: Exclusions = field(default_factory=Exclusions)

    @property
    def question(self) -> str:
        """What a listener is asked."""
        words = ASPECTS[self.aspect][0]
        return {
            "ab": f"Which is closer to the reference {words}?",
            "graded": f"How similar is each to the reference {words}?",
            "odd": f"Which one is the odd one out {words}?",
        }[self.form]

    @property
    def length(self) -> int:
        """Trials of a sitting, practice aside."""
        return self.trials + self.catches + self.repeats

    @property
    def break_after(self) -> int:
        """After how many trials a break is offered; 0 for none."""
        return self.length // 2 if self.length >= 10 else 0

    def check(self) -> None:
        """Raise :class:`AuditError` for what cannot be a study."""
        problems = []
        if not self.title.strip():
            problems.append("give it a title")
        if self.form not in FORMS:
            problems.append(f"the form is one of {', '.join(FORMS)}, got {self.form!r}")
        if self.aspect not in ASPECTS:
            problems.append(f"the aspect is one of {', '.join(ASPECTS)}, got {self.aspect!r}")
        if self.clip_choice not in ("matching", "random"):
            problems.append(f"clips are matching or random, got {self.clip_choice!r}")
        if self.stratify not in ("composer", "cluster", "none"):
            problems.append(f"stratify by composer, cluster or none, got {self.stratify!r}")
        least = 2 if self.form == "ab" else 1
        if len(set(self.systems)) < least or len(set(self.systems)) != len(self.systems):
            problems.append(f"name at least {least} different systems, got {list(self.systems)}")
        for name, low, high in (
            ("trials", 1, 200),
            ("catches", 0, 60),
            ("repeats", 0, 60),
            ("practice", 0, 10),
            ("overlap", 1, 1_000),
            ("listeners", 1, 10_000),
            ("k", 1, 100),
            ("seed", 0, 2**31 - 1),
            ("clip_seconds", 1.0, 60.0),
            ("fade_seconds", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                problems.append(f"{name} lies between {low} and {high}, got {getattr(self, name)}")
        if self.repeats > self.trials:
            problems.append(f"{self.repeats} repeats need as many trials, got {self.trials}")
        if self.overlap > self.listeners:
            problems.append(
                f"{self.overlap} listeners cannot hear each item when {self.listeners} are expected"
            )
        for name, low in (
            ("min_catches", 0.0),
            ("min_repeat_agreement", -1.0),
            ("min_seconds", 0.0),
            ("max_hasty", 0.0),
        ):
            value = getattr(self.exclusions, name)
            if not low <= value <= (60.0 if name == "min_seconds" else 1.0):
                problems.append(f"{name} cannot be {value}")
        if problems:
            raise AuditError(f"This study cannot be made: {'; '.join(problems)}.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of ``asdict``, from what JSON made of it; raises :class:`AuditError`."""
        unknown = set(values) - {item.name for item in fields(cls)}
        if unknown:
            raise AuditError(f"A design has no {', '.join(sorted(unknown))}.")
        try:
            made: dict[str, Any] = dict(values)
            made["systems"] = tuple(values.get("systems", ()))
            made["exclusions"] = Exclusions(**values.get("exclusions", {}))
            return cls(**made)
        except TypeError as error:
            raise AuditError(f"This design cannot be read: {error}.") from error


@dataclass(frozen=True)
class Clip:
    """A stretch of a track; ``start`` and ``seconds`` in seconds."""

    track_id: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Placed:
    """Where a system placed a track for a query: ``rank`` from 1, and its score."""

    rank: int
    score: float


@dataclass(frozen=True)
class Candidate:
    """A clip that is compared; ``systems`` says which systems answered with its track."""

    clip: Clip
    systems: dict[str, Placed] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """Something that can be asked.

    Attributes
    ----------
    item_id : str
        Unique in the study; says nothing about what is asked.
    kind : str
        ``"real"``, ``"catch"`` or ``"practice"``.
    stratum : str
        The composer or cluster the query was drawn from.
    reference : Clip or None
        The query; an odd-one-out item has none.
    candidates : tuple of Candidate
        ``ab``: two, of a real item each from another system. ``graded``: up to five. ``odd``:
        three.
    expected : int or None
        The candidate a listener who listens must choose (``ab``: the closer one; ``graded``: the
        most similar; ``odd``: the odd one). ``None`` where nothing is known.
    """

    item_id: str
    kind: Literal["real", "catch", "practice"]
    stratum: str
    reference: Clip | None
    candidates: tuple[Candidate, ...]
    expected: int | None = None

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Every clip: the reference first, where there is one, then the candidates."""
        first = (self.reference,) if self.reference else ()
        return (*first, *(item.clip for item in self.candidates))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of ``asdict``, from what JSON made of it."""
        reference = values["reference"]
        return cls(
            item_id=values["item_id"],
            kind=values["kind"],
            stratum=values["stratum"],
            reference=Clip(**reference) if reference else None,
            candidates=tuple(
                Candidate(
                    Clip(**item["clip"]),
                    {name: Placed(**place) for name, place in item["systems"].items()},
                )
                for item in values["candidates"]
            ),
            expected=values["expected"],
        )


@dataclass(frozen=True)
class Study:
    """A design with its pool of items; frozen once ``state`` is no longer ``"draft"``.

    ``facts`` holds where it came from: library id and version, spaces, Kindred's version. Times are
    UTC, ISO 8601.
    """

    study_id: str
    design: Design
    items: tuple[Item, ...]
    state: State = "draft"
    created_at: str = ""
    opened_at: str = ""
    closed_at: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def design_hash(self) -> str:
        """SHA-256 of design and items, hexadecimal: the same study, the same hash."""
        text = json.dumps(
            {"schema": SCHEMA_VERSION, **self._frozen()}, sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _frozen(self) -> dict[str, Any]:
        return {"design": asdict(self.design), "items": [asdict(item) for item in self.items]}

    def of_kind(self, kind: str) -> tuple[Item, ...]:
        """Items of a kind, in the order in which they were drawn."""
        return tuple(item for item in self.items if item.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """The study ready for JSON."""
        return {
            "schema": SCHEMA_VERSION,
            "study_id": self.study_id,
            **self._frozen(),
            "state": self.state,
            "created_at": self.created_at,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "facts": self.facts,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`; raises :class:`AuditError` for another schema."""
        if values.get("schema") != SCHEMA_VERSION:
            raise AuditError(
                f"This study has schema {values.get('schema')}; {SCHEMA_VERSION} is read here."
            )
        names = ("study_id", "state", "created_at", "opened_at", "closed_at", "facts")
        return cls(
            design=Design.from_dict(values["design"]),
            items=tuple(Item.from_dict(item) for item in values["items"]),
            **{name: values[name] for name in names},
        )
