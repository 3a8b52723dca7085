"""Tags on a world whose truth is known, and vocabularies with bad lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, ImportRejected, SpaceMismatch
from kindred.search.tagging import KINDS, Entry, Tagger, Vocabulary, load_vocabulary

SPACE = EmbeddingSpace("axes", "1", 8000, 1.0, 1.0, "mean", 5)
WORLD = Vocabulary(
    (
        Entry("genre", "Rock", "r"),
        Entry("genre", "Folk", "f"),
        Entry("genre", "Ambient", "a"),
        Entry("mood", "Calm", "c"),
        Entry("mood", "Wild", "w"),
    )
)


class Axes:
    """Each prompt of the world is an axis of its own; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        return np.eye(5, dtype=np.float32)[["rfacw".index(text) for text in texts]]


def test_the_nearest_prompt_comes_first() -> None:
    tracks = np.array([[0.8, 0, 0, 0.6, 0], [0, 0, 1, 0, 0]], np.float32)
    first, second = Tagger(WORLD, Axes(), logit_scale=2).tags(tracks, top=2)
    total = np.exp(1.6) + 2
    assert first["genre"] == [
        ("Rock", pytest.approx(np.exp(1.6) / total, abs=1e-6)),
        ("Ambient", pytest.approx(1 / total, abs=1e-6)),  # a tie with Folk: by tag
    ]
    assert [tag for tag, _ in first["mood"]] == ["Calm", "Wild"]
    assert "instrument" not in first
    assert second["genre"][0][0] == "Ambient"
    assert second["mood"] == [("Calm", 0.5), ("Wild", 0.5)]


def test_scores_of_a_kind_sum_to_one_and_their_order_is_that_of_the_cosine() -> None:
    rng = np.random.default_rng(0)
    tracks = rng.standard_normal((20, 5)).astype(np.float32)
    tracks /= np.linalg.norm(tracks, axis=1, keepdims=True)
    for scale in (1.0, 1e4):
        for row, tags in zip(
            tracks, Tagger(WORLD, Axes(), logit_scale=scale).tags(tracks), strict=True
        ):
            assert sum(score for _, score in tags["genre"]) == pytest.approx(1)
            order = [("Rock", "Folk", "Ambient")[place] for place in np.argsort(-row[:3])]
            if scale == 1:  # at 1e4 the lowest may vanish, and ties order by tag
                assert [tag for tag, _ in tags["genre"]] == order
            assert tags["genre"][0][0] == order[0]


def test_the_vocabulary_is_encoded_once() -> None:
    axes = Axes()
    tagger = Tagger(WORLD, axes)
    assert axes.calls == 0
    for _ in range(3):
        tagger.tags(np.zeros((1, 5), np.float32))
    assert axes.calls == 1
    assert tagger.tags(np.zeros((0, 5), np.float32)) == []


def test_vectors_are_kept_by_space_and_prompts(tmp_path: Path) -> None:
    axes = Axes()
    track = np.eye(5, dtype=np.float32)[:1]

    def ask(vocabulary: Vocabulary = WORLD, space: EmbeddingSpace = SPACE) -> object:
        return Tagger(vocabulary, axes, space=space, cache=tmp_path / "tags").tags(track)

    first = ask()
    assert ask() == first
    assert axes.calls == 1
    ask(Vocabulary(WORLD.entries[:4]))
    assert axes.calls == 2
    ask(space=EmbeddingSpace("axes", "2", 8000, 1.0, 1.0, "mean", 5))
    assert axes.calls == 3
    kept = sorted((tmp_path / "tags").iterdir())
    assert [file.suffix for file in kept] == [".npy"] * 3
    for file in kept:
        file.write_bytes(file.read_bytes()[:-7])
    assert ask() == first
    assert axes.calls == 4
    with pytest.raises(EncoderError, match="needs the space"):
        Tagger(WORLD, axes, cache=tmp_path).tags(track)


def test_vectors_that_do_not_fit_are_refused() -> None:
    tagger = Tagger(WORLD, Axes())
    with pytest.raises(SpaceMismatch, match=r"\[n, 5\], got \(1, 4\)"):
        tagger.tags(np.zeros((1, 4), np.float32))
    with pytest.raises(SpaceMismatch):
        tagger.tags(np.zeros(5, np.float32))
    with pytest.raises(EncoderError, match="finite"):
        tagger.tags(np.full((1, 5), np.nan, np.float32))
    with pytest.raises(EncoderError, match="top=0"):
        tagger.tags(np.zeros((1, 5), np.float32), top=0)


def test_the_vocabulary_that_ships() -> None:
    vocabulary = load_vocabulary()
    counts = Counter(entry.kind for entry in vocabulary.entries)
    assert set(counts) == set(KINDS)
    assert 90 <= counts.total() <= 150
    assert min(counts.values()) >= 20
    prompts = [entry.prompt for entry in vocabulary.entries]
    assert len(set(prompts)) == len(prompts)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_edited_vocabulary(tmp_path: Path) -> None:
    text = '\ufefftag,kind,prompt,note\n Zouk ,genre,"zouk, with  synths",mine\nZouk,mood,x,\n'
    vocabulary = load_vocabulary(write(tmp_path, text))
    assert vocabulary.entries == (
        Entry("genre", "Zouk", "zouk, with synths"),
        Entry("mood", "Zouk", "x"),
    )
    assert vocabulary.digest != WORLD.digest


def test_bad_lines_are_named(tmp_path: Path) -> None:
    lines = [
        "kind,tag,prompt",
        "genre,Rock,rock music",
        "gerne,Pop,pop music",
        "genre,,nothing",
        "mood,Sad",
        "genre,ROCK,again",
        "genre,Metal,loud, distorted",
        f"mood,Long,{'x' * 201}",
    ]
    with pytest.raises(ImportRejected, match="line 3: kind must be genre, mood or") as caught:
        load_vocabulary(write(tmp_path, "\n".join(lines)))
    assert [line for line, _ in caught.value.problems] == [3, 4, 5, 6, 7, 8]
    assert "line 2 already" in caught.value.problems[3][1]
    assert "and 1 more" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1 lacks the columns kind, tag, prompt; it has none"),
        ("kind,tag\ngenre,Rock\n", "lacks the columns prompt"),
        ("kind,tag,prompt\n", "no tag follows"),
        ("kind,tag,prompt\n" + "".join(f"mood,t{n},p\n" for n in range(2_001)), "at most 2000"),
        ("kind,tag,prompt\ngenre,Rock," + "x" * 200_000, "not CSV: line 2"),
    ],
)
def test_a_file_that_is_no_vocabulary(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRejected, match=told):
        load_vocabulary(write(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImportRejected, match="cannot be read"):
        load_vocabulary(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes("kind,tag,prompt\ngenre,Fado,m\xfasica".encode("latin-1"))
    with pytest.raises(ImportRejected, match="UTF-8"):
        load_vocabulary(tmp_path / "latin.csv")
