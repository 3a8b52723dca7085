"""The two learned scorers as functions of named tensors.

Both begin alike: for each aspect a softmax over layers says how much each layer's summary counts,
and a small network of the aspect's own turns them into an embedding. The oracle then reads a pair
of embeddings, [|a - b|, a * b], so that its scores are symmetric. The retriever's embedding has
unit length, and a score is one dot product.

Conventions: ``weights`` are torch tensors by name, x is [n, layers, kept], embeddings are
[n, aspects, dims], scores [aspects, n, m]; the oracle's are about 1 for the same level and 0 for
the farthest, the retriever's cosines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tensor = Any
Weights = dict[str, Any]
#: Pairs that the oracle reads at once; each takes about half a kilobyte for every aspect.
_PAIRS = 1 << 18
_PAIR_HIDDEN = 16


def shapes(
    *, aspects: int, layers: int, kept: int, hidden: int, dims: int, pairs: bool
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an oracle (``pairs``) or a retriever."""
    found: dict[str, tuple[int, ...]] = {
        "layers": (aspects, layers),
        "hidden.weight": (aspects, layers * kept, hidden),
        "hidden.bias": (aspects, 1, hidden),
        "out.weight": (aspects, hidden, dims),
        "out.bias": (aspects, 1, dims),
    }
    if pairs:
        found |= {
            "pair.direct": (aspects, 2 * dims, 1),
            "pair.hidden.weight": (aspects, 2 * dims, _PAIR_HIDDEN),
            "pair.hidden.bias": (aspects, 1, _PAIR_HIDDEN),
            "pair.out.weight": (aspects, _PAIR_HIDDEN, 1),
            "pair.out.bias": (aspects, 1, 1),
        }
    return found


def new_weights(
    *, aspects: int, layers: int, kept: int, hidden: int, dims: int, pairs: bool, generator: Any
) -> Weights:
    """Random weights of an oracle (``pairs``) or a retriever, drawn by a torch generator.

    An oracle's first scores are about those of a retriever: half the cosine, and a half.
    """
    import torch

    named = shapes(aspects=aspects, layers=layers, kept=kept, hidden=hidden, dims=dims, pairs=pairs)
    weights = {key: torch.zeros(shape) for key, shape in named.items()}
    for key, shape in named.items():
        if key.endswith(".weight"):
            weights[key] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    if pairs:
        weights["pair.direct"][:, dims:] = 0.5 / dims
        weights["pair.out.weight"] *= 0.1
        weights["pair.out.bias"] += 0.5
    return weights


def embed(weights: Weights, x: Tensor, drop: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Embeddings of clips, [n, aspects, dims]; ``drop`` is dropout, while training."""
    import torch

    shares = torch.softmax(weights["layers"], dim=1)  # [aspects, layers]
    mixed = x[None] * (shares * shares.shape[1])[:, None, :, None]
    mixed = mixed.flatten(2)
    hidden = torch.baddbmm(
        weights["hidden.bias"], drop(mixed) if drop else mixed, weights["hidden.weight"]
    )
    hidden = torch.nn.functional.gelu(hidden)
    out = torch.baddbmm(
        weights["out.bias"], drop(hidden) if drop else hidden, weights["out.weight"]
    )
    out = torch.nn.functional.normalize(out, dim=2)
    if "pair.direct" in weights:  # so that a product of two numbers is about one
        out = out * out.shape[2] ** 0.5
    return out.transpose(0, 1)


def read_pairs(weights: Weights, one: Tensor, other: Tensor) -> Tensor:
    """Scores pair by pair: embeddings [pairs, aspects, dims] twice -> [aspects, pairs]."""
    import torch

    if "pair.direct" not in weights:
        return (one * other).sum(dim=2).T
    features = torch.cat([(one - other).abs(), one * other], dim=2).transpose(0, 1)
    hidden = torch.baddbmm(weights["pair.hidden.bias"], features, weights["pair.hidden.weight"])
    score = torch.baddbmm(
        weights["pair.out.bias"], torch.nn.functional.gelu(hidden), weights["pair.out.weight"]
    )
    return (score + features @ weights["pair.direct"])[..., 0]


def compare(weights: Weights, one: Tensor, other: Tensor) -> Tensor:
    """Scores of all pairs of two sets of embeddings, [aspects, n, m], in blocks of rows."""
    import torch

    if "pair.direct" not in weights:
        return torch.einsum("nad,mad->anm", one, other)
    n, m = len(one), len(other)
    rows = max(1, _PAIRS // max(m, 1))
    blocks = []
    for start in range(0, n, rows):
        some = one[start : start + rows]
        scores = read_pairs(
            weights, some.repeat_interleave(m, dim=0), other.repeat(len(some), 1, 1)
        )
        blocks.append(scores.reshape(len(scores), len(some), m))
    return torch.cat(blocks, dim=1) if blocks else one.new_zeros(one.shape[1], 0, m)


def within(weights: Weights, embeddings: Tensor) -> Tensor:
    """Scores of all pairs of one batch, [aspects, n, n]; each pair is read once, for training."""
    import torch

    if "pair.direct" not in weights:
        return compare(weights, embeddings, embeddings)
    n = len(embeddings)
    i, j = torch.triu_indices(n, n, 1, device=embeddings.device)
    scores = read_pairs(weights, embeddings[i], embeddings[j])
    place = torch.zeros(n, n, dtype=torch.long, device=embeddings.device)
    place[i, j] = place[j, i] = torch.arange(len(i), device=embeddings.device)
    return scores.index_select(1, place.flatten()).reshape(
        -1, n, n
    )  # the diagonal is nobody's pair
