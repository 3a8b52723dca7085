"""The colours of the app can be read (WCAG 2.2 AA), and the app asks nothing from outside."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

CONFIG = tomllib.loads((Path(__file__).parents[2] / ".streamlit/config.toml").read_text("utf-8"))


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _mix(top: str, share: float, bottom: str) -> str:
    mixed = (share * a + (1 - share) * b for a, b in zip(_rgb(top), _rgb(bottom), strict=True))
    return "#" + "".join(f"{round(255 * c):02x}" for c in mixed)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_reaches_aa(name: str) -> None:
    theme: dict[str, Any] = CONFIG["theme"][name]
    paper, second = theme["backgroundColor"], theme["secondaryBackgroundColor"]
    surface = _mix(second, 0.42, paper)
    muted = _mix(theme["textColor"], 0.70, paper)
    chip = _mix(theme["textColor"], 0.07, surface)
    side = theme["sidebar"]["backgroundColor"]
    for text in (theme["textColor"], muted):
        for ground in (paper, second, surface, chip, side):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for text in (theme["linkColor"], theme["redTextColor"]):
        for ground in (paper, surface):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast(paper, theme["linkColor"]) >= 4.5, "the play button's triangle"
    assert contrast("#ffffff", theme["primaryColor"]) >= 4.5, "text on primary buttons"


@pytest.mark.parametrize("name", ["light", "dark"])
def test_parts_of_the_picture_can_be_told_apart(name: str) -> None:
    theme = CONFIG["theme"][name]
    surface = _mix(theme["secondaryBackgroundColor"], 0.42, theme["backgroundColor"])
    for part in ("primaryColor", "orangeColor", "blueColor", "greenColor", "violetColor"):
        assert contrast(theme[part], surface) >= 3, part


def test_nothing_is_asked_from_outside() -> None:
    assert CONFIG["browser"]["gatherUsageStats"] is False
    assert CONFIG["server"]["address"] == "127.0.0.1"
    assert "http" not in (CONFIG["theme"]["font"] + CONFIG["theme"]["headingFont"])
    assert "fontFaces" not in CONFIG["theme"]
