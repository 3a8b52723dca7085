"""The colours of categories stay apart for every eye and show on both grounds of the theme."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from kindred.ui.player import static_text

# Machado, Oliveira and Fernandes (2009): linear RGB as seen with severity 1.
VISION = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Ottosson (2020): linear RGB to OKLab, in which equal distances look equally large.
TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
GROUNDS = ("#fdfaf6", "#191512")


def linear(colours: list[str]) -> NDArray[np.float64]:
    values = np.array([[int(c[at : at + 2], 16) / 255 for at in (1, 3, 5)] for c in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def hues() -> list[str]:
    found = re.search(r"const HUES = \[(.*?)\]", static_text("map_colours.js"), re.DOTALL)
    assert found
    return re.findall(r"#[0-9a-f]{6}", found[1])


@pytest.mark.parametrize("vision", VISION)
def test_any_two_colours_are_told_apart(vision: str) -> None:
    seen = np.clip(linear(hues()) @ np.array(VISION[vision]).T, 0, 1)
    lab = np.cbrt(seen @ np.array(TO_LMS).T) @ np.array(TO_LAB).T
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert len(hues()) == 12
    assert apart[~np.eye(12, dtype=bool)].min() > 0.08  # 0.02 is just noticeable


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_colour_shows_on_the_ground(ground: str) -> None:
    light = linear([*hues(), ground]) @ np.array([0.2126, 0.7152, 0.0722])
    for one in light[:-1]:
        assert (max(one, light[-1]) + 0.05) / (min(one, light[-1]) + 0.05) > 2
