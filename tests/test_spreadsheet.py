"""Cells that a spreadsheet would compute, and cells that it would not."""

from __future__ import annotations

import pytest

from kindred.spreadsheet import guarded


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "＝1", " =1", "\t=1", "'=1", "''-x"])
def test_what_could_be_a_formula_gets_an_apostrophe(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "Op. 1", "'tis", "1+1", "\n", "«=»"])
def test_other_text_stays(text: str) -> None:
    assert guarded(text) == text
