"""What a listener's browser receives in a whole sitting tells nothing of what is compared.

Everything is recorded: addresses, headers, bodies, the page after each step, storage, the console.
Whether the search would find something is tested too, on servers that tell on purpose.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import uvicorn
from mutagen.id3 import ID3, TIT2
from mutagen.mp3 import MP3
from playwright.sync_api import Browser, Page, Response, expect
from starlette.types import ASGIApp

from kindred.audit.sittings import Sittings
from tests.browser.test_sitting import Sitter, ready
from tests.browsing import free_port
from tests.listening import SECRETS, SYSTEMS, TAGS, Planted, mounted

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: What no answer may have as a key or as a whole value.
WORDS = {
    "system", "systems", "model", "kind", "catch", "repeat", "real", "stratum", "strata", "score",
    "rank", "level", "expected", "item", "item_id", "track", "track_id", "candidates", "position",
    "title", "composer", "artist", "album", "path", "seed", "order", "listener", "listener_id",
}  # fmt: skip


def spellings(text: str) -> dict[str, bytes]:
    """A text as it may stand in what is sent; all but base64 are looked for in lower case."""
    plain = text.lower()
    found = {
        "plain": plain.encode(),
        "UTF-16": plain.encode("utf-16-le"),
        "address": quote(plain, safe="").encode(),
        "form": quote_plus(plain).encode(),
        "JSON": json.dumps(plain)[1:-1].encode(),
        "hexadecimal": text.encode().hex().encode(),
        "reversed": plain[::-1].encode(),
    }
    for shift in range(3):  # where it begins within a group of three bytes
        whole = base64.b64encode(b"\0" * shift + text.encode())
        # Characters at both ends also depend on what stands before and after.
        found[f"base64 at {shift}"] = whole[(0, 2, 3)[shift] : len(whole) // 4 * 4 - 4]
    return found


class Record:
    """Everything a page was sent or kept."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.parts: list[tuple[str, bytes]] = []
        self.views: list[Any] = []
        self.media: list[bytes] = []
        self.answers: list[Response] = []
        self.others: set[str] = set()
        page.context.on("response", self._answered)
        page.on("console", lambda said: self.keep("console", said.text))
        page.on("websocket", lambda socket: self.others.add("a websocket"))
        page.on("download", lambda file: self.others.add("a download"))

    def _answered(self, answer: Response) -> None:
        self.answers.append(answer)

    def keep(self, where: str, text: str | bytes) -> None:
        self.parts.append((where, text if isinstance(text, bytes) else text.encode()))

    def step(self) -> None:
        """Keep what came since the last step, the page as it stands and what is stored."""
        for answer in self.answers:
            where = answer.url.rpartition("/")[2]
            self.keep("address", answer.url)
            for header in [*answer.headers_array(), *answer.request.headers_array()]:
                self.keep(f"header of {where}", f"{header['name']}: {header['value']}")
            body = answer.body()
            self.keep(f"body of {where}", body)
            kind = answer.headers["content-type"]
            if kind == "audio/mpeg":
                self.media.append(body)
            elif kind == "application/json":
                self.views.append(json.loads(body))
        self.answers.clear()
        self.keep("page", self.page.content())
        self.keep("page as read", self.page.locator("body").aria_snapshot())
        self.keep("storage", self.page.evaluate(_STORAGE))
        self.keep("cookies", json.dumps(self.page.context.cookies()))

    def leaks(self) -> set[str]:
        """What was found that tells something: where it stood."""
        found = set(self.others)
        for where, content in self.parts:
            lower = content.lower()
            for secret in SECRETS:
                for spelling, text in spellings(secret).items():
                    if text in (content if "base64" in spelling else lower):
                        found.add(f"{spelling} in {where}")
        for word in {word for view in self.views for word in _words(view)} & WORDS:
            found.add(f"{word} in a view")
        if len({len(clip) for clip in self.media}) > 1:
            found.add("sizes of clips")
        if any(MP3(BytesIO(clip)).tags is not None or clip[:1] != b"\xff" for clip in self.media):
            found.add("tags of clips")
        return found


_STORAGE = """async () => JSON.stringify([
  {...localStorage}, {...sessionStorage}, document.cookie, history.state, name, location.href,
  await indexedDB.databases(), await caches.keys(),
  performance.getEntries().map((entry) => [entry.name, entry.serverTiming]),
])"""


def _words(value: Any) -> Iterator[str]:
    """Keys, and texts that are values, of what JSON made."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
    elif isinstance(value, str):
        yield value


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The address of an application that runs in this process until the block ends."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_config=None, server_header=False, date_header=True)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/listen"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("blinding")
    return ready(folder, practice=1, trials=3, catches=2, repeats=1)


def recorded(page: Page, planted: Planted, app: ASGIApp, *, trials: int = 99) -> Record:
    """What came in a sitting by keyboard: to its end, or up to so many trials."""
    record = Record(page)
    with served(app) as url:
        sitter = Sitter(page, planted, planted.invite(f"Jentacular {uuid.uuid4()}"))
        page.goto(f"{url}/{sitter.token}")
        sitter.heading("lend us your ears")
        record.step()
        if trials:
            sitter.begin(each=record.step)
        while trials and not page.locator("section.done").count():
            if page.locator("section.trial").count():
                sitter.hear()
                record.step()
                sitter.press("2", "Enter")
                trials -= 1
            else:
                sitter.press("Enter")
            expect(page.locator(".trial.locked, .feedback, .break, section.done")).to_be_visible()
            record.step()
        page.goto(f"{url}/{sitter.token}x")  # a link that is not valid says no more
        sitter.heading("This link is not known here")
        record.step()
    return record


@pytest.fixture(scope="module")
def record(chromium: Browser, planted: Planted) -> Record:
    """A whole sitting."""
    page = chromium.new_page()
    made = recorded(page, planted, mounted(planted))
    page.close()
    return made


def test_a_whole_sitting_tells_nothing(record: Record) -> None:
    assert record.leaks() == set()
    assert record.views[-2]["stage"] == "done"
    assert len(record.media) == 3 * (1 + 6)
    assert {where for where, _ in record.parts} >= {"page", "storage", "cookies", "address"}
    for where, content in record.parts:
        if where == "storage":
            assert content.startswith(b'[{},{},"",null')
        if where == "cookies":
            assert content == b"[]"


def test_views_of_catches_repeats_and_others_are_alike(record: Record) -> None:
    shapes = set()
    for view in record.views:
        if view.get("stage") == "trial" and not view["trial"]["answer"]:
            trial = {**view["trial"], "id": len(view["trial"]["id"])}
            trial["clips"] = [[clip["slot"], len(clip["url"])] for clip in trial["clips"]]
            trial["can_go_back"] = None
            shapes.add(json.dumps([sorted(set(view) - {"feedback"}), trial]))
    assert len(shapes) == 1
    names = [
        clip["url"] for view in record.views for clip in view.get("trial", {"clips": []})["clips"]
    ]
    assert len(set(names)) == 3 * 7  # a repeat's clips have names of their own


# -- would it be found? ----------------------------------------------------------------------------
Sabotage = Callable[[Planted, pytest.MonkeyPatch], ASGIApp]


def with_header(name: str, value: str) -> Sabotage:
    def sabotage(planted: Planted, patch: pytest.MonkeyPatch) -> ASGIApp:
        app = mounted(planted)

        async def telling(scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"].append((name.encode(), value.encode()))
                await send(message)

            await app(scope, receive, sending)

        return telling

    return sabotage


def with_state(more: Mapping[str, Any]) -> Sabotage:
    def sabotage(planted: Planted, patch: pytest.MonkeyPatch) -> ASGIApp:
        view = Sittings.view
        patch.setattr(Sittings, "view", lambda self, token: {**view(self, token), **more})
        return mounted(planted)

    return sabotage


def with_clips(change: Callable[[bytes, int], bytes]) -> Sabotage:
    def sabotage(planted: Planted, patch: pytest.MonkeyPatch) -> ASGIApp:
        clip = Sittings.clip
        count = iter(range(10_000))

        def changed(self: Sittings, token: str, name: str) -> Path:
            path = planted.folder / f"{name}.mp3"
            path.write_bytes(change(clip(self, token, name).read_bytes(), next(count)))
            return path

        patch.setattr(Sittings, "clip", changed)
        return mounted(planted)

    return sabotage


def _tagged(content: bytes, number: int) -> bytes:
    out = BytesIO(content)
    tags = ID3()
    tags.add(TIT2(encoding=1, text=["Untitled"]))
    tags.save(out)
    return out.getvalue()


TITLE = TAGS["title"]
ENCODED = base64.b64encode(f"a clip of {TITLE}, played".encode()).decode()


@pytest.mark.parametrize(
    ("sabotage", "found", "trials"),
    [
        (with_header("X-Title", TITLE), "plain in header of state", 0),
        (with_header("X-Title", TITLE.upper()), "plain in header of state", 0),
        (with_header("ETag", ENCODED), "base64 at 1 in header of state", 0),
        (with_header("Link", quote(TITLE)), "address in header of state", 0),
        (with_header("Set-Cookie", f"last={SYSTEMS[0]}"), "plain in cookies", 0),
        (with_state({"hint": f"by {SYSTEMS[0].title()}"}), "plain in body of state", 0),
        (with_state({"hint": {"of": [0.87654321]}}), "plain in body of state", 0),
        (with_state({"hint": {"kind": 1}}), "kind in a view", 0),
        (with_state({"hint": ["catch"]}), "catch in a view", 0),
        (with_clips(_tagged), "tags of clips", 1),
        (with_clips(lambda content, number: content + b"\0" * number), "sizes of clips", 1),
        (with_clips(lambda content, number: content + TITLE.encode()), "plain in body of", 1),
    ],
    ids=["header", "capitals", "base64", "address", "cookie", "state", "score", "kind", "catch",
         "tags", "sizes", "bytes"],
)  # fmt: skip
def test_a_server_that_tells_is_caught(
    chromium: Browser,
    planted: Planted,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Sabotage,
    found: str,
    trials: int,
) -> None:
    page = chromium.new_page()
    record = recorded(page, planted, sabotage(planted, monkeypatch), trials=trials)
    page.close()
    assert [leak for leak in record.leaks() if leak.startswith(found)]
