"""The works of the demo library: where each score lies, and what its tags say.

The table is ``pieces.csv``. Every work in it is out of copyright. The encodings are another matter:
music21 distributes them by permission of the encoders, and their licences vary by file (its
``corpus/license.txt``). Where a file says that it is free it was preferred: Josquin is GPL, Corelli
CC BY, Weber public domain. The Palestrina encodings reserve rights in derivative electronic
formats, and the quartets, the chorales and most of the trecento name no licence. So Kindred carries
neither scores nor sound: each person renders the library from their own copy of music21.

Left out are the Essen folk songs, whose status is unclear by their own account, and scores whose
parts drift apart, as in half of the madrigals: parts that end together and mostly consonant
verticals were the test.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

#: Album artist of everything: several ensembles share each album.
ALBUM_ARTIST = "Kindred Ensembles"

#: Other spellings that some files use, as the files in anybody's library do.
SPELLINGS = {
    "Johannes Ciconia": ("Ciconia, Johannes",),
    "Josquin des Prez": ("Josquin Desprez", "Josquin"),
    "Giovanni Pierluigi da Palestrina": ("Palestrina", "G.P. da Palestrina"),
    "Claudio Monteverdi": ("Monteverdi, Claudio", "Monteverdi"),
    "Johann Sebastian Bach": ("J.S. Bach", "Bach, Johann Sebastian", "J. S. Bach"),
    "Arcangelo Corelli": ("Corelli, Arcangelo",),
    "George Frideric Handel": ("Georg Friedrich Händel",),
    "Carl Philipp Emanuel Bach": ("C.P.E. Bach",),
    "Joseph Haydn": ("Franz Joseph Haydn", "Haydn, Joseph"),
    "Wolfgang Amadeus Mozart": ("W.A. Mozart", "Mozart, Wolfgang Amadeus"),
    "Ludwig van Beethoven": ("L. van Beethoven", "Beethoven, Ludwig van"),
    "Clara Schumann": ("Schumann, Clara",),
    "Carl Maria von Weber": ("C.M. von Weber",),
    "Franz Schubert": ("Schubert, Franz",),
    "Frédéric Chopin": ("Chopin, Frederic", "Fryderyk Chopin"),
    "Robert Schumann": ("R. Schumann", "Schumann, Robert"),
    "Scott Joplin": ("Joplin, Scott",),
    "Traditional (Irish)": ("Trad. (Irish)",),
    "Traditional (Scottish)": ("Trad. (Scottish)",),
}


@dataclass(frozen=True)
class Piece:
    """A movement or a tune and what is written about it.

    Attributes
    ----------
    source : str
        Path in music21's corpus, with ``#number`` for a tune in a book of tunes.
    composer : str
        The standard spelling.
    year : int
        Of composition or first publication; a guess for the oldest.
    performances : int
        How often it is played, each time by another ensemble.
    """

    source: str
    composer: str
    title: str
    work: str
    year: int
    genre: str
    album: str
    performances: int


@lru_cache(maxsize=1)
def pieces() -> tuple[Piece, ...]:
    """Every piece in the order of the table: by album, and roughly by year."""
    text = files("kindred.demo").joinpath("pieces.csv").read_text("utf-8")
    return tuple(
        Piece(
            row["source"],
            row["composer"],
            row["title"],
            row["work"],
            int(row["year"]),
            row["genre"],
            row["album"],
            int(row["performances"]),
        )
        for row in csv.DictReader(text.splitlines())
    )
