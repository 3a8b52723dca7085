"""The works of the demo library: where each score lies, and what its tags say.

Every work here is out of copyright. The encodings are another matter: music21 distributes them by
permission of the encoders, and their licences vary by file (its ``corpus/license.txt``). Where a
file says it is free it was preferred: Josquin is GPL, Corelli CC BY, Weber public domain. The
Palestrina encodings reserve rights in derivative electronic formats, and the trecento, the quartets
and the chorales name no licence. So Kindred carries neither scores nor sound: each person renders
the library from their own copy of music21. The Essen folk songs are left out, because their status
is unclear by their own account, and so are encodings whose parts drift apart (half the madrigals).

Each piece is ``(source, title, work, year)`` or ``(source, title, work, year, performances)``; a
source is a path in the corpus, and ``#n`` is tune n of a book.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Album artist of everything: several ensembles share each album.
ALBUM_ARTIST = "Kindred Ensembles"


@dataclass(frozen=True)
class Piece:
    """A movement or a tune and what is written about it.

    Attributes
    ----------
    source : str
        Path in music21's corpus, with ``#number`` for a tune in a book.
    composer : str
        The standard spelling; ``spellings`` are others that files also use.
    year : int
        Of composition or first publication; a guess for the oldest.
    performances : int
        How often it is played, each time by another ensemble.
    """

    source: str
    composer: str
    spellings: tuple[str, ...]
    title: str
    work: str
    year: int
    genre: str
    album: str
    performances: int = 1


_Row = tuple[str, str, str, int] | tuple[str, str, str, int, int]


@dataclass(frozen=True)
class _Group:
    composer: str
    spellings: tuple[str, ...]
    genre: str
    album: str
    rows: tuple[_Row, ...]


def _kyrie(number: str, mass: str, year: int, performances: int = 1) -> _Row:
    return (f"palestrina/Kyrie_{number}.krn", f"{mass} - Kyrie", mass, year, performances)


def _madrigal(number: str, title: str, year: int, performances: int = 1) -> _Row:
    return (f"monteverdi/madrigal.{number}.mxl", title, title, year, performances)


def _trecento(name: str, title: str, year: int, performances: int = 1) -> _Row:
    return (f"trecento/PMFC_{name}.xml", title, title, year, performances)


def _chorale(number: str, title: str, year: int, performances: int = 1) -> _Row:
    bwv = number.split(".", maxsplit=1)[0]
    return (f"bach/bwv{number}.mxl", title, f"{title}, BWV {bwv}", year, performances)


def _quartet(path: str, work: str, movement: str, year: int, performances: int = 1) -> _Row:
    return (path, f"{work} - {movement}", work, year, performances)


def _polonaise(number: int, key: str, performances: int = 1) -> _Row:
    work = f"Polonaise in {key} major, Op. 1 No. {number}"
    return (f"schumann_clara/polonaise_op1n{number}.mxl", work, work, 1831, performances)


def _ryan(name: str, title: str, performances: int = 1) -> _Row:
    return (f"ryansMammoth/{name}.abc", title, title, 1883, performances)


def _aird(number: int, title: str, performances: int = 1) -> _Row:
    return (f"airdsAirs/book1.abc#{number}", title, title, 1778, performances)


_ROMANTIC = "Pages from a Century"
_BAROQUE = "Airs and Slow Movements"

_GROUPS = (
    _Group(
        "Giovanni da Cascia",
        (),
        "Medieval",
        "Madrigals of the Trecento",
        (
            _trecento("06_Giovanni-01-Angnel_son_biancho", "Agnel son bianco", 1345),
            _trecento("06_Giovanni-03-Chon_brachi_assai", "Con brachi assai", 1345, 2),
            _trecento("06_Giovanni-04_De_Come_Dolce_Mente", "De, come dolcemente", 1350),
            _trecento("06_Giovanni-09_Nascoso_El_Viso", "Nascoso el viso", 1350),
        ),
    ),
    _Group(
        "Johannes Ciconia",
        ("Ciconia, Johannes",),
        "Medieval",
        "Motets and a Gloria",
        (
            _trecento("24_1-Gloria Ciconia 1", "Gloria No. 1", 1400),
            _trecento("24_15-O virum omnimoda", "O virum omnimoda", 1405, 2),
            _trecento(
                "24_19-Ut te per omnes celitus- Ingens alumnus padue",
                "Ut te per omnes celitus",
                1405,
            ),
            _trecento("24_20-Padu... serenans", "Padu... serenans", 1400),
        ),
    ),
    _Group(
        "Josquin des Prez",
        ("Josquin Desprez", "Josquin"),
        "Renaissance",
        "Chansons and a Lament",
        (
            ("josquin/adieuMesAmours.abc", "Adieu mes amours", "Adieu mes amours", 1480),
            ("josquin/milleRegrets.abc", "Mille regretz", "Mille regretz", 1520, 2),
            ("josquin/laPlusDesPlus.abc", "La plus des plus", "La plus des plus", 1501),
            (
                "josquin/laDeplorationDeLaMorteDeJohannesOckeghem.abc",
                "La Déploration de Johannes Ockeghem",
                "Nymphes des bois",
                1497,
            ),
        ),
    ),
    _Group(
        "Giovanni Pierluigi da Palestrina",
        ("Palestrina", "G.P. da Palestrina"),
        "Renaissance",
        "Kyries from Five Masses",
        (
            _kyrie("103", "Missa Papae Marcelli", 1567, 2),
            _kyrie("15", "Missa Brevis", 1570),
            _kyrie("02", "Missa Aeterna Christi munera", 1590, 2),
            _kyrie("38", "Missa Sine nomine", 1567),
            _kyrie("23", "Missa Dies sanctificatus", 1593),
        ),
    ),
    _Group(
        "Claudio Monteverdi",
        ("Monteverdi, Claudio", "Monteverdi"),
        "Renaissance",
        "Madrigals from Books III and IV",
        (
            _madrigal("3.6", "O rossignuol ch'in queste verdi fronde", 1592),
            _madrigal("3.15", "Vivrò fra i miei tormenti", 1592),
            _madrigal("4.12", "Ohimè, se tanto amate", 1603, 2),
            _madrigal("4.15", "Non più guerra, pietate", 1603),
            _madrigal("4.20", "Piagn'e sospira", 1603),
        ),
    ),
    _Group(
        "Johann Sebastian Bach",
        ("J.S. Bach", "Bach, Johann Sebastian", "J. S. Bach"),
        "Baroque",
        "Chorales and a Prelude",
        (
            _chorale("269", "Aus meines Herzens Grunde", 1730),
            _chorale("267", "An Wasserflüssen Babylon", 1730),
            _chorale("227.1", "Jesu, meine Freude", 1723, 2),
            _chorale("244.54", "O Haupt voll Blut und Wunden", 1727, 2),
            _chorale("140.7", "Gloria sei dir gesungen", 1731),
            _chorale("80.8", "Ein feste Burg ist unser Gott", 1724),
            (
                "bach/bwv846.mxl",
                "The Well-Tempered Clavier, Book I - Prelude No. 1 in C major",
                "Prelude and Fugue in C major, BWV 846",
                1722,
                2,
            ),
        ),
    ),
    _Group(
        "Arcangelo Corelli",
        ("Corelli, Arcangelo",),
        "Baroque",
        _BAROQUE,
        (
            (
                "corelli/opus3no1/1grave.xml",
                "Sonata da chiesa, Op. 3 No. 1 - I. Grave",
                "Sonata da chiesa, Op. 3 No. 1",
                1689,
            ),
        ),
    ),
    _Group(
        "George Frideric Handel",
        ("Georg Friedrich Händel",),
        "Baroque",
        _BAROQUE,
        (
            (
                "handel/rinaldo/Lascia_chio_pianga.mxl",
                "Rinaldo - Lascia ch'io pianga",
                "Rinaldo, HWV 7",
                1711,
            ),
        ),
    ),
    _Group(
        "Carl Philipp Emanuel Bach",
        ("C.P.E. Bach",),
        "Classical",
        _BAROQUE,
        (
            (
                "cpebach/h186.mxl",
                "Sonata in A major, H. 186 - II. Poco adagio",
                "Sonata in A major, H. 186",
                1765,
            ),
        ),
    ),
    _Group(
        "Joseph Haydn",
        ("Franz Joseph Haydn", "Haydn, Joseph"),
        "Classical",
        "Two Quartets",
        (
            _quartet(
                "haydn/opus1no1/movement1.mxl", "String Quartet, Op. 1 No. 1", "I. Presto", 1762
            ),
            _quartet(
                "haydn/opus74no1/movement3.mxl",
                "String Quartet, Op. 74 No. 1",
                "III. Menuetto",
                1793,
            ),
            _quartet(
                "haydn/opus74no1/movement4.mxl",
                "String Quartet, Op. 74 No. 1",
                "IV. Finale. Vivace",
                1793,
            ),
        ),
    ),
    _Group(
        "Wolfgang Amadeus Mozart",
        ("W.A. Mozart", "Mozart, Wolfgang Amadeus"),
        "Classical",
        "Quartets and a Sonata",
        (
            _quartet(
                "mozart/k80/movement3.mxl",
                "String Quartet No. 1 in G major, K. 80",
                "III. Menuetto",
                1770,
            ),
            _quartet(
                "mozart/k155/movement2.mxl",
                "String Quartet No. 2 in D major, K. 155",
                "II. Andante",
                1772,
            ),
            _quartet(
                "mozart/k156/movement3.mxl",
                "String Quartet No. 3 in G major, K. 156",
                "III. Tempo di Menuetto",
                1772,
            ),
            _quartet(
                "mozart/k458/movement2.mxl",
                "String Quartet No. 17 in B-flat major, K. 458",
                "II. Menuetto",
                1784,
                2,
            ),
            _quartet(
                "mozart/k545/movement1_exposition.mxl",
                "Piano Sonata No. 16 in C major, K. 545",
                "I. Allegro",
                1788,
                2,
            ),
        ),
    ),
    _Group(
        "Ludwig van Beethoven",
        ("L. van Beethoven", "Beethoven, Ludwig van"),
        "Classical",
        "From the String Quartets",
        (
            _quartet(
                "beethoven/opus18no1/movement1.mxl",
                "String Quartet No. 1 in F major, Op. 18 No. 1",
                "I. Allegro con brio",
                1800,
            ),
            _quartet(
                "beethoven/opus18no1/movement2.krn",
                "String Quartet No. 1 in F major, Op. 18 No. 1",
                "II. Adagio affettuoso ed appassionato",
                1800,
            ),
            _quartet(
                "beethoven/opus18no4.mxl",
                "String Quartet No. 4 in C minor, Op. 18 No. 4",
                "I. Allegro ma non tanto",
                1800,
            ),
            _quartet(
                "beethoven/opus59no1/movement1.mxl",
                "String Quartet No. 7 in F major, Op. 59 No. 1",
                "I. Allegro",
                1806,
                2,
            ),
            _quartet(
                "beethoven/opus59no3/movement3.mxl",
                "String Quartet No. 9 in C major, Op. 59 No. 3",
                "III. Menuetto. Grazioso",
                1806,
            ),
        ),
    ),
    _Group(
        "Clara Schumann",
        ("Schumann, Clara", "Clara Wieck-Schumann"),
        "Romantic",
        "Four Polonaises",
        (_polonaise(1, "E-flat"), _polonaise(2, "C", 2), _polonaise(3, "D"), _polonaise(4, "C")),
    ),
    _Group(
        "Carl Maria von Weber",
        ("C.M. von Weber",),
        "Romantic",
        _ROMANTIC,
        (
            (
                "weber/concertino_clarinet.mxl",
                "Concertino for Clarinet, Op. 26",
                "Concertino for Clarinet, Op. 26",
                1811,
            ),
        ),
    ),
    _Group(
        "Franz Schubert",
        ("Schubert, Franz",),
        "Romantic",
        _ROMANTIC,
        (
            (
                "schubert/Lindenbaum.xml",
                "Winterreise - V. Der Lindenbaum",
                "Winterreise, D. 911",
                1827,
            ),
        ),
    ),
    _Group(
        "Frédéric Chopin",
        ("Chopin, Frederic", "Fryderyk Chopin"),
        "Romantic",
        _ROMANTIC,
        (
            (
                "chopin/mazurka06-2.krn",
                "Mazurka in C-sharp minor, Op. 6 No. 2",
                "Mazurka in C-sharp minor, Op. 6 No. 2",
                1832,
            ),
        ),
    ),
    _Group(
        "Robert Schumann",
        ("R. Schumann", "Schumann, Robert"),
        "Romantic",
        _ROMANTIC,
        (
            (
                "schumann_robert/dichterliebe_no2.xml",
                "Dichterliebe - II. Aus meinen Tränen sprießen",
                "Dichterliebe, Op. 48",
                1840,
            ),
            _quartet(
                "schumann_robert/opus41no1/movement3.mxl",
                "String Quartet No. 1 in A minor, Op. 41 No. 1",
                "II. Scherzo. Presto",
                1842,
            ),
        ),
    ),
    _Group(
        "Scott Joplin",
        ("Joplin, Scott",),
        "Ragtime",
        _ROMANTIC,
        (("joplin/maple_leaf_rag.mxl", "Maple Leaf Rag", "Maple Leaf Rag", 1899, 2),),
    ),
    _Group(
        "Traditional (Irish)",
        ("Trad. (Irish)",),
        "Folk",
        "Tunes from Ryan's Mammoth Collection",
        (
            _ryan("BanishMisfortune", "Banish Misfortune"),
            _ryan("IrishWashWomanJig", "The Irish Washerwoman", 2),
            _ryan("GarryOwenJig", "Garry Owen"),
            _ryan("LarkInTheMorningJig", "The Lark in the Morning"),
            _ryan("BlackberryBlossomReel", "The Blackberry Blossom"),
        ),
    ),
    _Group(
        "Traditional (Scottish)",
        ("Trad. (Scottish)",),
        "Folk",
        "Aird's Airs for the Fife, Violin or German Flute",
        (
            _aird(1, "The White Cockade"),
            _aird(21, "The Campbells Are Coming", 2),
            _aird(18, "For a' That and a' That"),
            _aird(32, "Highland Laddie"),
        ),
    ),
)


def pieces() -> Iterator[Piece]:
    """Every piece, in the order of the table: by album, and roughly by year."""
    for group in _GROUPS:
        for source, title, work, year, *performances in group.rows:
            yield Piece(
                source=source,
                composer=group.composer,
                spellings=group.spellings,
                title=title,
                work=work,
                year=year,
                genre=group.genre,
                album=group.album,
                performances=performances[0] if performances else 1,
            )
