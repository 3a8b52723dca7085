"""Whether the analysis of listening studies tells the truth, and how fast answers are stored.

Listeners are simulated, so what is true of them is known (kindred/audit/simulate.py).

  coverage    how often the 95 % intervals of whole studies, made anew each time, hold the truth:
              win rates, strengths, their differences, the bias towards the first clip, and
              Krippendorff's alpha. 24 listeners of 20 trials, each item heard by 3, answers alike
              within listeners and within items. The truth of win rates and strengths is what an
              endless population would answer, in closed form; that of alpha comes from 300,000
              items
  bias        mean error of the strengths, in log odds
  false       how often two equal systems differ at p < .05
  power       how often the exact test finds a preference of .65 with as many independent answers
              as the calculator says give a power of .8
  spammers    which of 200 listeners are left out, against what the rules predict

  ours  judgements a second into the audit store, 200 sittings at once, each on the disk before the
        next
  peer  the same into one JSON file a sitting, written anew at every answer: a temporary file,
        fsync, rename, fsync of the folder
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import krippendorff
import numpy as np
from report import finish, options, say
from scipy.stats import binom, norm

from kindred.audit.analysis.intervals import Estimate
from kindred.audit.analysis.kept import Kept, checked
from kindred.audit.analysis.reliability import alpha, listeners
from kindred.audit.analysis.results import results
from kindred.audit.analysis.strengths import fit, strengths
from kindred.audit.judgement import Judgement, counting, preference
from kindred.audit.plan import Trial, plan_sitting
from kindred.audit.power import judgements_needed, power_of_binomial
from kindred.audit.simulate import Kind, Truth, World, answers, frequencies, make_world
from kindred.audit.store import AuditStore, Sitting
from kindred.audit.study import Design, Study

SYSTEMS = ("strong", "even", "equal")
TRUTH = Truth({"strong": 0.5, "even": 0.0, "equal": 0.0})
PAIRS = list(combinations(range(3), 2))
SPAMMERS: tuple[Kind, ...] = ("random", "middle", "first", "fast")
DRAWS = 400


def plans_of(study: Study) -> list[tuple[Trial, ...]]:
    """One plan for each listener expected, so that every item is heard as often."""
    counts: Counter[str] = Counter()
    plans = []
    for number in range(study.design.listeners):
        plans.append(plan_sitting(study, number.to_bytes(4, "big"), counts))
        counts.update(trial.item_id for trial in plans[-1] if trial.kind == "real")
    return plans


def gathered(world: World, judgements: list[Judgement]) -> Kept:
    """Answers to real items of everybody."""
    items = {item.item_id: item for item in world.study.items}
    real = [item for item in checked(world.study, judgements) if item.kind == "real"]
    return Kept(world.study, items, tuple(real))


def true_alpha(truth: Truth, items: int = 300_000) -> float:
    """Alpha of two listeners drawn for each of very many items."""
    rng = np.random.default_rng(0)
    strength = np.array([truth.strengths[name] for name in SYSTEMS])
    one, other = np.array(PAIRS)[np.arange(items) % 3].T
    gap = strength[other] - strength[one]
    gap = gap + truth.candidate * np.sqrt(2) * rng.standard_normal(items)
    counts = np.zeros((items, 5), np.int64)
    for _ in range(2):
        first = rng.choice([-1.0, 1.0], items)
        heard = gap + first * (truth.first + truth.side * rng.standard_normal(items))
        own = np.sqrt(2 * (truth.taste**2 + truth.noise**2))
        heard = heard + own * rng.standard_normal(items)
        size = (abs(heard) > truth.tie).astype(int) + (abs(heard) > truth.much)
        point = np.sign(heard).astype(int) * size
        lapse = rng.random(items) < truth.lapse
        point = np.where(lapse, rng.integers(-2, 3, items), point)
        counts[np.arange(items), point + 2] += 1
    domain = [-2, -1, 0, 1, 2]
    return float(
        krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement="ordinal")
    )


def check_intervals(studies: int) -> dict[str, float]:
    """Coverage, bias and false alarms over whole studies."""
    design = Design("made up", systems=SYSTEMS, listeners=24, catches=0, repeats=0, practice=0)
    items = design.trials * design.listeners // design.overlap
    plans = plans_of(make_world(design, TRUTH, items=items, seed=0).study)
    shares = np.array(
        [
            [frequencies(TRUTH, SYSTEMS[i], SYSTEMS[j], first=first) for first in (0, 1)]
            for i, j in PAIRS
        ]
    )
    true_rates = shares.mean(axis=1) @ np.array([1, 1, 0.5, 0, 0])
    theta = fit(1e6 * shares[None], PAIRS, 3)[0]
    alpha_ = true_alpha(TRUTH)
    held: dict[str, list[bool]] = {}
    errors, alarms, found_strong = [], [], []

    def note(name: str, found: Estimate | None, truth: float) -> None:
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held.setdefault(name, []).append(found.low <= truth <= found.high)

    for number in range(studies):
        world = make_world(design, TRUTH, items=items, seed=1 + number)
        given = gathered(world, answers(world, plans, seed=100_000 + number))
        found = strengths(given, draws=DRAWS, seed=number)
        for at, (i, j) in enumerate(PAIRS):
            note("rates", found.pairs[at].rate, float(true_rates[at]))
            note("differences", found.pairs[at].difference, float(theta[i] - theta[j]))
        for at, name in enumerate(SYSTEMS):
            note("strengths", found.strengths[name], float(theta[at]))
            errors.append((found.strengths[name].value or 0.0) - theta[at])
        note("first", found.first, float(theta[3]))
        note("alpha", alpha(given, draws=DRAWS, seed=number), alpha_)
        alarms.append((found.pairs[2].p or 1.0) < 0.05)
        found_strong.append((found.pairs[0].p or 1.0) < 0.05)
    error = np.array(errors).reshape(-1, 3)
    return {
        **{name: float(np.mean(values)) for name, values in held.items()},
        "bias": float(abs(error.mean(axis=0)).max()),
        "spread": float(error.std(axis=0).max()),
        "false": float(np.mean(alarms)),
        "found": float(np.mean(found_strong)),
    }


def check_power(studies: int, preference_: float = 0.65) -> tuple[int, float, float]:
    """Independent answers needed, the power predicted for as many, and the power had."""
    truth = Truth({"a": 0.0, "b": 0.0}, candidate=0, taste=0, side=0, first=0, tie=0, lapse=0)
    gap = float(norm.ppf(preference_) * np.sqrt(2) * truth.noise)
    truth = replace(truth, strengths={"a": 0.0, "b": gap})
    needed = judgements_needed(preference_)
    design = Design("made up", systems=("a", "b"), trials=needed, listeners=1, overlap=1)
    design = replace(design, catches=0, repeats=0, practice=0)
    world = make_world(design, truth, items=needed, seed=0)
    plans = plans_of(world.study) * studies
    given = answers(world, plans, seed=0)
    right = np.array([(preference(one) or 0) > 0 for one in given]).reshape(studies, needed)
    p = binom.sf(right.sum(axis=1) - 1, needed, 0.5)
    return needed, float(power_of_binomial(needed, preference_)), float((p <= 0.05).mean())


def check_spammers(studies: int) -> tuple[dict[str, float], dict[str, float], float]:
    """Shares left out by kind, what the rules predict, and seconds for all results of one study."""
    design = Design("made up", systems=SYSTEMS, listeners=200)
    items = design.trials * design.listeners // design.overlap
    plans = plans_of(make_world(design, TRUTH, items=items, seed=0).study)
    kinds: list[Kind] = [SPAMMERS[at % 4] if at < 80 else "honest" for at in range(200)]
    out: dict[str, list[bool]] = {}
    seconds = 0.0
    for number in range(studies):
        world = make_world(design, TRUTH, items=items, seed=number)
        given = answers(world, plans, kinds=kinds, seed=number)
        for person, kind in zip(listeners(world.study, counting(given)), kinds, strict=True):
            out.setdefault(kind, []).append(person.excluded)
        if number == 0:
            began = time.perf_counter()
            results(world.study, given)
            seconds = time.perf_counter() - began
    wrong = TRUTH.lapse * 3 / 5  # a lapse may be right: two of five points are
    predicted = {
        "honest": float(binom.sf(1, design.catches, wrong)),
        "random": float(binom.cdf(4, design.catches, 0.5)),
        "middle": 1.0,
        "first": 1.0,  # sides are balanced, so half of the catches are wrong
        "fast": 1.0,
    }
    return {name: float(np.mean(out[name])) for name in predicted}, predicted, seconds


def judgements_of(study: Study, each: int) -> list[list[Judgement]]:
    """Answers of 200 sittings, ``each`` of them."""
    design_hash = study.design_hash
    return [
        [
            Judgement(
                f"{sitting}-{position}",
                study.study_id,
                design_hash,
                f"sitting-{sitting}",
                f"listener-{sitting}",
                study.items[position].item_id,
                "real",
                position,
                (0, 1),
                {"point": 1},
            )
            for position in range(each)
        ]
        for sitting in range(200)
    ]


def at_once(sittings: Sequence[list[Judgement]], write: Callable[[Judgement], object]) -> float:
    """Judgements a second when every sitting answers, one after the other, in its own thread."""

    def sit(given: list[Judgement]) -> None:
        for judgement in given:
            write(judgement)

    began = time.perf_counter()
    with ThreadPoolExecutor(len(sittings)) as pool:
        list(pool.map(sit, sittings))
    return sum(map(len, sittings)) / (time.perf_counter() - began)


def into_store(folder: Path, study: Study, sittings: Sequence[list[Judgement]]) -> float:
    """Rate of the audit store; every row is read again."""
    store = AuditStore(folder / "audit.db")
    store.put_draft(replace(study, state="draft"))
    store.open_study(study.study_id)
    until = datetime.now(UTC) + timedelta(days=1)
    for number, given in enumerate(sittings):
        invitation = store.invite(study.study_id, f"listener {number}", until)
        ids = (given[0].sitting_id, study.study_id, invitation.invitation_id)
        store.start_sitting(Sitting(*ids, given[0].listener_id, b"", {}, store.now()), ())
    rate = at_once(sittings, store.append)
    kept = store.judgements(study.study_id)
    assert len(kept) == sum(map(len, sittings)), "a judgement was lost"
    return rate


def into_files(folder: Path, sittings: Sequence[list[Judgement]]) -> float:
    """Rate of one file a sitting, as durable."""
    so_far: dict[str, list[dict[str, object]]] = {given[0].sitting_id: [] for given in sittings}

    def write(judgement: Judgement) -> None:
        rows = so_far[judgement.sitting_id]
        rows.append(asdict(judgement))
        path = folder / f"{judgement.sitting_id}.json"
        with open(path.with_suffix(".new"), "w", encoding="utf-8") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".new").replace(path)
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    return at_once(sittings, write)


def main() -> None:
    args = options(__doc__)
    studies, tests, crowds, each, rounds = (
        (30, 200, 1, 30, 1) if args.quick else (400, 2_000, 10, 30, 3)
    )
    checks = check_intervals(studies)
    say(args, f"{studies} studies of 24 listeners, {DRAWS} draws; intervals of 95 % hold the truth")
    for name in ("rates", "differences", "strengths", "first", "alpha"):
        say(args, f"  {name:12} {checks[name]:.3f}")
    say(args, f"bias of strengths {checks['bias']:.3f}, spread {checks['spread']:.3f} (log odds)")
    say(args, f"two equal systems differ at p < .05: {checks['false']:.3f}")
    say(args, f"the stronger one differs at p < .05: {checks['found']:.3f}")

    needed, predicted_power, power = check_power(tests)
    say(
        args,
        f"preference .65, {needed} answers: power {power:.3f}, predicted {predicted_power:.3f}",
    )

    left_out, predicted, seconds = check_spammers(crowds)
    for name, share in left_out.items():
        say(args, f"left out, {name:7} {share:.3f}, predicted {predicted[name]:.3f}")
    say(args, f"all results of 200 listeners, 6,000 answers, 1,000 draws: {seconds:.1f} s")

    design = Design("made up", systems=SYSTEMS, listeners=200, overlap=3)
    study = make_world(design, TRUTH, items=40, seed=0).study
    ours, peer = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            sittings = judgements_of(study, each)
            ours.append(into_store(Path(folder), study, sittings))
            peer.append(into_files(Path(folder), sittings))
    best, other = float(np.median(ours)), float(np.median(peer))
    say(args, f"200 sittings at once: {best:.0f} judgements/s; a file a sitting: {other:.0f}/s")
    finish(
        "audit",
        ours=best,
        peer=other,
        ratio=best / other,
        coverage=round(checks["strengths"], 3),
        coverage_rates=round(checks["rates"], 3),
        coverage_alpha=round(checks["alpha"], 3),
        bias=round(checks["bias"], 3),
        false_alarms=round(checks["false"], 3),
        power=round(power, 3),
        power_predicted=round(predicted_power, 3),
        spammers_out=round(float(np.mean([left_out[name] for name in SPAMMERS])), 3),
        spammers_predicted=round(float(np.mean([predicted[name] for name in SPAMMERS])), 3),
        honest_kept=round(1 - left_out["honest"], 3),
    )


if __name__ == "__main__":
    main()
