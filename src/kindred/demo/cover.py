"""Covers: one abstract composition an album, drawn from the album's name.

Four ways of composing (arcs in a grid, orbits, strata, sails) in seven palettes of one paper, one
ink and three colours. Everything is drawn at twice its size and scaled down, with a little grain.
"""

from __future__ import annotations

import io
import math
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SIDE = 600  # pixels
_DRAWN = 2 * SIDE

#: Paper, ink, three colours.
_PALETTES = (
    ("#f2ead8", "#1f2a38", "#c8553d", "#588b8b", "#f2b263"),
    ("#e9e4da", "#22223b", "#4a4e69", "#9a8c98", "#c9ada7"),
    ("#f4f0e6", "#12343b", "#2d545e", "#e1b382", "#c89666"),
    ("#162126", "#e8e2d0", "#3f7d6e", "#d9a441", "#a63d40"),
    ("#f0efeb", "#283618", "#606c38", "#dda15e", "#bc6c25"),
    ("#1c1b2e", "#f1e9da", "#54428e", "#d96c75", "#e0b15e"),
    ("#ebe7e0", "#1d3557", "#457b9d", "#a8c5c9", "#e07a5f"),
)


def draw_cover(album: str) -> bytes:
    """Draw an album's cover.

    Parameters
    ----------
    album : str
        The same name gives the same picture.

    Returns
    -------
    bytes
        JPEG, 600 x 600 pixels.
    """
    from PIL import Image, ImageDraw

    chance = Random(f"cover/{album}")
    paper, *colours = chance.choice(_PALETTES)
    image = Image.new("RGB", (_DRAWN, _DRAWN), paper)
    compose = chance.choice((_arcs, _orbits, _strata, _sails))
    compose(ImageDraw.Draw(image, "RGBA"), paper, colours, chance)
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    _grained(image, chance).save(out, "JPEG", quality=86, optimize=True)
    return out.getvalue()


def _grained(image: Image.Image, chance: Random) -> Image.Image:
    """A grain of paper, so that flat colours do not look like plastic."""
    from PIL import Image, ImageChops

    half = SIDE // 2
    noise = bytes(min(255, max(0, round(chance.gauss(128, 5)))) for _ in range(half * half))
    grain = Image.frombytes("L", (half, half), noise).resize((SIDE, SIDE))
    return ImageChops.overlay(image, Image.merge("RGB", (grain, grain, grain)))


def _arcs(draw: ImageDraw.ImageDraw, paper: str, colours: list[str], chance: Random) -> None:
    """Quarter rings in a grid, with some cells left empty."""
    cells = chance.choice((3, 4, 5))
    margin = 100
    side = (_DRAWN - 2 * margin) / cells
    for row in range(cells):
        for column in range(cells):
            x, y = margin + column * side, margin + row * side
            ground, *rings = chance.sample([paper, *colours], 4)
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=ground)
            if chance.random() < 0.12:
                continue
            corner = chance.randrange(4)
            centre_x, centre_y = x + side * (corner in {1, 2}), y + side * (corner in {2, 3})
            for ring, colour in zip((1.0, 0.66, 0.33), rings, strict=True):
                radius = side * ring
                box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
                draw.pieslice(box, 90 * corner, 90 * corner + 90, fill=colour)


def _orbits(draw: ImageDraw.ImageDraw, paper: str, colours: list[str], chance: Random) -> None:
    """Rings around a place off the middle, open on different sides, with bodies on them."""
    x, y = (_DRAWN * chance.uniform(0.36, 0.64) for _ in range(2))
    ink, *others = colours
    gap = chance.choice((58, 74, 92))
    for index, radius in enumerate(range(gap, round(_DRAWN * 0.8), gap)):
        start = chance.uniform(0, 360)
        length = chance.uniform(120, 330)
        colour = ink if index % 3 else chance.choice(others)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.arc(box, start, start + length, fill=colour, width=chance.choice((6, 6, 16, 30)))
        if chance.random() < 0.55:
            angle = math.radians(start)
            size = chance.uniform(14, 40)
            body_x, body_y = x + radius * math.cos(angle), y + radius * math.sin(angle)
            body = (body_x - size, body_y - size, body_x + size, body_y + size)
            draw.ellipse(body, fill=chance.choice(others))
    size = gap * 0.62
    draw.ellipse((x - size, y - size, x + size, y + size), fill=others[0])


def _strata(draw: ImageDraw.ImageDraw, paper: str, colours: list[str], chance: Random) -> None:
    """Waves, one before the other, under a sun."""
    size = chance.uniform(120, 210)
    x, y = chance.uniform(0.3, 0.7) * _DRAWN, chance.uniform(0.22, 0.34) * _DRAWN
    draw.ellipse((x - size, y - size, x + size, y + size), fill=colours[2])
    layers = chance.choice((6, 7, 8))
    for layer in range(layers):
        base = _DRAWN * (0.36 + 0.62 * layer / layers)
        waves = [
            (chance.uniform(20, 80) / order, order * chance.uniform(0.6, 1.4), chance.uniform(0, 7))
            for order in (1, 2, 3)
        ]
        line = [
            (at, base + sum(h * math.sin(2 * math.pi * f * at / _DRAWN + p) for h, f, p in waves))
            for at in range(0, _DRAWN + 8, 8)
        ]
        colour = (colours[1], colours[3], colours[2], colours[0])[layer % 4]
        draw.polygon([(0, _DRAWN), *line, (_DRAWN, _DRAWN)], fill=colour)
        draw.line(line, fill=paper, width=7)


def _sails(draw: ImageDraw.ImageDraw, paper: str, colours: list[str], chance: Random) -> None:
    """Translucent half-discs leaning on each other, with thin lines through them."""
    ink, *others = colours
    lean = chance.choice((0, 45, 90, 135))
    for _ in range(chance.choice((5, 6, 7))):
        radius = chance.uniform(0.14, 0.34) * _DRAWN
        x, y = (chance.uniform(0.22, 0.78) * _DRAWN for _ in range(2))
        start = lean + chance.choice((0, 90, 180, 270))
        fill = _with_alpha(chance.choice(others), 205)
        draw.pieslice((x - radius, y - radius, x + radius, y + radius), start, start + 180, fill)
    for _ in range(chance.choice((3, 4, 5))):
        at = chance.uniform(0.15, 0.85) * _DRAWN
        ends = ((at, 90), (at, _DRAWN - 90)) if lean % 90 else ((90, at), (_DRAWN - 90, at))
        draw.line(ends, fill=ink, width=5)
    size = chance.uniform(26, 46)
    x, y = (chance.uniform(0.25, 0.75) * _DRAWN for _ in range(2))
    draw.ellipse((x - size, y - size, x + size, y + size), fill=ink)


def _with_alpha(colour: str, alpha: int) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, alpha
