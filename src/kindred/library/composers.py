"""One spelling for each composer, so that two files of one composer are found to be one.

Conventions
-----------
A known composer is written as the title of the Wikipedia article, without what stands there in
brackets. The table is ``composers.csv``: name, years of birth and death (a conventional year where
sources differ, empty where nobody knows), whether the surname alone is enough (``alone``), other
spellings of the surname, and full aliases; lists are separated by ``|``.

The rules, in the order in which they apply:

1. Text becomes Unicode NFC on one line. ``;`` (and the NUL of ID3v2.4) separates composers.
2. A word for "nobody" ("Unknown", "N/A", "-", "Various", anything without a letter or digit)
   becomes ``""``; "Trad." and "Anon." become "Traditional" and "Anonymous", and
   "Trad. (Irish)" becomes "Traditional (Irish)".
3. Dropped: brackets that hold a year or a role ("(1685-1750)", "[composer]"), years at the end
   (", 1685-1750"), a role after a comma (", composer"), and an arranger ("arr. Busoni").
4. Names are compared without case, diacritics and punctuation: as a whole first, then surname with
   given names, in either order. Given names may be initials ("J.S.", "JS"), abbreviated ("Joh.")
   or left out after the first; one composer must fit best, otherwise the name is unknown.
   A surname alone counts only where the table says so: "Bach" is Johann Sebastian, "Strauss"
   stays "Strauss".
5. " / " and " & " separate composers (not in "Earth, Wind & Fire", where commas are uneven). A
   comma, dash, "/" or "and" does only if every part is known: "Bach-Busoni" is two people,
   "Iron and Wine" is not.
6. A name still unknown is tidied: "Last, First" turns round; capitals become title case, except
   in one word of up to four letters ("ABBA").

Several composers are joined by ``"; "``, each once. The rules repeat until they change nothing,
so standardising a standardised name leaves it alone.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_LONGEST = 500  # a longer text is no list of names, and patterns on it would be slow
_ROUNDS = 8

_NOBODY = frozenset(
    (
        *("unknown", "unknown composer", "unknown artist", "composer unknown", "composer"),
        *("n a", "na", "nan", "none", "null", "not available", "unbekannt", "inconnu"),
        *("va", "various", "various artists", "various composers", "diverse"),
    )
)
_ANONYMOUS = frozenset(
    ("anon", "anonymous", "anonymus", "anonym", "anonyme", "anonimo", "anonymous composer")
)
_TRADITIONAL = frozenset(("trad", "traditional", "traditionnel", "traditionell", "tradicional"))
_PARTICLES = frozenset(
    (
        "van",
        "von",
        "der",
        "den",
        "zu",
        "de",
        "da",
        "di",
        "del",
        "della",
        "du",
        "des",
        "la",
        "le",
        "of",
    )
)
_SUFFIXES = frozenset(("jr", "sr", "junior", "senior", "ii", "iii", "iv", "phd"))
_ROMAN = frozenset(("II", "III", "IV"))

# Letters that Unicode does not take apart into a base letter and a mark.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)
_APOSTROPHES = frozenset("'’‘ʹʼʻ`´")
_ROLE = (
    r"(?:composer|comp|composition|music|arranger|arranged|arr|orchestrator|orchestrated|orch|"
    r"transcribed|transcr|lyricist|librettist|lyrics|words|author|writer|songwriter|attrib|"
    r"attributed|conductor|performer)\b"
)
_DROPPED = (
    re.compile(r"\s*[(\[][^()\[\]]{0,80}?\d{3,4}[^()\[\]]{0,80}[)\]]"),
    re.compile(rf"\s*[(\[]\s*{_ROLE}[^()\[\]]*[)\]]", re.I),
    re.compile(r"[\s,]+(?:b\.\s*|born\s+)?\d{4}\s?[-–—]\s?(?:\d{4})?\.?$", re.I),
    re.compile(r"\s*,\s*(?:composer|comp\.?)$", re.I),
    re.compile(
        r"(?<=[^\s,])[\s,]+(?:(?:arr|orch|transcr)\.(?:\s*by\b)?|"
        r"(?:arranged|orchestrated|transcribed)\s+by\b)\s*\S.*$",
        re.I,
    ),
)
_REGION = re.compile(r"trad(?:itional)?\.?[\s,:]*[(\[]\s*([^()\[\]]+?)\s*[)\]]", re.I)
_WEAK_SEPARATORS = (
    re.compile(r"\s+and\s+", re.I),
    re.compile(r"\s*/\s*"),
    re.compile(r"\s*[-–—]\s*"),
    re.compile(r"\s*(?:,|/|&|\band\b)\s*", re.I),
)


@dataclass(frozen=True)
class Composer:
    """One row of the table.

    Attributes
    ----------
    name : str
        Title of the Wikipedia article, without a bracket.
    birth, death : int or None
        Years, by convention where sources differ; None when unknown, or still to come.
    alone : bool
        Whether the surname alone means this composer.
    surnames, aliases : tuple of str
        Spellings of the surname, and other full names.
    """

    name: str
    birth: int | None
    death: int | None
    alone: bool
    surnames: tuple[str, ...]
    aliases: tuple[str, ...]


@lru_cache(maxsize=1)
def known_composers() -> tuple[Composer, ...]:
    """Return the table of known composers, oldest first."""
    text = files(__package__).joinpath("composers.csv").read_text(encoding="utf-8")
    return tuple(
        Composer(
            name=row["name"],
            birth=int(row["birth"]) if row["birth"] else None,
            death=int(row["death"]) if row["death"] else None,
            alone=row["alone"] == "yes",
            surnames=tuple(filter(None, row["surnames"].split("|"))) or (row["name"].split()[-1],),
            aliases=tuple(filter(None, row["aliases"].split("|"))),
        )
        for row in csv.DictReader(text.splitlines())
    )


@lru_cache(maxsize=65_536)
def standardise_composer(name: str) -> str:
    """Return one spelling for a composer, or for several joined by ``"; "``.

    Parameters
    ----------
    name : str
        The composer as a file or a table has it.

    Returns
    -------
    str
        The known name; the tidied text when nobody known is meant; ``""`` for "unknown".

    Notes
    -----
    Never raises, and ``standardise_composer(standardise_composer(x)) == standardise_composer(x)``.

    Examples
    --------
    >>> standardise_composer("BACH, J.S. (1685-1750)")
    'Johann Sebastian Bach'
    >>> standardise_composer("Schubert / Liszt")
    'Franz Schubert; Franz Liszt'
    >>> standardise_composer("Doe, Jane")
    'Jane Doe'
    """
    for _ in range(_ROUNDS):
        before, name = name, _standardise_once(name)
        if name == before:
            break
    return name


def _standardise_once(text: str) -> str:
    text = _clean(text.replace("\0", ";"))
    if len(text) > _LONGEST:
        return text
    found = (name for piece in text.split(";") for name in _names(_clean(piece)))
    return "; ".join(dict.fromkeys(filter(None, found)))


def _names(text: str) -> Iterator[str]:
    """Yield the standardised names in a text without semicolons; rules 2 to 6."""
    known = _known(text)
    if known is not None:
        yield known
        return
    text = _without_notes(text)
    pieces = _pieces(text)
    if len(pieces) > 1:
        for piece in pieces:
            yield from _names(piece)
    else:
        yield _tidy(text)


def _known(text: str) -> str | None:
    """Return the standard name, ``""`` for nobody, or None when the text says neither."""
    for candidate in (text, _without_notes(text)):
        name = _special(candidate)
        if name is None:
            name = _find(candidate)
        if name is not None:
            return name
    return None


def _special(text: str) -> str | None:
    key = _fold(text)
    if not key or key in _NOBODY:
        return ""
    if key in _ANONYMOUS:
        return "Anonymous"
    if key in _TRADITIONAL:
        return "Traditional"
    region = _REGION.fullmatch(text)
    return f"Traditional ({region[1]})" if region and _fold(region[1]) else None


def _clean(text: str) -> str:
    """Put text on one line: NFC, single spaces, nothing unprintable."""
    text = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _without_notes(text: str) -> str:
    for pattern in _DROPPED:
        text = pattern.sub("", text)
    return text.strip(" ,/&")


def _pieces(text: str) -> list[str]:
    """Split a text that names several composers; rule 5."""
    pieces = re.split(r"\s+/\s+", text)
    if len(pieces) > 1:
        return pieces
    pieces = re.split(r"\s+&\s+", text)
    if len(pieces) > 1 and len({"," in piece for piece in pieces}) == 1:
        return pieces
    for separator in _WEAK_SEPARATORS:
        pieces = separator.split(text)
        if len(pieces) > 1 and all(_known(piece) for piece in pieces):
            return pieces
    return [text]


def _tidy(text: str) -> str:
    """Turn "Last, First" round and quieten capitals; rule 6."""
    last, comma, first = (part.strip() for part in text.partition(","))
    one_person = not re.search(r"[,&]|\band\b", f"{last} {first}", re.I)
    if comma and first and last and one_person and _fold(first) not in _SUFFIXES:
        text = f"{first} {last}"
    if text.isupper() and (" " in text or len(text) > 4):
        text = " ".join(_title_word(word, first=i == 0) for i, word in enumerate(text.split()))
    return _clean(text)


def _title_word(word: str, *, first: bool) -> str:
    if word in _ROMAN or "." in word:
        return word
    if word.lower() in _PARTICLES and not first:
        return word.lower()
    return re.sub(r"[^\W\d_]+", lambda letters: letters[0].capitalize(), word)


# -- matching against the table ------------------------------------------------------------------


@lru_cache(maxsize=65_536)
def _fold(text: str) -> str:
    """Reduce a name to what is compared: lower case words of plain letters and digits."""
    text = unicodedata.normalize("NFKD", text.casefold()).casefold().translate(_LETTERS)
    kept = (
        "" if unicodedata.combining(c) or c in _APOSTROPHES else c if c.isalnum() else " "
        for c in text
    )
    return " ".join("".join(kept).split())


# Given names by position, each with its spellings: ({"pyotr", "peter"}, {"ilyich", "iljitsch"}).
_Given = tuple[frozenset[str], ...]


@dataclass(frozen=True)
class _Index:
    """``names`` maps a whole folded name; ``families`` a folded surname to its people.

    A person is the standard name, the given names in it, and those of the aliases.
    """

    names: dict[str, str]
    families: dict[str, list[tuple[str, list[_Given], list[_Given]]]]


@lru_cache(maxsize=1)
def _index() -> _Index:
    names: dict[str, str] = {}
    families: dict[str, list[tuple[str, list[_Given], list[_Given]]]] = {}
    for composer in known_composers():
        surnames = [_fold(surname) for surname in composer.surnames]
        own = _given_names([_fold(composer.name)], surnames)
        others = _given_names([_fold(n) for n in (composer.name, *composer.aliases)], surnames)
        for surname in surnames:
            families.setdefault(surname, []).append((composer.name, own, others))
        alone = surnames if composer.alone else []
        for key in (_fold(composer.name), *map(_fold, composer.aliases), *alone):
            names[key] = composer.name
    return _Index(names, families)


def _given_names(names: list[str], surnames: list[str]) -> list[_Given]:
    """Merge the given names of equal length, position by position."""
    by_length: dict[int, list[list[str]]] = {}
    for name in names:
        for surname in surnames:
            if name.endswith(f" {surname}"):
                given = name.removesuffix(surname).split()
                by_length.setdefault(len(given), []).append(given)
    return [
        tuple(frozenset(spellings) for spellings in zip(*g, strict=True))
        for g in by_length.values()
    ]


def _find(text: str) -> str | None:
    """Return the standard name of one composer, or None; rule 4."""
    index = _index()
    words = _fold(text).split()
    whole = index.names.get(" ".join(words))
    if whole is not None:
        return whole
    for n in range(min(4, len(words) - 1), 0, -1):
        for surname, rest in ((words[-n:], words[:-n]), (words[:n], words[n:])):
            people = index.families.get(" ".join(surname))
            if people is None:
                continue
            given = [word for word in rest if word not in _PARTICLES]
            if not given:
                return index.names.get(" ".join(surname))
            name = _fitting(given, people)
            if name is not None:
                return name
    return None


def _fitting(given: list[str], people: list[tuple[str, list[_Given], list[_Given]]]) -> str | None:
    """Return the one person whose given names fit best.

    "J. Haydn" is Joseph, though Michael was baptised Johann Michael: given names of the standard
    name come before those of aliases, and a fit of all names before a fit of some.
    """
    letters = [c for word in given for c in (word if len(word) <= 3 else [word])]
    for query in (given, letters):
        for aliases in (False, True):
            for all_names in (True, False):
                fits = {
                    name
                    for name, own, others in people
                    for form in (others if aliases else own)
                    if _fits(query, form, all_names=all_names)
                }
                if len(fits) > 1:
                    return None
                if fits:
                    return fits.pop()
    return None


def _fits(query: list[str], form: _Given, *, all_names: bool) -> bool:
    """Whether the words, in order and from the first on, abbreviate the given names."""
    if not form or not _abbreviates(query[0], form[0]):
        return False
    named = sum(1 for spellings in form if not spellings <= _PARTICLES)
    if all_names and len(query) < named:
        return False
    position = 0
    for word in query:
        while position < len(form) and not _abbreviates(word, form[position]):
            position += 1
        if position == len(form):
            return False
        position += 1
    return True


def _abbreviates(word: str, spellings: frozenset[str]) -> bool:
    if len(word) == 2 and set(word) & set("aeiouy"):  # "Ch." is Charles, "Jo" is no Johannes
        return word in spellings
    return any(spelling.startswith(word) for spelling in spellings)
