"""One library of sixty tracks with odd ids, asked live and as the artifact exported from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from starlette.testclient import TestClient

from kindred.api.app import create_api, standalone
from kindred.api.artifact import ArtifactSource
from kindred.artifacts.read import Artifact
from kindred.config import Settings
from kindred.services import Services, build
from kindred.services.evaluations import Options
from kindred.storage.records import Embedding, Track

#: Ids that an address must not break: each stands for itself alone.
ODD = (
    "a/b", "a%2Fb", "a%252Fb", "a b", "?k=1", "#top", "ä♫𝄞", "nearest", "a/nearest",
    "x/composer-eval", "x" * 200, "+", "'; DROP TABLE tracks; --", "\\", "%", "%zz",
    "\n", "tracks/", "/", "//",
)  # fmt: skip


class World(NamedTuple):
    """Where the library and the artifact of it lie, and the id of the artifact's evaluation."""

    home: Path
    artifact: Path
    run_id: str


def tracks() -> list[Track]:
    """Sixty tracks of eight composers and some of none, with works, albums and a copy."""
    ids = [*ODD, *(f"t{number:03d}" for number in range(60 - len(ODD)))]
    return [
        Track(
            track_id,
            content_hash=f"{number:064x}",
            title=f"Prélude No. {number}",
            artist=f"Artist {number % 3}",
            album=f"Album {number % 11}",
            composer=f"Composer {number % 8}" if number % 10 else "",
            work=f"Work {number % 20}",
            genre=("Baroque", "Folk", "")[number % 3],
            year=1700 + number,
            duration=60.0 + number,
            format="flac",
        )
        for number, track_id in enumerate(ids)
    ]


def fill(services: Services) -> None:
    space, made = services.space(), tracks()
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(8, space.dims))
    vectors = rng.normal(size=(len(made), space.dims))
    vectors += [0.8 * centres[number % 8] for number in range(len(made))]
    vectors[31] = vectors[30]  # a tie
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with services.storage.batch():
        services.storage.put_tracks(made)
        services.storage.put_embeddings(
            space,
            [
                Embedding(track.track_id, track.content_hash, vector, vector[None])
                for track, vector in zip(made, vectors, strict=True)
            ],
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:  # the user's own settings stay out
        patch.setitem(Settings.model_config, "env_file", None)
        patch.setitem(Settings.model_config, "toml_file", None)
        services = build(home=folder / "library", model_dir=folder / "models")
        fill(services)
        run = services.evaluations.run(Options(encoders=("descriptors",)))
        assert run is not None
        made = services.export_artifact(folder, index=False)
        services.close()
    return World(folder / "library", Path(made.path), run.run_id)


@pytest.fixture
def live_services(world: World) -> Iterator[Services]:
    services = build(home=world.home)
    yield services
    services.close()


Ask = Callable[[str], TestClient]


@pytest.fixture
def ask(world: World, live_services: Services) -> Iterator[Ask]:
    """A client of the API by what is served: ``"library"`` or ``"artifact"``."""
    with ExitStack() as stack:

        def client(source: str) -> TestClient:
            served = live_services if source == "library" else open_artifact(world)
            return stack.enter_context(TestClient(standalone(create_api(served))))

        yield client


def open_artifact(world: World) -> ArtifactSource:
    return ArtifactSource(Artifact.open(world.artifact))


@pytest.fixture(params=["library", "artifact"])
def either(ask: Ask, request: pytest.FixtureRequest) -> TestClient:
    """The API over the library, then over the artifact."""
    return ask(request.param)
