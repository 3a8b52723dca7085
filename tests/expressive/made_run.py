"""A whole run for tests: real labels, real (untrained) models, gates judged by the real rules.

The models are drawn, not trained, and the gates' numbers are given: what is tested with it is how
files are kept, checked, let out and used, never how well anything ranks.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kindred.artifacts import layout
from kindred.expressive import bundle, networks
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.gates import decide, plain
from kindred.expressive.labels import write_labels
from kindred.expressive.learner import TrainingOptions
from kindred.expressive.model_files import CONFIG, write_model
from kindred.expressive.sources import Layered
from kindred.expressive.statistics import fit_summary
from kindred.expressive.thresholds import RULES, freeze
from tests.expressive.labelled import plan

KEPT = 4


def numbers(**changed: float | None) -> dict[str, dict[str, Any]]:
    """Numbers with which every rule holds, but for those changed, such as ``student_ratio=0.5``."""
    found: dict[str, dict[str, Any]] = {}
    for rule in RULES:
        good = rule.floor + (0.05 if rule.direction in ("at least", "above") else -0.05)
        value = changed.get(f"{rule.gate}_{rule.number}".replace("-", "_"), good)
        found.setdefault(rule.gate, {})[rule.number] = value
    return found


def write_scorer(
    folder: Path, *, kind: str, seed: int = 0, feature_id: str = "", dims: int = 16
) -> None:
    """A model with drawn weights, fitted to features of noise."""
    import torch

    source = Layered()
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(16, *source.shape)).astype(np.float32)
    summary = fit_summary(features, kept=KEPT)
    options = TrainingOptions(seed=seed, dims=dims, hidden=8)
    weights = networks.new_weights(
        aspects=len(ASPECTS),
        layers=source.shape[1],
        kept=KEPT,
        hidden=options.hidden,
        dims=dims,
        pairs=kind == "oracle",
        generator=torch.Generator().manual_seed(seed),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_model(
        folder,
        kind=kind,
        weights=weights,
        summary=summary,
        feature_id=feature_id or source.feature_id,
        options=options,
    )
    curves = [{"epoch": 1, "losses": {"rank": 0.5}, "validation": {"macro": 0.1}}]
    training = {
        "finished": True,
        "kind": kind,
        "seed": seed,
        "epochs": 1,
        "best_epoch": 1,
        "data_version": "none",
    }
    (folder / "curves.json").write_text(json.dumps(curves))
    (folder / "training.json").write_text(json.dumps(training))


def write_gates(folder: Path, *, seed: int = 0, **changed: float | None) -> None:
    """Thresholds frozen on good numbers, and gates judged by them on the numbers given."""
    known = {
        "dataset": layout.read_json(folder, f"{bundle.LABELS}/labels.json")["version"],
        "feature_id": layout.read_json(folder, f"{bundle.RETRIEVER}/{CONFIG}")["feature_id"],
        "model": bundle.models_digest(folder),
    }
    (folder / bundle.THRESHOLDS).unlink(missing_ok=True)
    frozen = freeze(numbers(), folder / bundle.THRESHOLDS, **known, released=seed)
    gates = decide(numbers(**changed), frozen)
    stopped = any(g.passed is False or (g.passed is None and g.needed) for g in gates)
    report = {
        **known,
        "features": Layered.title,
        "passed": not stopped,
        "released": seed,
        "frozen_at": frozen.frozen_at,
        "thresholds_sha256": frozen.sha256,
        "gates": [asdict(gate) for gate in gates],
    }
    layout.write_json(folder, bundle.GATES, plain(report))


def make_run(
    folder: Path, *, seed: int = 0, ann_threshold: int = 50_000, **changed: float | None
) -> Path:
    """Write a run and its manifest; ``changed`` are the gates' numbers that are not good."""
    folder.mkdir(parents=True)
    labels = write_labels(folder / bundle.LABELS, plan(takes=2), seed=0)
    for part, kind in ((bundle.ORACLE, "oracle"), (bundle.RETRIEVER, "distilled")):
        write_scorer(folder / part, kind=kind, seed=seed)
        for one in (seed, seed + 1):
            write_scorer(folder / part / "seeds" / str(one), kind=kind, seed=one)
    ids = [clip.clip_id for clip in labels.clips if clip.split == "test"]
    vectors = np.random.default_rng(seed).normal(size=(len(ids), 80))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bundle.write_vectors(folder, ids, vectors.astype(np.float32), ann_threshold=ann_threshold)
    write_gates(folder, seed=seed, **changed)
    ranking = {"features": Layered.title, "dataset": "some", "model": "some"}
    layout.write_json(
        folder, f"{bundle.EVALUATION}/ranking.json", {**ranking, "validation": {}, "test": {}}
    )
    (folder / bundle.EVALUATION / "report.md").write_text("# Gates\n")
    bundle.write_manifest(folder)
    return folder
