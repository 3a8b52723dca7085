"""A trained scorer's ``model.safetensors`` and ``config.json``, as they are written and read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.errors import ExpressiveError
from kindred.expressive import networks
from kindred.expressive.aspects import KEYS
from kindred.expressive.statistics import Summary
from kindred.storage.whole_files import replacing

if TYPE_CHECKING:
    from kindred.expressive.learner import TrainingOptions

MODEL, CONFIG, CURVES, TRAINING = (
    "model.safetensors",
    "config.json",
    "curves.json",
    "training.json",
)
#: Raised when the files change their meaning.
FORMAT = 1


def write_model(
    folder: Path,
    *,
    kind: str,
    weights: dict[str, Any],
    summary: Summary,
    feature_id: str,
    options: TrainingOptions,
) -> None:
    """Write ``model.safetensors`` and ``config.json``."""
    from safetensors.numpy import save

    layers, kept, _ = summary.components.shape
    tensors = {key: value.cpu().numpy() for key, value in weights.items()} | summary.tensors()
    with replacing(folder / MODEL) as out:
        out.write(save({key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}))
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "kind": kind,
            "aspects": list(KEYS),
            "feature_id": feature_id,
            "layers": layers,
            "kept": kept,
            "dims": options.dims,
            "options": asdict(options),
        },
    )


def read_model(folder: Path) -> tuple[str, str, Summary, dict[str, Any]]:
    """A scorer's kind, feature id, projection and weights, checked against its configuration.

    Raises
    ------
    ExpressiveError
        When there is no scorer, it is damaged, or it is of another format or other aspects.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        kind, feature_id = str(config["kind"]), str(config["feature_id"])
        if config["format"] != FORMAT:
            raise ExpressiveError(
                f"{folder} is of format {config['format']}, and this Kindred reads {FORMAT}."
                " Train again, or use the Kindred that made it."
            )
        if config["aspects"] != list(KEYS):
            raise ExpressiveError(
                f"{folder} scores {', '.join(config['aspects'])}, and this Kindred knows"
                f" {', '.join(KEYS)}. Train again."
            )
        tensors = load_file(folder / MODEL)
        summary = Summary.of_tensors(
            {key: each.numpy() for key, each in tensors.items() if key.startswith("summary.")}
        )
        weights = {key: each for key, each in tensors.items() if not key.startswith("summary.")}
        expected = networks.shapes(
            aspects=len(KEYS),
            layers=config["layers"],
            kept=config["kept"],
            hidden=config["options"]["hidden"],
            dims=config["dims"],
            pairs=kind == "oracle",
        )
    except FileNotFoundError as error:
        raise ExpressiveError(
            f"{folder} holds no trained scorer: it lacks {MODEL} or {CONFIG}. Train"
            " one with `kindred expressive train`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ExpressiveError(
            f"The scorer in {folder} is damaged ({error}). Copy it again, or train again."
        ) from error
    if {key: tuple(value.shape) for key, value in weights.items()} != expected:
        raise ExpressiveError(
            f"The scorer in {folder} is damaged: {MODEL} and {CONFIG} are not of the same shapes."
            " Copy it again, or train again."
        )
    return kind, feature_id, summary, weights


def write_json(path: Path, value: Any) -> None:
    """JSON that people can read, with sorted keys; written whole."""
    with replacing(path) as out:
        out.write((json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
