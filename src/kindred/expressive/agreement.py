"""Whether scores order what people heard as people did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kindred.audit.study import Clip as Segment
from kindred.evaluation.statistics import DRAWS, bootstrap, interval
from kindred.expressive.human_labels import HumanItems, aspect_weights
from kindred.expressive.ranking import represent
from kindred.expressive.scoring import Floats, Scorer, total


@dataclass(frozen=True)
class Agreement:
    """How often scores order candidates as people did: mean over queries, 95 % interval.

    ``low`` and ``high`` are ``None`` where people judged one track only: nothing can be redrawn.
    """

    mean: float
    low: float | None
    high: float | None
    queries: int
    comparisons: int


def agreement(
    scorer: Scorer, items: HumanItems, features: Mapping[Segment, Floats], *, draws: int = DRAWS
) -> Agreement | None:
    """Order what people ordered: by the area under the curve, where 0.5 is chance.

    Two candidates of one query that people gave different grades are one comparison, and so is a
    triple; equal scores count half. Tracks of a query are drawn for the interval.

    Parameters
    ----------
    scorer : Scorer
    items : HumanItems
        Of one split.
    features : mapping of Segment to float32 [segments, layers, dims]
        Of every stretch that was heard; comparisons of others are left out.

    Returns
    -------
    Agreement or None
        ``None`` without a comparison.
    """
    order = list(features)
    row = {segment: i for i, segment in enumerate(order)}
    asked: dict[tuple[Segment, str], list[tuple[Segment, Segment]]] = defaultdict(list)
    judged: dict[tuple[Segment, str], list[tuple[float, Segment]]] = defaultdict(list)
    for pair in items.pairs:
        judged[pair.query, pair.aspect].append((pair.mean, pair.candidate))
    for key, of in judged.items():
        for (one, first), (other, second) in combinations(of, 2):
            if one != other:
                asked[key].append((first, second) if one > other else (second, first))
    for triple in items.triples:
        asked[triple.reference, triple.aspect].append((triple.closer, triple.farther))
    kept = represent(scorer, np.stack([features[segment] for segment in order])) if order else None
    shares: list[float] = []
    tracks: list[str] = []
    comparisons = 0
    for (query, aspect), ordered in asked.items():
        known = [(x, y) for x, y in ordered if query in row and x in row and y in row]
        if not known or kept is None:
            continue
        at = row[query]
        rows = [row[segment] for both in known for segment in both]
        weights = np.array(aspect_weights(aspect), np.float32)
        near, far = total(scorer.compare(kept[at : at + 1], kept[rows]), weights).reshape(-1, 2).T
        shares.append(float(((near > far) + 0.5 * (near == far)).mean()))
        tracks.append(query.track_id)
        comparisons += len(known)
    if not shares:
        return None
    values = np.array(shares)[:, None]
    clusters = np.unique(tracks, return_inverse=True)[1]
    low, high = None, None
    if clusters.max() > 0:
        drawn, _ = bootstrap(values, clusters, np.full(len(values), -1), draws=draws)
        low, high = interval(drawn)[0] or (None, None)
    return Agreement(float(values.mean()), low, high, len(shares), comparisons)
