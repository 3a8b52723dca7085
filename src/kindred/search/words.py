"""Queries in words: "warm strings; slow:2; not drums" becomes one vector to search with.

Conventions: phrases are separated by ``;``, ``,`` or a line's end. A number after ``:`` or ``^``
weighs a phrase, 1 when left out. "not", "no", "without" or ``-`` before a phrase asks for sounds
unlike it. Vectors are float32, of unit length; similarity is the cosine, higher is nearer.

The vector is that of a query by example (:mod:`kindred.search.query`), with phrases for tracks::

    q = mean(wanted) - 0.5 * mean(unwanted), scaled to unit length

with the mean of the wanted weighted, after Rocchio (in Salton, "The SMART Retrieval System", 1971).
Negation is done here, between vectors, since a text tower hardly hears it: to CLAP "no drums" is
much like "drums".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.clap_text import EncodeText
from kindred.errors import QueryError
from kindred.search.query import UNWANTED_WEIGHT

MAX_PHRASES = 12
MAX_LENGTH = 200
MAX_WEIGHT = 10.0

_EXAMPLE = 'Type what to listen for, e.g. "warm strings; slow piano:2; not drums".'
_UNWANTED = re.compile(r"(?:(?:not|no|without)(?:\s+|$)|[-−]\s*)(.*)", re.IGNORECASE)
_WEIGHTED = re.compile(r"(.*?)\s*[:^]\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))", re.ASCII)


@dataclass(frozen=True)
class Phrase:
    """A phrase and its weight: above 0 when wanted, -0.5 times what was typed when unwanted."""

    text: str
    weight: float = 1.0

    @property
    def wanted(self) -> bool:
        """Whether tracks near the phrase are asked for."""
        return self.weight > 0


def parse_words(text: str) -> list[Phrase]:
    """Read a query in words.

    Parameters
    ----------
    text : str
        At most 12 phrases of 200 characters.

    Returns
    -------
    list of Phrase
        In the order typed.

    Raises
    ------
    QueryError
        When nothing was typed, or a phrase is too long, has no word, or a weight that is not above
        0 and at most 10.
    """
    parts = [
        " ".join(part.split()) for part in re.split(r"[;,\n]", unicodedata.normalize("NFC", text))
    ]
    parts = [part for part in parts if part]
    if not parts:
        raise QueryError(f"There are no words to search with. {_EXAMPLE}")
    if len(parts) > MAX_PHRASES:
        raise QueryError(
            f"A query holds at most {MAX_PHRASES} phrases, got {len(parts)}. Leave some out."
        )
    return [_phrase(part) for part in parts]


def words_vector(phrases: Sequence[Phrase], encode_text: EncodeText) -> NDArray[np.float32]:
    """The vector of a query in words.

    Parameters
    ----------
    phrases : sequence of Phrase
    encode_text : callable
        Turns n texts into float32 [n, dims] of unit length, in the space that is searched.

    Returns
    -------
    float32 [dims]
        Of unit length.

    Raises
    ------
    QueryError
        When no phrase is wanted, or the phrases cancel each other out.
    """
    if not any(phrase.wanted for phrase in phrases):
        raise QueryError(f"Only what should not be heard was given. {_EXAMPLE}")
    weights = np.array([phrase.weight for phrase in phrases])
    wanted = weights > 0
    weights[wanted] /= weights[wanted].sum()
    weights[~wanted] /= max(1, int((~wanted).sum()))
    vector = weights @ np.asarray(encode_text([phrase.text for phrase in phrases]), np.float64)
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise QueryError("The phrases cancel each other out. Take one of them away.")
    return np.asarray(vector / length, np.float32)


def _phrase(part: str) -> Phrase:
    if len(part) > MAX_LENGTH:
        raise QueryError(
            f"A phrase has at most {MAX_LENGTH} characters, this one has {len(part)}:"
            f' "{part[:40]}...". Separate phrases with ";".'
        )
    negated = _UNWANTED.fullmatch(part)
    words = negated[1] if negated else part
    weight = 1.0
    if weighted := _WEIGHTED.fullmatch(words):
        words, weight = weighted[1], float(weighted[2])
    if not any(character.isalnum() for character in words):
        raise QueryError(f'"{part}" holds no word. {_EXAMPLE}')
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(
            f'A weight is above 0 and at most {MAX_WEIGHT:g}, got {weight:g} in "{part}".'
            ' Write "not" before a phrase to be far from it.'
        )
    return Phrase(words, -UNWANTED_WEIGHT * weight if negated else weight)
