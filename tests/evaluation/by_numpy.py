"""The evaluation once more, one query at a time, from an exported folder; nothing of Kindred's.

The folder holds ``embeddings.npy`` (float32 [n, dims]) and ``metadata.csv`` with a row a track:
track_id, label, work, album, recording. Run as a script it prints the means as JSON.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

VARIANTS = {
    "plain": [],
    "not_same_work": ["work"],
    "not_same_album": ["album"],
    "not_near_duplicates": ["recording"],
    "controlled": ["work", "album", "recording"],
}


def of_one(ranks: list[int], relevant: int, k: int) -> dict[str, float]:
    """Every measure, given the ranks of the relevant tracks that were found, ascending."""
    hits = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(k, relevant) + 1))
    return {
        f"precision@{k}": len(hits) / k,
        f"hit_rate@{k}": float(bool(hits)),
        f"ndcg@{k}": sum(1 / np.log2(rank + 1) for rank in hits) / ideal,
        f"recall@{k}": len(hits) / relevant,
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "r_precision": sum(rank <= relevant for rank in ranks) / relevant,
        "map": sum(number / rank for number, rank in enumerate(ranks, 1)) / relevant,
    }


def queries(
    vectors: np.ndarray, rows: list[dict[str, str]], variant: str, k: int
) -> dict[str, tuple[dict[str, float], list[str]]]:
    """By track id: its measures (none where nothing is relevant) and the first k of its answer."""
    wide = vectors.astype(np.float64)
    found = {}
    for place, query in enumerate(rows):
        scores = (wide * wide[place]).sum(axis=1)  # row by row: equal rows get equal sums
        gallery = [
            (-scores[other], row["track_id"], row)
            for other, row in enumerate(rows)
            if other != place
            and not any(row[key] and row[key] == query[key] for key in VARIANTS[variant])
        ]
        gallery.sort(key=lambda item: item[:2])
        label = query["label"].casefold()
        ranks = [
            rank
            for rank, (_, _, row) in enumerate(gallery, 1)
            if label and row["label"].casefold() == label
        ]
        values = of_one(ranks, len(ranks), k) if ranks else {}
        found[query["track_id"]] = (values, [track_id for _, track_id, _ in gallery[:k]])
    return found


def averages(folder: Path, k: int, min_works: int) -> dict[str, dict[str, dict[str, float]]]:
    """By variant and measure, the micro and macro mean."""
    vectors = np.load(folder / "embeddings.npy")
    with open(folder / "metadata.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    works = defaultdict(set)
    for row in rows:
        works[row["label"].casefold()].add(row["work"] or row["track_id"])
    result: dict[str, dict[str, dict[str, float]]] = {}
    for variant in VARIANTS:
        found = queries(vectors, rows, variant, k)
        asked = [(row, found[row["track_id"]][0]) for row in rows if found[row["track_id"]][0]]
        result[variant] = {}
        for name in asked[0][1] if asked else ():
            by_label = defaultdict(list)
            for row, values in asked:
                by_label[row["label"].casefold()].append(values[name])
            means = [
                np.mean(values) for key, values in by_label.items() if len(works[key]) >= min_works
            ]
            result[variant][name] = {
                "micro": float(np.mean([values[name] for _, values in asked])),
                "macro": float(np.mean(means)) if means else float("nan"),
            }
    return result


if __name__ == "__main__":
    print(json.dumps(averages(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
