"""Ingest with an encoder that gives more than vectors: every layer of every window is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings.layered import LayeredStore
from kindred.embeddings.mert import MertEncoder, from_settings
from kindred.library.ingest import Ingest
from kindred.storage.local import LocalBackend
from tests.conftest import tone
from tests.embeddings.tiny_mert import save_mert


@pytest.fixture(scope="module")
def mert(tmp_path_factory: pytest.TempPathFactory) -> MertEncoder:
    """MERT's architecture with two small random layers: it says nothing of quality."""
    folder = save_mert(tmp_path_factory.mktemp("mert"))
    return from_settings(Settings(_env_file=None, mert_model=str(folder), mert_layers="1-2"))


def test_layers_are_kept_beside_the_vectors(mert: MertEncoder, tmp_path: Path, home: Path) -> None:
    for number, seconds in enumerate((3, 12, 21)):
        tone(tmp_path / "music" / f"{number}.wav", hz=300 + 200 * number, seconds=seconds)
    (tmp_path / "music" / "broken.mp3").write_bytes(b"no music")
    storage = LocalBackend(home)
    summary = Ingest(storage, mert, home=home).run([tmp_path / "music"])
    assert (summary.added, summary.quarantined) == (3, 1)
    store = LayeredStore(home / "layers")
    for track in storage.list_tracks():
        layers = store.open(track.content_hash, space=mert.layer_space)
        windows = {"0": 1, "1": 3, "2": 5}[track.title]
        assert layers.shape == (windows, 3, 768)
        assert layers.dtype == np.float16
        # The track vector can be made again from what was kept, to float16's precision.
        again = mert.pool(mert.rows(np.asarray(layers, np.float32)))
        _, [vector] = storage.get_embeddings(mert.space, [track.track_id])
        assert float(again @ vector) > 0.9999
    assert len(store.list(space=mert.layer_space)) == 3
    leftovers = [path for path in (home / "layers").rglob("*") if path.suffix in (".tmp", ".part")]
    assert leftovers == []
    storage.close()
