"""A map as one HTML file that opens from disk, without a server and without the network.

It is drawn by the same code as on the page (``static/map_view.js``): pan, zoom, names on hover, the
legend, the lasso, and a box that finds a track by its name. There is no sound in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape

from kindred.ui.map_view import MAP_CODE, Colouring, Points, map_state
from kindred.ui.player import static_text

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<div class="find" role="search">
<input type="search" placeholder="Find a track" aria-label="Find a track" autocomplete="off">
<ul hidden></ul>
</div>
</header>
<div class="kindred-map"></div>
<!--
{licence}
-->
<script type="module">
const PAGE = {page};
{js}
</script>
</body>
</html>
"""


def to_html(
    points: Points,
    colouring: Colouring,
    regions: Sequence[tuple[float, float, str, float]] = (),
    *,
    title: str,
) -> str:
    """Return the whole file.

    Parameters
    ----------
    points, colouring, regions
        As for :func:`kindred.ui.map_view.map_view`. All titles and subtitles are in the file.
    title : str
        Heading of the page.

    Raises
    ------
    ValueError
        When points and colouring have different lengths.
    """
    state = map_state(points, colouring, name="file", served=False, regions=regions, label=title)
    page = {
        "state": state,
        "points": base64.b64encode(points.packed).decode(),
        "colours": base64.b64encode(colouring.packed).decode(),
    }
    return _PAGE.format(
        title=escape(title),
        css=static_text("map.css", "map_page.css"),
        # "<" would let a name of a region end the script.
        page=json.dumps(page).replace("<", "\\u003c"),
        js=static_text(*MAP_CODE, "map_page.js"),
        licence=static_text("map_vendor.LICENSE.txt").replace("--", "- -"),
    )
