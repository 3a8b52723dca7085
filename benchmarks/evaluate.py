"""How fast 10,000 queries over 10,000 tracks are evaluated, against ranx, to the same numbers.

The library is made up: 10,000 vectors of 512 dimensions that know a little of 200 composers, whose
sizes fall like Zipf's law. It says nothing of quality. Both get the same vectors and measure P@5,
hit rate, nDCG@5, recall@5, MRR, R-precision and MAP of every query over its whole gallery, itself
left out. Each query's seven numbers are shown to be equal to 1e-9.

  ours  `evaluate_retrieval`: the search, the measures in all five variants, chance, ceilings,
        intervals from 10,000 draws, and hubs
  peer  the same products and the same sorting, then `ranx.evaluate` on arrays (its quickest way,
        compiled beforehand, all cores); one variant, no chance, no intervals

`measuring` is the ratio of measuring alone, from ordered answers to numbers, one variant each.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings

import numpy as np
from report import finish, options, say

from kindred.evaluation import measures, ranks
from kindred.evaluation.labels import Labels
from kindred.evaluation.ranks import Cosine, Groups
from kindred.evaluation.retrieval import evaluate_retrieval

K = 5
THEIRS = ["precision@5", "hit_rate@5", "ndcg@5", "recall@5", "mrr", "r-precision", "map"]
AGREEMENT = 1e-9


def library(count: int, dims: int = 512) -> tuple[np.ndarray, Labels]:
    """Unit vectors and labels; every work has four tracks, every album ten."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 201)
    composer = np.sort(rng.choice(200, size=count, p=shares / shares.sum()))
    middle = rng.standard_normal((200, dims))
    vectors = rng.standard_normal((count, dims)) + 0.25 * middle[composer]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = ("",) * count
    ids = tuple(f"track-{number:05d}" for number in range(count))
    names = tuple(f"Composer {number}" for number in composer)
    works = tuple(f"work {number // 4}" for number in range(count))
    albums = tuple(f"album {number // 10}" for number in range(count))
    return vectors.astype(np.float32), Labels("composer", ids, names, works, albums, none, 3)


def theirs(order: np.ndarray, start: int, composer: np.ndarray) -> np.ndarray:
    """ranx's seven measures of a block of ordered answers, without the query, [b, 7]."""
    import ranx
    from numba.typed import List

    n = order.shape[1]
    runs, truth = List(), List()
    scores = np.arange(n - 1, 0, -1, dtype=np.float64)
    for query, row in enumerate(order, start):
        runs.append(np.column_stack([row[row != query], scores]))
        relevant = np.flatnonzero(composer == composer[query])
        relevant = relevant[relevant != query]
        truth.append(np.column_stack([relevant, np.ones(len(relevant))]))
    found = ranx.evaluate(truth, runs, THEIRS, return_mean=False)
    return np.column_stack([found[name] for name in THEIRS])


def measured(order: np.ndarray, start: int, groups: Groups) -> np.ndarray:
    """Our seven measures of the same, [b, 7]."""
    b, n = order.shape
    own = np.arange(b) * n + np.arange(start, start + b)
    places = ranks.positions(order, n)
    found = ranks.rank_relevant(order, places, groups.cells(start, start + b), [own], k=K)
    return measures.measure(found, k=K)


def main() -> None:
    args = options(__doc__)
    count = 2_000 if args.quick else 10_000
    vectors, labels = library(count)
    composer = np.unique(labels.values, return_inverse=True)[1]
    say(args, f"{count} tracks of {len(set(labels.values))} composers, {vectors.shape[1]} dims")

    started = time.perf_counter()
    report = evaluate_retrieval(vectors, labels.ids, labels, name="made up", k=K)
    ours = time.perf_counter() - started
    assert report is not None
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if sys.platform == "darwin":
        memory /= 1024
    say(args, f"ours, everything: {ours:.1f} s; the process has held {memory:.0f} MB at most")

    warnings.simplefilter("ignore")  # numba's, of unsafe casts, while it compiles ranx
    theirs(ranks.order_by_score(np.random.default_rng(0).random((20, 50))), 0, np.zeros(50))
    spent = dict.fromkeys(("search", "ranx", "ours"), 0.0)
    groups, ranker, worst = Groups(composer), Cosine(vectors), 0.0
    plain = report.variants["plain"].values
    for start, stop in ranks.blocks(count):
        begun = time.perf_counter()
        order = ranker.order(start, stop)
        searched = time.perf_counter()
        got = theirs(order, start, composer)
        ranked = time.perf_counter()
        again = measured(order, start, groups)
        ended = time.perf_counter()
        spent["search"] += searched - begun
        spent["ranx"] += ranked - searched
        spent["ours"] += ended - ranked
        asked = ~np.isnan(again[:, 0])  # where a composer has one track ranx gives 0, not nothing
        gaps = (abs(got - each)[asked].max(initial=0) for each in (again, plain[start:stop]))
        worst = max(worst, *gaps)
    say(args, f"search alone {spent['search']:.1f} s, ranx alone {spent['ranx']:.1f} s")
    say(args, f"our measures alone {spent['ours']:.2f} s; largest difference {worst:.1e}")
    if worst > AGREEMENT:
        raise SystemExit("the numbers differ: there is nothing to compare")
    if not args.json:
        for name, item in report.variants["plain"].measures.items():
            say(args, f"  {name:13} micro {item.micro.value:.6f}")
    peer = spent["search"] + spent["ranx"]
    finish(
        "evaluate",
        ours=ours,
        peer=peer,
        ratio=peer / ours,
        measuring=round(spent["ranx"] / spent["ours"], 1),
        queries=count,
        largest_difference=worst,
        megabytes=round(memory),
    )


if __name__ == "__main__":
    main()
