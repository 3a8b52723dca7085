"""A planted listening study, and a server of it in a process that tests may kill.

Its names are ones that no page says by chance. Its music is tones with tags, a pitch each.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from mutagen.flac import FLAC
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from kindred.api.listening.app import listening_app
from kindred.audit.clips import ClipMaker
from kindred.audit.signing import load_secret, make_token
from kindred.audit.sittings import Sittings
from kindred.audit.store import AuditStore
from kindred.audit.study import Candidate, Clip, Design, Item, Placed, Study
from kindred.audit.views import View
from tests.browsing import ROOT, free_port

STUDY = "planted-study"
SYSTEMS = ("zephyrine-encoder", "quixotl, csls")
STRATA = ("Wolfgang Zzyzxer", "Hildegard Qwyjibo")
SCORE = 0.87654321
TRACKS = 24
TAGS = {
    "title": "Xylocarp Sonata", "artist": "Vexillum Quartet", "album": "Brouhaha Live",
    "composer": STRATA[0],
}  # fmt: skip
#: Whatever no listener may come across; of eight letters and more, so that none is there by chance.
SECRETS = (
    *SYSTEMS, *STRATA, *TAGS.values(), "plumbeous", "Jentacular", STUDY, "item-qualm", str(SCORE),
)  # fmt: skip


def track_id(number: int) -> str:
    return f"plumbeous-{number % TRACKS:02d}"


def study(**changes: Any) -> Study:
    """A study whose sittings have ten trials, of clips of a second, unless told otherwise."""
    values: dict[str, Any] = {
        "title": "Jentacular", "aspect": "timbre", "systems": SYSTEMS, "trials": 7, "catches": 2,
        "repeats": 1, "practice": 2, "overlap": 1, "listeners": 400, "clip_seconds": 1.0,
        "clip_choice": "random",
    }  # fmt: skip
    design = Design(**(values | changes))
    kinds = ["practice"] * design.practice + ["catch"] * design.catches + ["real"] * design.trials
    return Study(STUDY, design, tuple(_item(kind, at, design) for at, kind in enumerate(kinds)))


def _item(kind: Any, number: int, design: Design) -> Item:
    count = {"ab": 2, "graded": 5, "odd": 3}[design.form]
    clips = [Clip(track_id(number + 5 * place), 0.5, design.clip_seconds) for place in range(6)]
    return Item(
        item_id=f"item-qualm-{number}",
        kind=kind,
        stratum=STRATA[number % 2],
        reference=None if design.form == "odd" else clips[0],
        candidates=tuple(
            Candidate(clip, {SYSTEMS[place % 2]: Placed(3 + place, SCORE)})
            for place, clip in enumerate(clips[1 : count + 1])
        ),
        expected=None if kind == "real" else number % count,
    )


class Planted:
    """A folder with a study and its music; whatever runs on it, processes share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = AuditStore(folder / "audit.db", clock=self.clock)
        self.secret = load_secret(folder / "secret")
        self.clips = ClipMaker(self.music, folder / "clips")
        self.sittings = Sittings(self.store, self.clips, self.secret)

    @classmethod
    def make(cls, folder: Path, **changes: Any) -> Planted:
        """Plant it and open the study; clips are made when they are asked for."""
        made = cls(folder)
        planted = study(**changes)
        made.store.put_draft(planted)
        made.store.open_study(planted.study_id)
        return made

    def clock(self) -> datetime:
        """The time, put off by as many seconds as the file ``clock`` says: tests may write it."""
        try:
            off = float((self.folder / "clock").read_text() or 0)
        except FileNotFoundError:
            off = 0.0
        return datetime.now(UTC) + timedelta(seconds=off)

    def music(self, track: str) -> Path:
        """A track's file, written when it is first asked for."""
        path = self.folder / TAGS["artist"] / f"{TAGS['title']} {track}.flac"
        if not path.exists():
            _write_tone(path, hz=160 * 1.15 ** int(track[-2:]))
        return path

    def invite(self, name: str = "Listener", *, days: float = 1) -> str:
        """The token of a new invitation."""
        until = datetime.now(UTC) + timedelta(days=days)
        made = self.store.invite(STUDY, name, until)
        return make_token(self.secret, made.invitation_id)


def _write_tone(path: Path, *, hz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(3 * 22_050) / 22_050
    tone = sum(np.sin(2 * np.pi * hz * part * seconds) / part for part in (1, 2, 3))
    partial = path.with_suffix(f".{uuid.uuid4()}.flac")  # another thread may write it too
    soundfile.write(partial, 0.2 * tone, 22_050)
    tags = FLAC(partial)
    tags.update(TAGS)
    tags.save()
    partial.replace(path)


def mounted(planted: Planted) -> ASGIApp:
    """The listener's surface where it lies in a server."""
    return Starlette(routes=[Mount("/listen", listening_app(planted.sittings))])


def answered(view: View, **changes: Any) -> dict[str, Any]:
    """What a page sends that played every clip once and then chose."""
    heard = {"plays": 1, "seconds": 1.0, "whole": True}
    return {
        "id": str(uuid.uuid4()),
        "trial": view["trial"]["id"],
        "answer": {"point": 1},
        "heard": [heard] * len(view["trial"]["clips"]),
        "seconds": 12.5,
        "deciding_seconds": 2.5,
        "blurred": 0,
        "comment": "",
    } | changes


class Server:
    """A process that serves a planted study; one that was killed starts again at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/listen"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.listening", str(self.folder), str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{self.url}/", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """As a power cut would end it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


if __name__ == "__main__":
    from kindred.api import logs, serving

    logs.to_stderr("kindred.api")
    serving.serve(mounted(Planted(Path(sys.argv[1]))), host="127.0.0.1", port=int(sys.argv[2]))
