"""Which work a track belongs to, so that its movements and other performances can be left out.

Conventions
-----------
The work tag is believed when there is one. Otherwise the title is read:

1. Text becomes Unicode NFC with single spaces. Notes on the recording are dropped from the end:
   "(Live)", "[Remastered 2011]", "(take 2)", " - 2011 Remaster".
2. The movement is dropped:

   - a Roman or Arabic number after ":", " - ", "," or in brackets, and what follows
     (": II. Andante", " - 2. Adagio", "(III. Presto)"); after a bare space, or with nothing
     following, only behind a title that shows itself as a work (rule 3);
   - "2nd movement", "Movement II", "mvt. 3", "1. Satz", "Act I", "Scene 2", set off likewise;
   - a tempo or dance after ":" or " - " (": Allegro con brio", " - Sarabande").

3. A title shows itself as a work by a catalogue number ("Op. 67", "BWV 1007", "K. 550"), "No. 5"
   or a key ("in C minor"). Behind such a title anything after ":" is a part of it
   ("Das Wohltemperierte Klavier, BWV 846: Fuga"), and so is a tempo after ",".
4. A title without a movement is its own work, so that two performances of it share the work.
   A title that is a movement and nothing else ("II. Andante", "Allegro"), or a mere "Track 3",
   names no work: ``""``. Two such tracks need not belong together.

Works are compared as text: "Symphony No. 5" and "Fifth Symphony" stay two works.
"""

from __future__ import annotations

import re
import unicodedata

_ROMAN = r"(?:X{0,2}(?:IX|IV|V?I{1,3}|V)|X{1,3})"
_NUMBER = rf"(?:{_ROMAN}|\d{{1,2}}[a-d]?)"
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th|e|ère|er|ème|\.)|first|second|third|fourth|fifth|sixth)"
_MOVEMENT_WORD = r"(?:movement|mvmt|mvt|mov|satz|mouvement|movimento)\b\.?"
_PART_WORD = rf"(?:act|scene|akt|szene|acte|scène|atto|scena)\s+(?i:{_NUMBER})\b"
_TEMPO = (
    r"(?:prestissimo|presto|allegrissimo|allegro|allegretto|vivacissimo|vivace|vivo|moderato|"
    r"andante|andantino|adagio|adagietto|larghetto|largo|lento|grave|maestoso|scherzo|scherzando|"
    r"menuetto|menuet|minuetto|minuet|rondo|rondeau|finale|intermezzo|allemande|allemanda|"
    r"courante|corrente|sarabande|sarabanda|gigue|giga|gavotte|bourr[ée]e|passepied|polonaise|"
    r"pr[eé]lude|praeludium|preludio|fugue|fuga|aria|cadenza|ch?aconne|passacaglia)"
)
_TEMPO_REST = (
    r"(?:[\s,.&-]+(?:e|ed|ma|non|con|di|molto|assai|poco|più|piu|troppo|tanto|quasi|un|meno|mosso|"
    r"moto|brio|spirito|fuoco|espressione|grazia|cantabile|sostenuto|espressivo|appassionato|"
    r"agitato|tranquillo|grazioso|giusto|and|I{1,3}|[1-9]))*"
)
_WORK_SIGN = re.compile(
    r"\b(?i:op(?:us)?\b\.?\s*(?:posth|\d)|(?:no|nr)\b\.?\s*\d|n°\s*\d|hob\b\.?\s*[\dIVX]|"
    r"(?:bwv|kv|rv|hwv|twv|woo|wq|bb|sz|buxwv|swv|jb|trv|kk|wwv)\b\.?\s*\d|"
    r"in\s+[a-h](?:[\s-]?(?:flat|sharp|is|es|b|#|♭|♯))?[\s-]+(?:major|minor|dur|moll)\b)|"
    r"(?<!['’])\b[KDSLH]\b\.?\s*\d"  # one letter only as a capital: "it's 5" is no S. 5
)

_RECORDING = (
    r"(?:live\b|(?:\d{4}\s+)?(?:digital(?:ly)?\s+)?re-?master|take\s+\d|(?:alternate|alternative|"
    r"alt\.?)\s+take|bonus\s+track|mono\b|stereo\b|excerpt\b|(?:album|single|radio)\s+(?:version|"
    r"edit)|\d{4}\s+recording|recorded\b)"
)
_RECORDING_NOTES = (
    re.compile(rf"\s*[(\[]\s*{_RECORDING}[^()\[\]]*[)\]]$", re.I),
    re.compile(
        r"\s+[-–—]\s+(?:live(?:\s+(?:at|in|from)\s[^:]*)?|(?:\d{4}\s+)?(?:digital\s+)?"
        r"re-?master(?:ed)?(?:\s+\d{4})?(?:\s+version)?|(?:alternate\s+)?take\s+\d+)$",
        re.I,
    ),
)

_SET_OFF = r"(?:\s*:\s*|\s+[-–—]\s+|\s*,\s*|\s*/\s+)"
_NUMBERED = rf"{_NUMBER}(?:[.)](?=\s|$)|\s*[:–—]\s|\s+-\s)"
_WORDED = (
    rf"(?i:(?:{_ORDINAL}|{_NUMBER})\s+{_MOVEMENT_WORD}|"
    rf"{_MOVEMENT_WORD}\s+(?:no\.\s*)?{_NUMBER}\b|{_PART_WORD})"
)
_MOVEMENTS = (
    re.compile(rf"{_SET_OFF}(?:{_NUMBERED}|{_WORDED})"),
    re.compile(rf"\s*[(\[](?:{_NUMBER}[.:]|{_WORDED}).*[)\]]$"),
    re.compile(rf"(?:\s*:\s*|\s+[-–—]\s+)(?i:{_TEMPO})\b"),
)
_MOVEMENTS_OF_A_WORK = (
    re.compile(r"\s*:\s*"),
    re.compile(rf"\s*,\s*(?i:{_TEMPO})\b"),
    re.compile(rf"{_SET_OFF}{_ROMAN}$"),
    re.compile(rf"\s+{_ROMAN}\.(?=\s|$)"),
)
_NO_WORK = re.compile(
    rf"(?:{_NUMBERED}.*|{_WORDED}.*|(?i:{_TEMPO}{_TEMPO_REST})|{_ROMAN}|"
    r"(?i:(?:audio\s*)?track\s*\d+|untitled))"
)


def work_of(title: str, *, tag: str = "") -> str:
    """Return the work that a track belongs to.

    Parameters
    ----------
    title : str
        Title of the track.
    tag : str
        The file's work tag; wins over the title when it is not blank.

    Returns
    -------
    str
        The work, or ``""`` when the title names none. Never raises.

    Examples
    --------
    >>> work_of("Symphony No. 5 in C minor, Op. 67: II. Andante con moto")
    'Symphony No. 5 in C minor, Op. 67'
    >>> work_of("Clair de lune (Live)")
    'Clair de lune'
    """
    tag = _one_line(tag)
    if tag:
        return tag
    work = _one_line(title)
    while True:
        shorter = _without_movement(_without_recording(work))
        if shorter == work:
            return work
        work = shorter


def _one_line(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _without_recording(title: str) -> str:
    for note in _RECORDING_NOTES:
        shorter = note.sub("", title)
        if shorter:  # a piece may be called "(Live)"
            title = shorter
    return title


def _without_movement(title: str) -> str:
    if _NO_WORK.fullmatch(title):
        return ""
    cuts = [match.start() for pattern in _MOVEMENTS if (match := pattern.search(title))]
    sign = _WORK_SIGN.search(title)
    if sign:
        cuts += [m.start() for p in _MOVEMENTS_OF_A_WORK if (m := p.search(title, sign.end()))]
    cuts = [cut for cut in cuts if cut > 0]
    return title[: min(cuts)].rstrip(" ,:-–—") if cuts else title
