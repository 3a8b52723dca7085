"""The task of retrieval by label: queries, what is relevant to them, and what is left out.

It depends on the tracks' labels alone, so every encoder, index and rescaling gets the same one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kindred.errors import QueryError
from kindred.evaluation.labels import Labels, codes
from kindred.evaluation.ranks import Ints

#: What each variant leaves out besides the query.
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "not_same_work": ("work",),
    "not_same_album": ("album",),
    "not_near_duplicates": ("recording",),
    "controlled": ("work", "album", "recording"),
}
_FEW = 10


class Task:
    """A labelled gallery.

    Parameters
    ----------
    labels : Labels
        Of the tracks, in ascending order of their ids.
    k : int
        Where the measures cut.

    Attributes
    ----------
    n : int
        Number of tracks.
    classes : list of str
        Distinct labels.
    class_of : intp [n]
        Number of each track's label, -1 for none.
    groups : dict of intp [n]
        By "work", "album" and "recording", the group of each track, -1 for none.
    cluster_of : intp [n]
        Work that each track is drawn with; a track of no known work is drawn alone.
    macro_of : intp [n]
        ``class_of`` where the class is in the macro mean, else -1.
    rule : str
        Which classes these are, in words.

    Raises
    ------
    QueryError
        With fewer than two tracks, no two tracks of one label, or a ``k`` below 1.
    """

    def __init__(self, labels: Labels, *, k: int) -> None:
        n = len(labels.ids)
        if k < 1:
            raise QueryError(f"k must be at least 1, got {k}.")
        if n < 2:
            raise QueryError(f"Tracks with a vector: {n}. Retrieval needs at least 2.")
        self.labels, self.k, self.n = labels, k, n
        self.class_of, self.classes = codes(labels.values)
        if np.bincount(self.class_of[self.class_of >= 0], minlength=1).max() < 2:
            raise QueryError(
                f"No two of {n} tracks have the same {labels.name}, so none can be found by"
                " another. Name the tracks' labels, or evaluate another tag."
            )
        self.groups: dict[str, Ints] = {
            "work": codes(labels.works)[0],
            "album": codes(labels.albums)[0],
            "recording": codes(labels.recordings)[0],
        }
        self.cluster_of = np.where(self.groups["work"] < 0, n + np.arange(n), self.groups["work"])
        pairs = np.unique(np.column_stack([self.class_of, self.cluster_of]), axis=0)[:, 0]
        works = np.bincount(pairs[pairs >= 0], minlength=len(self.classes))
        enough = works >= labels.min_works
        self.falls_back = not enough.any()
        counts = np.append(enough | self.falls_back, False)  # the last is that of -1, no label
        self.macro_of = np.where(counts[self.class_of], self.class_of, -1)
        self.rule = self._rule(int(enough.sum()))

    def _rule(self, enough: int) -> str:
        name, least, of = self.labels.name, self.labels.min_works, len(self.classes)
        if self.falls_back:
            return f"macro: mean over all {of} labels ({name}), as none has {least} works"
        if least < 2:
            return f"macro: mean over all {of} labels ({name})"
        return f"macro: mean over the {enough} of {of} labels ({name}) with at least {least} works"

    def left_out(self, variant: str) -> list[str]:
        """Groups that a variant leaves out; never what is the label itself."""
        return [group for group in VARIANTS[variant] if group != self.labels.name]

    def warnings(self, queries: dict[str, int]) -> Iterator[str]:
        """What the figures cannot say, given the number of queries of each variant."""
        name, n = self.labels.name, self.n
        counted = len(np.unique(self.macro_of[self.macro_of >= 0]))
        if counted < _FEW:
            yield (
                f"The macro mean is over {counted} labels ({name}): it tells of these alone. For a"
                f" claim about any {name} take at least {_FEW}."
            )
        if self.falls_back:
            yield (
                f"No {name} has {self.labels.min_works} works, so the macro mean is over all of"
                " them and rests on very few works each."
            )
        if missing := int((self.class_of < 0).sum()):
            yield (
                f"{missing} of {n} tracks have no {name}: they are never asked and never relevant,"
                " and count as wrong wherever they are found."
            )
        for group in ("work", "album"):
            unknown = int((self.groups[group] < 0).sum())
            if group != name and unknown:
                yield (
                    f"{unknown} of {n} tracks name no {group}: what they share with others of it"
                    " is not left out."
                )
        if len(np.unique(self.cluster_of[self.class_of >= 0])) < _FEW:
            yield f"The tracks are of fewer than {_FEW} works: the intervals are not to be trusted."
        for variant, count in queries.items():
            if not count:
                yield f"{variant.replace('_', ' ')}: nothing relevant is left for any query."
