"""Every gate passes a scorer that is right, and fails the fault that it is meant for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.audit.labelling import Pair, Triple
from kindred.audit.study import Clip as Segment
from kindred.errors import ExpressiveError
from kindred.expressive import checks, gates, measuring, thresholds
from kindred.expressive.aspects import KEYS
from kindred.expressive.gates import Gate, GateReport, decide, freeze_thresholds, run_gates
from kindred.expressive.human_labels import HumanItems
from kindred.expressive.measuring import Judged, Permuted, measure
from kindred.expressive.scoring import Floats
from kindred.expressive.thresholds import RULES, freeze, read_thresholds
from tests.expressive.judging import (
    GAIN,
    Reader,
    clips_of_world,
    features_of,
    only,
    proxies_of,
    trained_on_shuffled_levels,
    untrained,
    world,
)

DRAWS = 200


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "thresholds.json"
    freeze_thresholds(world(), path, draws=DRAWS)
    return path


@pytest.fixture(scope="module")
def passing(frozen: Path) -> GateReport:
    return run_gates(world(), frozen, draws=DRAWS)


def gate(judged: Judged, frozen: Path, name: str) -> Gate:
    """One gate, judged on the clips that it looks at."""
    sets = {"inputs": ("sweep",), "invariance": ("nuisance", "soundfont")}.get(name, ())
    report = run_gates(only(judged, sets, ()), frozen, draws=DRAWS)
    found = next(gate for gate in report.gates if gate.name == name)
    if found.passed is False:
        assert not report.passed
        assert found in report.failed
    return found


def test_a_scorer_that_is_right_passes_every_gate(passing: GateReport) -> None:
    assert passing.failed == ()
    assert passing.passed
    verdicts = {gate.name: gate.passed for gate in passing.gates}
    open_ = {"ranking-programs", "ranking-human", "people"}
    assert {name for name, passed in verdicts.items() if passed is None} == open_
    assert set(verdicts) == {kind.name for kind in gates.GATES}
    assert json.loads(json.dumps(passing.to_dict(), allow_nan=False))["passed"] is True


def test_every_rule_belongs_to_a_gate() -> None:
    assert {rule.gate for rule in RULES} <= {kind.name for kind in gates.GATES}


def test_splits_that_share_a_work_are_named(frozen: Path) -> None:
    clips = clips_of_world()
    at = next(i for i, one in enumerate(clips) if one.split == "test" and one.set == "factorial")
    clips[at] = replace(clips[at], work=clips[0].work, group=clips[0].group)
    found = gate(world(clips=clips), frozen, "splits")
    assert found.passed is False
    assert clips[0].work in found.detail or clips[0].group in found.detail


def test_a_sweep_without_its_base_is_named(frozen: Path) -> None:
    clips = clips_of_world()
    base = next(one.base for one in clips if one.set == "sweep" and one.split == "test")
    report = run_gates(
        world(clips=[one for one in clips if one.clip_id != base]), frozen, draws=DRAWS
    )
    assert [gate.name for gate in report.failed] == ["splits"]
    assert base in report.failed[0].detail


def test_ranking_no_better_than_a_baseline_fails_on_every_test(frozen: Path) -> None:
    judged = world()
    same = replace(
        judged, contenders={**judged.contenders, "distilled": judged.contenders["cosine"]}
    )
    report = run_gates(only(same, ("soundfont",), ("composers",)), frozen, draws=DRAWS)
    failed = {gate.name for gate in report.failed}
    assert {"ranking-works", "ranking-composers", "ranking-soundfont"} <= failed
    worse = next(gate for gate in report.gates if gate.name == "ranking-works")
    assert worse.value == 0
    assert worse.threshold == 0
    assert worse.direction == "above"
    assert "missed" in worse.detail


def test_ranking_that_fails_only_by_track_is_seen(frozen: Path, passing: GateReport) -> None:
    numbers = dict(passing.measured.numbers)
    numbers["ranking-works"] = numbers["ranking-works"] | {"track_ndcg": 0.6}
    found = {gate.name: gate for gate in decide(numbers, read_thresholds(frozen))}
    assert found["ranking-works"].passed is False
    assert found["ranking-works"].value == 0.6
    threshold = read_thresholds(frozen).values["ranking-works", "track_ndcg"]
    assert found["ranking-works"].threshold == threshold > 0.7


def two_at_once(levels: np.ndarray, _: Any) -> np.ndarray:
    """Tempo's score follows dynamics as much."""
    return np.column_stack([levels[:, 0] + levels[:, 2], levels[:, 1:]])


def test_a_scorer_that_follows_two_aspects_at_once_is_not_faithful(frozen: Path) -> None:
    judged = world(Reader(spoil=two_at_once))
    report = run_gates(only(judged, ("sweep",), ()), frozen, draws=DRAWS)
    assert {"faithfulness", "weights"} <= {gate.name for gate in report.failed}
    found = next(gate for gate in report.gates if gate.name == "faithfulness")
    assert found.numbers["matrix"][0][2] > 0.3


def test_permuted_aspects_and_untrained_and_shuffled_models_are_not_faithful(frozen: Path) -> None:
    clips, features = clips_of_world(), features_of(clips_of_world())
    for scorer in (
        Permuted(Reader()),
        untrained(),
        trained_on_shuffled_levels(clips, features),
    ):
        judged = world(scorer)
        report = run_gates(only(judged, (), ()), frozen, draws=DRAWS)
        failed = {gate.name for gate in report.failed if gate.passed is False}
        assert {"faithfulness", "weights"} <= failed, scorer.name


def test_a_placebo_that_follows_aspects_fails_the_gate(frozen: Path) -> None:
    judged = world()
    found = gate(
        replace(judged, placebos={**judged.placebos, "leak": Reader()}), frozen, "placebos"
    )
    assert found.passed is False
    assert found.numbers["each"]["leak"]["diagonal"] == pytest.approx(1, abs=0.01)
    assert found.numbers["each"]["permuted aspects"]["diagonal"] < 0.3


def test_without_placebos_nothing_is_released(frozen: Path) -> None:
    report = run_gates(replace(world(), placebos={}), frozen, draws=DRAWS)
    (open_,) = report.failed
    assert (open_.name, open_.passed) == ("placebos", None)
    assert "No placebos" in open_.detail
    assert not report.passed


def test_a_scorer_that_does_not_fall_with_the_level_fails_inputs(frozen: Path) -> None:
    folded = Reader(spoil=lambda levels, _: np.column_stack([abs(levels[:, 0] - 2), levels[:, 1:]]))
    found = gate(world(folded), frozen, "inputs")
    assert found.passed is False
    assert found.numbers["falls_of"]["tempo"] < 0.8
    assert found.numbers["falls_of"]["timbre"] == 1


def test_a_scorer_that_moves_with_the_controls_fails_inputs(frozen: Path) -> None:
    clips = clips_of_world()
    features = features_of(clips)
    transposed = np.array([one.recipe.transpose for one in clips], np.float32)
    features[:, :, 0, 1] += transposed[:, None]
    found = gate(world(features=features), frozen, "inputs")
    assert found.passed is False
    assert found.numbers["controls_of"]["phrasing"] > 0.1
    assert found.numbers["controls_of"]["tempo"] < 0.01


def test_a_scorer_that_moves_with_gain_is_not_invariant(frozen: Path) -> None:
    louder = Reader(spoil=lambda levels, of: levels + of.mean(axis=1)[:, 1, GAIN : GAIN + 1])
    found = gate(world(louder), frozen, "invariance")
    assert found.passed is False
    assert found.value is not None
    assert found.value > 0.02
    assert found.numbers["soundfont"] == pytest.approx(0, abs=0.01)


def test_a_scorer_that_depends_on_the_soundfont_is_not_invariant(frozen: Path) -> None:
    clips = clips_of_world()
    features = features_of(clips)
    features[[one.set == "soundfont" for one in clips], :, 0, :5] += 2
    found = gate(world(features=features), frozen, "invariance")
    assert found.passed is False
    assert found.numbers["nuisance"] == pytest.approx(0, abs=0.01)
    assert found.numbers["soundfont"] > 0.1


@pytest.mark.parametrize(
    ("column", "aspect"),
    [(5, "articulation"), (6, "articulation"), (6, "timbre"), (7, "tempo")],
)
def test_a_planted_shortcut_is_caught(column: int, aspect: str, frozen: Path) -> None:
    clips = clips_of_world()
    proxies = proxies_of(clips)
    proxies[:, column] = [one.level(aspect) for one in clips]
    found = gate(world(proxies=proxies), frozen, "shortcuts")
    assert found.passed is False
    assert max(found.numbers["aspects"], key=found.numbers["aspects"].get) == aspect


def test_brightness_is_timbre_itself_and_no_shortcut(frozen: Path) -> None:
    clips = clips_of_world()
    proxies = proxies_of(clips)
    proxies[:, 7] = [one.level("timbre") for one in clips]
    assert gate(world(proxies=proxies), frozen, "shortcuts").numbers["aspects"]["timbre"] < 0.1


def test_a_student_that_lost_much_fails(frozen: Path) -> None:
    rng = np.random.default_rng(0)
    hazy = Reader(spoil=lambda levels, _: levels + rng.normal(size=levels.shape) * 1.5)
    found = gate(world(hazy), frozen, "student")
    assert found.passed is False
    assert found.value is not None
    assert found.value < 0.95


def people(scores_right: bool) -> dict[str, Any]:
    """Judgements of twenty queries, by levels or against them, and features of what was heard."""
    rng = np.random.default_rng(0)
    heard, pairs, triples = {}, [], []
    for query in range(20):
        at = [Segment(f"track {query} {i}", 0.0, 12.0) for i in range(3)]
        levels = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [4, 4, 4, 4, 1]], float)
        for segment, of in zip(at, levels, strict=True):
            heard[segment] = rng.normal(size=(4, 2, 8)).astype(np.float32) * 0.01
            heard[segment][:, 0, :5] += of
        near, far = (at[1], at[2]) if scores_right else (at[2], at[1])
        pairs += [
            Pair(at[0], near, "overall", 2, 3, 0.9, None, "test"),
            Pair(at[0], far, "overall", 0, 3, 0.1, None, "test"),
            Pair(at[0], far, "tempo", 0, 3, 0.1, None, "test"),
            Pair(at[0], far, "overall", 3, 3, 1.0, None, "train"),  # not of the test
        ]
        triples.append(Triple(at[0], near, far, "tempo", 2, 0, 0, "test"))
    return {"people": HumanItems(pairs=tuple(pairs), triples=tuple(triples)), "heard": heard}


def test_people_agree_or_stop_a_release(frozen: Path) -> None:
    found = gate(world(**people(True)), frozen, "people")
    assert found.passed is True
    assert (found.numbers["mean"], found.numbers["comparisons"]) == (1, 40)
    assert gate(world(**people(False)), frozen, "people").passed is False
    unheard = gate(world(**people(True) | {"heard": {}}), frozen, "people")
    assert unheard.passed is None
    assert "listening study" in unheard.detail


def test_one_track_of_people_gives_no_interval_and_stops_nothing(frozen: Path) -> None:
    given = people(True)
    pairs = tuple(pair for pair in given["people"].pairs if pair.query.track_id == "track 0 0")
    found = gate(world(**given | {"people": HumanItems(pairs=pairs)}), frozen, "people")
    assert found.passed is None
    assert found.numbers["mean"] == 1
    assert found.numbers["low"] is None


def test_an_oracle_that_finds_nothing_is_no_error(frozen: Path) -> None:
    class OwnWork(Reader):
        """Puts the query's own work first, of which nothing is right."""

        def represent(self, features: Floats) -> Floats:
            return features.mean(axis=1)[:, 1, :6]

        def compare(self, one: Floats, other: Floats) -> Floats:
            apart = np.linalg.norm(one[:, None] - other, axis=2)
            return np.broadcast_to(-apart, (5, *apart.shape))

    judged = world()
    judged = replace(judged, contenders={**judged.contenders, "oracle": (OwnWork(),)})
    found = gate(only(judged, (), ()), frozen, "student")
    assert (found.passed, found.numbers["oracle"]) == (None, 0)


def test_a_test_of_one_work_is_no_error_and_passes_nothing(frozen: Path) -> None:
    [first, *_] = [one.work for one in clips_of_world() if one.split == "test"]
    clips = [one for one in clips_of_world() if one.split != "test" or one.work == first]
    report = run_gates(world(clips=clips), frozen, draws=DRAWS)
    passed = {gate.name for gate in report.gates if gate.passed}
    assert not passed & {"ranking-works", "faithfulness", "weights", "inputs", "invariance"}
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_scorer_of_one_score_for_all_fails_and_is_no_error(frozen: Path) -> None:
    judged = world(Reader(spoil=lambda levels, _: np.zeros_like(levels)))
    report = run_gates(only(judged, ("sweep",), ()), frozen, draws=DRAWS)
    assert {"faithfulness", "weights", "inputs", "student"} <= {gate.name for gate in report.failed}
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_gate_with_nothing_to_judge_is_open_unless_a_rule_is_missed(frozen: Path) -> None:
    clips = [one for one in clips_of_world() if one.set not in ("soundfont", "sweep")]
    found = {gate.name: gate for gate in run_gates(world(clips=clips), frozen, draws=DRAWS).gates}
    for name in ("ranking-soundfont", "inputs", "invariance"):
        assert found[name].passed is None
        assert found[name].needed
    louder = Reader(spoil=lambda levels, of: levels + of.mean(axis=1)[:, 1, GAIN : GAIN + 1])
    assert gate(world(louder, clips=clips), frozen, "invariance").passed is False


def test_the_best_seed_on_validation_is_judged_and_the_others_are_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hazy = Reader("hazy", lambda levels, _: levels + rng.normal(size=levels.shape))
    judged = world()
    judged = replace(judged, contenders={**judged.contenders, "distilled": (hazy, Reader(), hazy)})
    path = tmp_path / "thresholds.json"
    assert freeze_thresholds(judged, path, draws=DRAWS)[0].released == 1
    report = run_gates(only(judged, (), ()), path, draws=DRAWS)
    assert report.released == 1
    seeds = report.measured.numbers["ranking-works"]["seeds"]
    assert seeds[1] == max(seeds)
    assert report.measured.tables["works"]["distilled"]["clips"]["ndcg"]["macro"].spread > 0


def test_the_same_world_gives_the_same_numbers(frozen: Path, passing: GateReport) -> None:
    assert run_gates(world(), frozen, draws=DRAWS).to_dict() == passing.to_dict()
    assert passing.thresholds_sha256 == hashlib.sha256(frozen.read_bytes()).hexdigest()


def test_nothing_is_judged_without_frozen_thresholds(tmp_path: Path) -> None:
    with pytest.raises(ExpressiveError, match="before the test is read"):
        run_gates(world(), tmp_path / "thresholds.json")


@pytest.mark.parametrize("what", ["dataset", "feature_id", "model"])
def test_thresholds_of_another_run_are_refused(what: str, frozen: Path) -> None:
    with pytest.raises(ExpressiveError, match=f"frozen for {what}"):
        run_gates(replace(world(), **{what: "another"}), frozen)


NUMBERS = {"faithfulness": {"diagonal": 0.8, "off_diagonal": 0.05}, "student": {"ratio": np.nan}}
NAMES = {"dataset": "d", "feature_id": "f", "model": "m", "released": 0}


def test_a_threshold_is_the_stricter_of_floor_and_validation(tmp_path: Path) -> None:
    found = freeze(NUMBERS, tmp_path / "t.json", **NAMES).values
    assert found["faithfulness", "diagonal"] == pytest.approx(0.7)
    assert found["faithfulness", "off_diagonal"] == pytest.approx(0.15)
    assert found["student", "ratio"] == 0.95
    assert found["weights", "share"] == 0.9  # not measured: the floor
    low = {"faithfulness": {"diagonal": 0.3, "off_diagonal": 0.4}}
    weak = freeze(low, tmp_path / "weak.json", **NAMES).values
    assert weak["faithfulness", "diagonal"] == 0.5
    assert weak["faithfulness", "off_diagonal"] == 0.2


def test_frozen_thresholds_are_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    first = freeze(NUMBERS, path, **NAMES)
    kept = path.read_bytes()
    assert freeze(NUMBERS, path, **NAMES) == first
    for numbers, names in (
        ({"faithfulness": {"diagonal": 0.7, "off_diagonal": 0.05}}, NAMES),
        (NUMBERS, NAMES | {"released": 2}),
        (NUMBERS, NAMES | {"model": "another"}),
    ):
        with pytest.raises(ExpressiveError, match="not changed"):
            freeze(numbers, path, **names)
    assert path.read_bytes() == kept


def test_a_file_changed_by_hand_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    freeze(NUMBERS, path, **NAMES)
    whole = json.loads(path.read_text())

    def written(content: Any, words: str) -> None:
        path.write_text(json.dumps(content))
        with pytest.raises(ExpressiveError, match=words):
            read_thresholds(path)

    easier = json.loads(json.dumps(whole))
    next(rule for rule in easier["rules"] if rule["number"] == "diagonal")["threshold"] = 0.1
    written(easier, "changed by hand")
    lower = json.loads(json.dumps(whole))
    next(rule for rule in lower["rules"] if rule["number"] == "diagonal")["floor"] = 0.1
    written(lower, "other rules")
    written(whole | {"rules": whole["rules"][1:]}, "other rules")
    written({key: of for key, of in whole.items() if key != "model"}, "damaged")
    written(whole | {"rules": "none"}, "damaged")
    written(whole | {"format": "other"}, "no thresholds of this format")
    written(whole | {"version": 2}, "version 2")
    written([], "no thresholds of this format")
    path.write_text("{")
    with pytest.raises(ExpressiveError, match="cannot be read"):
        read_thresholds(path)


def test_what_is_missing_is_named(frozen: Path) -> None:
    judged = world()
    without = {name: of for name, of in judged.contenders.items() if name != "cosine"}
    with pytest.raises(ExpressiveError, match="without cosine"):
        measure(replace(judged, contenders=without), "test")
    with pytest.raises(ExpressiveError, match="no clips of validation"):
        measure(
            world(clips=[one for one in judged.clips if one.split != "validation"]), "validation"
        )
    with pytest.raises(ExpressiveError, match="cancelled"):
        run_gates(judged, frozen, cancelled=lambda: True)


def test_progress_ends_where_it_says(frozen: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    judged = only(world(), (), ("composers",))
    run_gates(judged, frozen, draws=DRAWS, progress=lambda *of: seen.append(of))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert "distilled on composers" in [words for _, _, words in seen]


def test_partial_correlation_takes_the_other_aspects_out() -> None:
    """Levels of tempo and dynamics go together, and a score of tempo does not follow dynamics."""
    rng = np.random.default_rng(0)
    levels = rng.integers(5, size=(120, 5))
    levels[:, 2] = np.where(rng.random(120) < 0.7, levels[:, 0], levels[:, 2])
    first = clips_of_world()[0]
    clips = [
        replace(first, clip_id=str(i), work=str(i), levels=tuple(map(int, of)))
        for i, of in enumerate(levels)
    ]
    read = levels.astype(np.float32) + rng.normal(size=levels.shape).astype(np.float32) * 0.5
    matrix = checks.faithfulness(Reader().compare(read, read), clips)
    assert np.diag(matrix)[:4].min() > 0.6
    assert abs(matrix[0, 2]) < 0.1
    constant = checks.faithfulness(np.zeros((5, 120, 120), np.float32), clips)
    assert (constant == 0).all()
    one_level = [replace(one, levels=(*one.levels[:4], 0)) for one in clips]
    assert np.isnan(checks.faithfulness(Reader().compare(read, read), one_level)[:, 4]).all()
    assert np.isnan(checks.faithfulness(np.zeros((5, 1, 1), np.float32), clips[:1])).all()


def test_numbers_of_gates_are_those_the_rules_ask_for(passing: GateReport) -> None:
    for rule in thresholds.RULES:
        assert rule.number in passing.measured.numbers[rule.gate]
    assert set(passing.measured.numbers["ranking-works"]["aspects"]) == set(KEYS)
    assert measuring.BEATEN == ("cosine", "discovery")
