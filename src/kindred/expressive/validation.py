"""nDCG@10 as training asks for it, once an epoch: for the view that :mod:`.ranking` reports first.

:func:`kindred.expressive.ranking.rank` gives the same number, with all else that it measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.expressive.ranking import grade_table
from kindred.expressive.scoring import Floats

Ints = NDArray[Any]

_CUT = 10


def ndcg(scores: Floats, levels: Ints, works: Ints, *, aspect: int) -> float:
    """Graded nDCG@10 of every clip against all others: mean over works of their queries' means.

    Grades are those of :meth:`kindred.expressive.aspects.Aspect.grade`; the query's own work at
    another level is a lure of grade 0, at the same level it is left out. Ties order by row.

    Parameters
    ----------
    scores : float32 [n, n]
    levels, works : int [n]
    aspect : int
        Its place in :data:`kindred.expressive.aspects.ASPECTS`.

    Returns
    -------
    float
        Not a number when no query has a candidate with a grade.
    """
    levels = levels.astype(np.int64)
    grade = grade_table(aspect, levels, levels)
    known = grade >= 0
    own = works[:, None] == works
    grade[own | ~known] = 0
    offered = known & ~(own & (levels[:, None] == levels))
    ranked = np.argsort(np.where(offered, -scores, np.inf), axis=1, kind="stable")[:, :_CUT]
    discount = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
    gained = np.take_along_axis(grade, ranked, axis=1) @ discount
    best = -np.sort(-grade, axis=1)[:, :_CUT] @ discount
    asked = best > 0
    each = gained[asked] / best[asked]
    _, work = np.unique(works[asked], return_inverse=True)
    if not len(each):
        return float("nan")
    return float((np.bincount(work, each) / np.bincount(work)).mean())
