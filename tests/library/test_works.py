"""Works from titles: hand-made cases, and that a work is its own work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kindred.library.works import work_of

FIFTH = "Symphony No. 5 in C minor, Op. 67"


@pytest.mark.parametrize(
    ("title", "work"),
    [
        # movements by number
        (f"{FIFTH}: II. Andante con moto", FIFTH),
        (f"{FIFTH} - II. Adagio", FIFTH),
        (f"{FIFTH} – II. Adagio", FIFTH),
        (f"{FIFTH} II. Andante", FIFTH),
        (f"{FIFTH}: 2. Andante", FIFTH),
        (f"{FIFTH}, II", FIFTH),
        (f"{FIFTH} (II. Andante)", FIFTH),
        ("Symphony No. 7 / 2. Allegretto", "Symphony No. 7"),
        ("Requiem in D minor, K. 626: III. Sequentia: Dies irae", "Requiem in D minor, K. 626"),
        # movements by word
        ("Symphony No. 5, 2nd movement", "Symphony No. 5"),
        ("Symphony No. 5: Second Movement", "Symphony No. 5"),
        ("Moonlight Sonata (1st Movement)", "Moonlight Sonata"),
        ("Symphonie Nr. 3: 2. Satz", "Symphonie Nr. 3"),
        ("Carmen, Act I: Habanera", "Carmen"),
        # movements by tempo or dance
        ("Piano Concerto: Adagio", "Piano Concerto"),
        ("Suite - Sarabande", "Suite"),
        (f"{FIFTH}, Allegro con brio", FIFTH),
        (
            "Cello Suite No. 1 in G major, BWV 1007: Prélude",
            "Cello Suite No. 1 in G major, BWV 1007",
        ),
        # parts of a numbered work
        ("Die Zauberflöte, K. 620: Der Hölle Rache", "Die Zauberflöte, K. 620"),
        ("24 Preludes, Op. 28: No. 4", "24 Preludes, Op. 28"),
        # notes on the recording
        (f"{FIFTH}: II. Andante (Live)", FIFTH),
        ("Symphony No. 5 [Remastered 2011]", "Symphony No. 5"),
        ("So What (take 2)", "So What"),
        ("So What - 2011 Remaster", "So What"),
        ("So What - Live at the Village", "So What"),
        # a title without a movement is its own work
        ("Clair  de lune ", "Clair de lune"),
        ("Nocturne in E-flat major, Op. 9, No. 2", "Nocturne in E-flat major, Op. 9, No. 2"),
        ("Adagio for Strings", "Adagio for Strings"),
        ("Allegro in G minor", "Allegro in G minor"),
        # what only looks like a movement
        ("Rocky IV", "Rocky IV"),
        ("Henry V", "Henry V"),
        ("Malcolm - X", "Malcolm - X"),
        ("Mix Tape - I Will Survive", "Mix Tape - I Will Survive"),
        ("That's 5 Miles: Home", "That's 5 Miles: Home"),
        ("Suite: Judy Blue Eyes", "Suite: Judy Blue Eyes"),
        ("Star Wars: Main Title", "Star Wars: Main Title"),
        ("Live and Let Die", "Live and Let Die"),
        ("(Live)", "(Live)"),
        ("99 Luftballons", "99 Luftballons"),
        ("1984", "1984"),
        # no work at all
        ("II. Andante", ""),
        ("1. Allegro", ""),
        ("Allegro ma non troppo", ""),
        ("2nd movement", ""),
        ("Track 03", ""),
        ("", ""),
    ],
)
def test_titles(title, work):
    assert work_of(title) == work
    assert work_of(work) == work


def test_the_tag_wins_unless_it_is_blank():
    assert work_of("II. Andante", tag=" Symphony  No. 5 ") == "Symphony No. 5"
    assert work_of("Sonatina: II. Andante", tag=" ") == "Sonatina"


def test_two_performances_share_the_work_whatever_the_unicode_form():
    assert work_of("Pre\u0301ludes") == work_of("Préludes (Live)")


@given(st.text(max_size=60))
def test_never_raises_and_is_idempotent(title):
    once = work_of(title)
    assert work_of(once) == once
