"""Each loss falls when scores do what it asks for, and asks nothing of what is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kindred.expressive import losses

#: Two groups, three clips each; the second aspect has no order and is not known for the last clip.
LEVELS = torch.tensor([[0, 0], [2, 1], [4, 1], [0, 0], [2, 1], [4, -1]])
GROUPS = torch.tensor([0, 0, 0, 1, 1, 1])
PAIRS = losses.pairs_of(LEVELS, GROUPS, torch.tensor([True, False]))


def rolls() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_targets_and_candidates() -> None:
    assert PAIRS.target[0, 0].tolist() == [1, 0.5, 0, 1, 0.5, 0]
    assert PAIRS.target[1, 0, :5].tolist() == [1, 0, 0, 1, 0]
    assert PAIRS.candidate[0, 0].tolist() == [False, True, True, True, True, True]
    assert PAIRS.lure[0, 0].tolist() == [False, True, True, False, False, False]
    # the same group at the same level is no candidate, an unknown level none either
    assert PAIRS.candidate[1, 1].tolist() == [True, False, False, True, True, False]
    assert not PAIRS.candidate[1, 5].any()


LOSSES: dict[str, Callable[[Any], Any]] = {
    "distance": lambda s: losses.distance(s, PAIRS),
    "ranking": lambda s: losses.ranking(s, PAIRS, rolls()),
    "lures": lambda s: losses.lures(s, PAIRS, rolls()),
    "listwise": lambda s: losses.listwise(s, PAIRS.target, PAIRS),
    "contrast": lambda s: losses.contrast(s, PAIRS),
    "margins": lambda s: losses.margins(s, PAIRS.target, PAIRS, rolls()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_right_scores_lose_less_than_flat_ones_and_flat_ones_less_than_wrong_ones(
    name: str,
) -> None:
    right, flat = PAIRS.target, torch.full_like(PAIRS.target, 0.5)
    loss = LOSSES[name]
    assert loss(right) < loss(flat) < loss(1 - right)


@pytest.mark.parametrize("name", ["distance", "lures", "listwise", "margins"])
def test_right_scores_lose_nothing(name: str) -> None:
    assert LOSSES[name](PAIRS.target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_and_none_reaches_an_unknown_level(name: str) -> None:
    scores = torch.full_like(PAIRS.target, 0.5).requires_grad_()
    LOSSES[name](scores).backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0].abs().sum() > 0
    assert scores.grad[1, 5].abs().sum() == 0
    assert scores.grad[1, :, 5].abs().sum() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_which_nothing_is_known_loses_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = losses.pairs_of(torch.full((6, 2), -1), torch.arange(6), torch.tensor([True, False]))
    monkeypatch.setitem(globals(), "PAIRS", unknown)
    scores = torch.rand(2, 6, 6, generator=rolls()).requires_grad_()
    loss = LOSSES[name](scores)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_margins_ask_for_the_teachers_gaps_not_for_its_scores() -> None:
    assert losses.margins(PAIRS.target + 3, PAIRS.target, PAIRS, rolls()).item() < 1e-9


def test_invariance_is_a_share_of_the_spread() -> None:
    one = torch.randn(50, 2, 4, generator=rolls())
    assert losses.invariance(one, one).item() == 0
    near, far = losses.invariance(one, one + 0.1), losses.invariance(one, one + 1)
    assert 0 < near < far
    assert losses.invariance(10 * one, 10 * (one + 1)).item() == pytest.approx(far.item(), rel=1e-4)
    assert losses.invariance(one[:0], one[:0]).item() == 0


def test_people_are_followed_in_the_aspect_that_they_were_asked_about() -> None:
    closer, farther = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [0.5]])
    first, second, both = (
        losses.judged(closer, farther, torch.tensor([aspect])) for aspect in (0, 1, -1)
    )
    assert first < both < second
