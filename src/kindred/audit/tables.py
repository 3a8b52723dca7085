"""A study's judgements as flat tables for other programs: CSV, Parquet and JSON lines.

One row is one judgement, every revision of it, in the order in which they were stored; nothing is
left out, and ``counts`` and ``excluded`` say what an analysis goes by. :func:`columns` is the one
description of what is in a row: the tables and their codebook are made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kindred.audit.judgement import Judgement, chosen, counting, grades, preference
from kindred.audit.study import FORMS, Item, Study
from kindred.errors import AuditError
from kindred.spreadsheet import guarded
from kindred.storage.whole_files import replacing

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet", "jsonl")
#: Some spreadsheets drop these, and then look at what follows.
_DROPPED = ("\t", "\r", "\n")
_TYPES = {"text": "string", "integer": "Int64", "number": "float64", "yes/no": "boolean"}


@dataclass(frozen=True)
class Column:
    """A column: its name, a key of the types (``text``, ``integer``, ``number``, ``yes/no``), its
    meaning with unit, and the values it may have."""

    name: str
    type: str
    meaning: str
    values: str = ""


def columns(study: Study) -> tuple[Column, ...]:
    """The columns of a study's tables, in order."""
    most = FORMS[study.design.form][1]
    return (
        Column("row", "integer", "Order in which it was stored", "from 0"),
        Column("schema", "integer", "Version of what a judgement holds"),
        Column("study_id", "text", "Study"),
        Column("design_hash", "text", "SHA-256 of the study's design and items", "64 hex digits"),
        Column("form", "text", "Form of the trials", ", ".join(FORMS)),
        Column("aspect", "text", "What was asked about"),
        Column("judgement_id", "text", "Unique", "UUID"),
        Column("sitting_id", "text", "One listener's way through the study"),
        Column("listener_id", "text", "Pseudonym: one listener of the study"),
        Column("position", "integer", "Place in the sitting; practice is below 0"),
        Column("revision", "integer", "0 for the first answer at this position, then 1, ..."),
        Column("counts", "yes/no", "Whether it is the last answer at its position, practice aside"),
        Column("excluded", "text", "Why its listener is left out; empty: is not"),
        Column("kind", "text", "Kind of trial", "real, catch, repeat, practice"),
        Column("item_id", "text", "What was asked"),
        Column("stratum", "text", "Composer or cluster its query was drawn from"),
        Column("query_track_id", "text", "Track of the reference; empty: the form has none"),
        Column("query_start", "number", "Where the reference begins in its track, s"),
        *(
            column
            for at in range(most)
            for column in (
                Column(f"candidate_{at}_track_id", "text", f"Track of candidate {at}"),
                Column(f"candidate_{at}_start", "number", "Where its clip begins, s"),
                Column(
                    f"candidate_{at}_systems",
                    "text",
                    "Systems that answered with it",
                    'JSON: {system: {"rank": from 1, "score": number}}',
                ),
            )
        ),
        Column("order", "text", "Candidates as shown, first to last", "JSON: list of numbers"),
        Column("answer", "text", "As given, about places as shown; null: cannot tell", "JSON"),
        Column("can_tell", "yes/no", "Whether the answer was other than 'cannot tell'"),
        Column(
            "preference",
            "integer",
            "ab: how much closer candidate 1 is than candidate 0",
            "-2 to 2; empty: cannot tell, or another form",
        ),
        Column("chosen", "integer", "Candidate chosen; empty: none stands out", f"0 to {most - 1}"),
        *(
            column
            for at in range(most if study.design.form == "graded" else 0)
            for column in (
                Column(f"broad_{at}", "integer", f"Broad grade of candidate {at}", "0 to 2"),
                Column(f"fine_{at}", "integer", f"Fine grade of candidate {at}", "0 to 100"),
            )
        ),
        Column("expected", "integer", "Candidate that must be chosen; empty: nothing is known"),
        Column("right", "yes/no", "Whether the expected one was chosen; empty: nothing is known"),
        Column("comment", "text", "In the listener's words"),
        Column(
            "heard",
            "text",
            "What was played of each clip, the reference first, then as shown; seconds in s",
            'JSON: [{"plays", "seconds", "whole"}, ...]',
        ),
        Column("plays", "integer", "Plays begun, all clips together"),
        Column("listened_seconds", "number", "Played, all clips together, s"),
        Column("seconds", "number", "From shown to answered, by the browser, s"),
        Column("deciding_seconds", "number", "From all clips heard to answered, s"),
        Column("blurred", "integer", "How often the page lost the focus"),
        Column("shown_at", "text", "By the server's clock; empty: not told", "UTC, ISO 8601"),
        Column("answered_at", "text", "By the server's clock", "UTC, ISO 8601"),
        Column("device", "text", "As far as known", 'JSON: {"width", "touch", "headphones"}'),
    )


def rows(
    study: Study, judgements: Sequence[Judgement], excluded: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One flat row for each judgement, with every name of :func:`columns`.

    Parameters
    ----------
    judgements : sequence of Judgement
        In the order in which they were stored.
    excluded : mapping of str to str, optional
        Listener id -> why they are left out.

    Raises
    ------
    AuditError
        When a judgement is not of this study.
    """
    items = {item.item_id: item for item in study.items}
    last = {item.judgement_id for item in counting(list(judgements))}
    design_hash = study.design_hash
    names = [column.name for column in columns(study)]
    found = []
    for number, judgement in enumerate(judgements):
        if judgement.design_hash != design_hash or judgement.item_id not in items:
            raise AuditError(
                f"The judgement {judgement.judgement_id} is not of the study {study.study_id}."
            )
        values: dict[str, Any] = {
            **asdict(judgement),
            "row": number,
            "form": study.design.form,
            "aspect": study.design.aspect,
            "counts": judgement.judgement_id in last and judgement.kind != "practice",
            "excluded": (excluded or {}).get(judgement.listener_id, ""),
            **_asked(items[judgement.item_id]),
            **_told(study, judgement, items[judgement.item_id].expected),
        }
        found.append({name: values.get(name) for name in names})
    return found


def _asked(item: Item) -> dict[str, Any]:
    values: dict[str, Any] = {
        "stratum": item.stratum,
        "query_track_id": item.reference.track_id if item.reference else None,
        "query_start": item.reference.start if item.reference else None,
        "expected": item.expected,
    }
    for at, candidate in enumerate(item.candidates):
        systems = {name: asdict(place) for name, place in candidate.systems.items()}
        values[f"candidate_{at}_track_id"] = candidate.clip.track_id
        values[f"candidate_{at}_start"] = candidate.clip.start
        values[f"candidate_{at}_systems"] = json.dumps(systems, ensure_ascii=False)
    return values


def _told(study: Study, judgement: Judgement, expected: int | None) -> dict[str, Any]:
    form = study.design.form
    choice = chosen(form, judgement)
    values: dict[str, Any] = {
        "order": json.dumps(judgement.order),
        "answer": json.dumps(judgement.answer),
        "can_tell": judgement.answer is not None,
        "preference": preference(judgement) if form == "ab" else None,
        "chosen": choice,
        "right": None if expected is None else choice == expected,
        "heard": json.dumps([asdict(item) for item in judgement.heard]),
        "plays": sum(item.plays for item in judgement.heard),
        "listened_seconds": sum(item.seconds for item in judgement.heard),
        "device": json.dumps(judgement.device),
    }
    if form == "graded":
        for at, (broad, fine) in grades(judgement).items():
            values |= {f"broad_{at}": broad, f"fine_{at}": fine}
    return values


def frame(
    study: Study, judgements: Sequence[Judgement], excluded: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The rows as a data frame, with the columns' types."""
    import pandas as pd

    made = rows(study, judgements, excluded)
    return pd.DataFrame(
        {
            column.name: pd.Series([row[column.name] for row in made], dtype=_TYPES[column.type])
            for column in columns(study)
        }
    )


def write_tables(
    study: Study,
    judgements: Sequence[Judgement],
    folder: Path,
    *,
    excluded: Mapping[str, str] | None = None,
    formats: Iterable[str] = FORMATS,
) -> list[Path]:
    """Write ``judgements.<format>`` for each format, and ``codebook.md``.

    In CSV, text that a spreadsheet would take for a formula has an apostrophe before it.

    Returns
    -------
    list of Path

    Raises
    ------
    AuditError
        For an unknown format, or a folder that cannot be written.
    """
    wanted = list(formats)
    unknown = set(wanted) - set(FORMATS)
    if unknown:
        raise AuditError(f"Tables are written as {', '.join(FORMATS)}, not as {min(unknown)}.")
    table = frame(study, judgements, excluded)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            paths.append(folder / f"judgements.{name}")
            with replacing(paths[-1]) as out:
                if name == "csv":
                    _without_formulas(table).to_csv(out, index=False, lineterminator="\r\n")
                elif name == "parquet":
                    table.to_parquet(out, index=False)
                elif len(table):  # pandas writes an empty line for no rows
                    table.to_json(out, orient="records", lines=True, force_ascii=False)
        paths.append(folder / "codebook.md")
        with replacing(paths[-1]) as out:
            out.write(codebook(study).encode())
    except OSError as error:
        raise AuditError(f"The tables cannot be written to {folder} ({error}).") from error
    return paths


def codebook(study: Study) -> str:
    """What each column is, in Markdown."""
    lines = [
        f"# Judgements of study {study.study_id}",
        "",
        f"Question: {study.design.question}  ",
        f"Design: `{study.design_hash}`",
        "",
        "One row is one judgement. In the CSV file, text that a spreadsheet would take for a",
        "formula has an apostrophe (') before it; empty cells are missing values.",
        "",
        "| column | type | what it is | values |",
        "|---|---|---|---|",
        *(
            f"| `{item.name}` | {item.type} | {item.meaning} | {item.values} |"
            for item in columns(study)
        ),
    ]
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_DROPPED) else guarded(text)


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    safe = table.copy()
    for name in map(str, safe.select_dtypes("string").columns):
        safe[name] = safe[name].map(_safe, na_action="ignore")
    return safe
