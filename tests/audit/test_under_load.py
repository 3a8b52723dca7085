"""Two hundred sittings at once, a server that is killed, and answers that are stored once each."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.listening import STUDY, Planted, Server, answered

SITTINGS = 200
#: Answers acknowledged before the server is killed, before it is killed again, and at which the
#: clock jumps, by seconds.
KILLS = (250, 700)
JUMPS = {150: 7_200, 400: -86_400 * 365, 900: 86_400 * 30}


class Crowd:
    """Listeners who click twice, use two windows and send old answers again."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client, self.url = client, url
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()
        self.lost = 0

    async def ask(self, token: str, what: str, body: Any = None) -> httpx.Response:
        """Ask until the server answers, as the page does."""
        while True:
            try:
                method = "GET" if body is None else "POST"
                address = f"{self.url}/{token}/{what}"
                answer = await self.client.request(method, address, json=body)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                self.lost += 1
            await asyncio.sleep(0.2)

    async def answer(self, token: str, body: dict[str, Any]) -> Any:
        """Send an answer, note how it went, and give the view."""
        got = await self.ask(token, "answer", body)
        assert got.status_code in (200, 409), got.text
        if got.status_code == 409:
            self.refused.add(body["id"])
            return got.json()["view"]
        self.acknowledged[body["id"]] = body
        return got.json()

    async def sit(self, token: str, seed: int) -> None:
        """A whole sitting."""
        draw = random.Random(seed)
        sent: list[dict[str, Any]] = []
        await self.ask(token, "state")
        view = (await self.ask(token, "consent", {"device": {"width": 1, "touch": True}})).json()
        while view["stage"] != "done":
            if view["stage"] == "sound_check":
                sides = view["sound_check"]["sides"]
                body = {"volume_ok": True, "sides": sides, "heard": sides}
                view = (await self.ask(token, "sound-check", body)).json()
                continue
            if view["stage"] in ("instructions", "break"):
                view = (await self.ask(token, "begin", {})).json()
                continue
            before = view["progress"]["done"], view["stage"]
            await self.ask(token, "shown", {"trial": view["trial"]["id"]})
            bodies = [self.made(view, draw) for _ in range(2 if draw.random() < 0.2 else 1)]
            # Each window sends its answer, some by a double click.
            clicks = [body for body in bodies for _ in range(1 + (draw.random() < 0.2))]
            await asyncio.gather(*(self.answer(token, body) for body in clicks))
            assert sum(body["id"] in self.acknowledged for body in bodies) == 1
            sent += [body for body in bodies if body["id"] in self.acknowledged]
            if draw.random() < 0.2:  # an old answer arrives again, late
                await self.answer(token, draw.choice(sent))
            view = (await self.ask(token, "state")).json()
            assert (view["progress"]["done"], view["stage"]) != before

    def made(self, view: Any, draw: random.Random) -> dict[str, Any]:
        words = str(uuid.UUID(int=draw.getrandbits(128)))
        return answered(view, answer={"point": draw.randint(-2, 2)}, comment=words)


@pytest.mark.slow
def test_what_was_acknowledged_is_stored_exactly_once(tmp_path: Path) -> None:
    planted = Planted.make(tmp_path, trials=3, catches=1, repeats=1, practice=1)
    tokens = [planted.invite(f"Listener {number}", days=500) for number in range(SITTINGS)]
    revoked = planted.invite("Revoked", days=500)
    planted.store.revoke(planted.store.invitations(STUDY)[-1].invitation_id)
    expired = planted.invite("Expired", days=1e-7)
    wrong = {revoked: "revoked", expired: "expired", tokens[0][:-2] + "xx": "unknown"}

    async def strangers(crowd: Crowd, over: asyncio.Event) -> int:
        """Links that are not valid, all the while."""
        tried = 0
        while not over.is_set():
            for token, code in wrong.items():
                body = {"id": str(uuid.uuid4()), "trial": "x", "answer": None}
                body |= {"heard": [], "seconds": 1}
                for what, sent in (("state", None), ("answer", body)):
                    got = await crowd.ask(token, what, sent)
                    # A clock that went back makes an expired link valid again, but only that.
                    late = code == "expired" and got.status_code in (200, 409)
                    assert late or (got.status_code, got.json()["error"]) == (403, code)
                    tried += 1
            await asyncio.sleep(0.3)
        return tried

    async def fate(crowd: Crowd, server: Server) -> None:
        """Kills the server and turns its clock."""
        for count in sorted([*KILLS, *JUMPS]):
            await _until(lambda count=count: len(crowd.acknowledged) >= count)
            if count in KILLS:
                server.kill()
                await asyncio.to_thread(server.start)
            else:
                (tmp_path / "clock").write_text(str(JUMPS[count]))

    async def run(server: Server) -> Crowd:
        limits = httpx.Limits(max_connections=SITTINGS)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client, asyncio.timeout(240):
            crowd, over = Crowd(client, server.url), asyncio.Event()
            others = [asyncio.create_task(fate(crowd, server))]
            others.append(asyncio.create_task(strangers(crowd, over)))
            await asyncio.gather(*(crowd.sit(token, seed) for seed, token in enumerate(tokens)))
            over.set()
            await asyncio.gather(*others)
            return crowd

    with Server(tmp_path) as server:
        crowd = asyncio.run(run(server))
    kept = planted.store.judgements(STUDY)
    stored = {item.judgement_id: item for item in kept}
    assert len(stored) == len(kept) == SITTINGS * 6
    assert set(stored) == set(crowd.acknowledged)
    assert not crowd.refused & set(stored)
    assert crowd.refused  # by the second windows
    assert crowd.lost >= len(KILLS)
    for name, body in crowd.acknowledged.items():
        assert stored[name].answer == body["answer"]
        assert stored[name].comment == body["comment"]
    sittings = {item.sitting_id for item in kept}
    assert len(sittings) == SITTINGS
    for sitting_id in sittings:  # in order, whatever the clock said
        positions = [item.position for item in planted.store.judgements_in(sitting_id)]
        assert positions == [-1, 0, 1, 2, 3, 4]


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)
