"""What the scorers are trained to do, on all pairs of a batch.

Conventions: scores are [aspects, n, n] on a scale where 1 is the same level and 0 the farthest
(a retriever's cosines are brought to it first). ``Pairs`` says what the pairs are. Every loss is a
mean over the aspects for which the batch has what it needs, and 0 when it has none.

References: RankNet (Burges et al., ICML 2005), ListNet (Cao et al., ICML 2007), Margin-MSE
(Hofstaetter et al., arXiv 2010.02666), InfoNCE with several positives (Khosla et al., "Supervised
Contrastive Learning", NeurIPS 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kindred.expressive.aspects import LEVELS

Tensor = Any

#: Of softmaxes over scores and over targets.
TEMPERATURE = 0.08
_RANK_TEMPERATURE = 0.1
#: A lure scores at least this much less than what is as it should be, a level apart or more.
_MARGIN = 0.2
#: Other candidates that each candidate is ranked against.
_OPPONENTS = 4


@dataclass(frozen=True)
class Pairs:
    """The pairs of a batch.

    Attributes
    ----------
    target : float tensor [aspects, n, n]
        1 for the same level, falling to 0 for the farthest; other timbres are 0.
    known : bool tensor [aspects, n, n]
        Where both levels are known, and the two are not one clip.
    candidate : bool tensor [aspects, n, n]
        Known pairs that a ranking holds: other groups, and lures.
    lure : bool tensor [aspects, n, n]
        The same group at another level.
    """

    target: Tensor
    known: Tensor
    candidate: Tensor
    lure: Tensor


def pairs_of(levels: Tensor, groups: Tensor, ordered: Tensor) -> Pairs:
    """Pairs of clips: levels int [n, aspects] (-1 unknown), groups int [n], ordered bool [aspects].

    The same group at the same level is never a candidate: its likeness could be the notes.
    """
    import torch

    by_aspect = levels.T
    apart = (by_aspect[:, :, None] - by_aspect[:, None, :]).abs().float()
    apart = torch.where(ordered[:, None, None], apart, (apart > 0) * (LEVELS - 1.0))
    known = (by_aspect >= 0)[:, :, None] & (by_aspect >= 0)[:, None, :]
    same_group = groups[:, None] == groups[None]
    lure = known & same_group & (apart > 0)
    return Pairs(
        target=1 - apart / (LEVELS - 1),
        known=known & ~torch.eye(len(levels), dtype=torch.bool, device=levels.device),
        candidate=known & (~same_group | (apart > 0)),
        lure=lure,
    )


def distance(scores: Tensor, pairs: Pairs) -> Tensor:
    """Huber loss of scores against how near the levels are."""
    import torch

    loss = torch.nn.functional.huber_loss(scores, pairs.target, reduction="none", delta=0.25)
    return _mean(4 * loss, pairs.known)


def ranking(scores: Tensor, pairs: Pairs, generator: Any) -> Tensor:
    """RankNet: of two candidates of a query, the nearer level scores higher.

    Each candidate meets a few others, drawn at random.
    """
    import torch

    losses = []
    for _ in range(_OPPONENTS):
        order = torch.randperm(scores.shape[1], generator=generator).to(scores.device)
        nearer = pairs.target - pairs.target.index_select(2, order)
        asked = pairs.candidate & pairs.candidate.index_select(2, order) & (nearer > 0)
        lead = (scores - scores.index_select(2, order)) / _RANK_TEMPERATURE
        losses.append(_mean(torch.nn.functional.softplus(-lead), asked))
    return torch.stack(losses).mean()


def lures(scores: Tensor, pairs: Pairs, generator: Any) -> Tensor:
    """Hinge: the same group at another level scores less than another group at the same level."""
    import torch

    losses = []
    for _ in range(_OPPONENTS):
        order = torch.randperm(scores.shape[1], generator=generator).to(scores.device)
        good = (pairs.candidate & ~pairs.lure & (pairs.target == 1)).index_select(2, order)
        lead = scores.index_select(2, order) - scores
        losses.append(_mean(torch.relu(_MARGIN - lead), pairs.lure & good))
    return torch.stack(losses).mean()


def listwise(scores: Tensor, wanted: Tensor, pairs: Pairs) -> Tensor:
    """ListNet: Kullback-Leibler divergence of the softmax over candidates from that of wanted."""
    import torch

    asked = pairs.candidate.any(dim=2)
    low = torch.finfo(scores.dtype).min

    def log_shares(values: Tensor) -> Tensor:
        return torch.log_softmax((values / TEMPERATURE).masked_fill(~pairs.candidate, low), dim=2)

    want = log_shares(wanted)
    gap = (want.exp() * (want - log_shares(scores))).masked_fill(~pairs.candidate, 0)
    return _mean(gap.sum(dim=2), asked)


def contrast(scores: Tensor, pairs: Pairs) -> Tensor:
    """InfoNCE over candidates: positives are other groups at the same level."""
    import torch

    positive = pairs.candidate & (pairs.target == 1)
    low = torch.finfo(scores.dtype).min
    # twice: the scale is half that of cosines
    logits = (2 * scores / TEMPERATURE).masked_fill(~pairs.candidate, low)
    shares = torch.log_softmax(logits, dim=2).masked_fill(~positive, 0)
    count = positive.sum(dim=2)
    return _mean(-shares.sum(dim=2) / count.clamp(min=1), count > 0)


def margins(scores: Tensor, teacher: Tensor, pairs: Pairs, generator: Any) -> Tensor:
    """Margin-MSE: candidates of a query are as far apart as in the teacher's scores."""
    import torch

    losses = []
    for _ in range(_OPPONENTS):
        order = torch.randperm(scores.shape[1], generator=generator).to(scores.device)
        asked = pairs.candidate & pairs.candidate.index_select(2, order)
        gap = (scores - scores.index_select(2, order)) - (teacher - teacher.index_select(2, order))
        losses.append(_mean(gap.square(), asked))
    return torch.stack(losses).mean()


def judged(closer: Tensor, farther: Tensor, aspect: Tensor) -> Tensor:
    """RankNet on people's triples: what they found closer scores higher.

    Parameters
    ----------
    closer, farther : float tensor [aspects, triples]
        Scores with the query.
    aspect : int tensor [triples]
        Which aspect people were asked about, or -1: the mean of all.
    """
    import torch

    lead = (closer - farther) / _RANK_TEMPERATURE
    asked = lead.gather(0, aspect.clamp(min=0)[None])[0]
    return torch.nn.functional.softplus(-torch.where(aspect < 0, lead.mean(dim=0), asked)).mean()


def invariance(one: Tensor, other: Tensor) -> Tensor:
    """How far embeddings [n, aspects, dims] of clips are from their variants', as a share."""
    spread = one.detach().var(dim=0, unbiased=False).sum(dim=1) if len(one) > 1 else 1.0
    gap = (one - other).square().sum(dim=2)
    return (gap / (spread + 1e-6)).mean() if len(one) else one.sum()


def _mean(values: Tensor, asked: Tensor) -> Tensor:
    """Mean over what was asked of each aspect, then over aspects that were asked anything."""
    count = asked.flatten(1).sum(dim=1)
    each = (values * asked).flatten(1).sum(dim=1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
