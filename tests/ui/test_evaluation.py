"""Evaluations as charts, tables and marked cards, without a browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from streamlit.elements.lib import streamlit_plotly_theme as stand_ins

from kindred.evaluation.compare import compare
from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.report_file import answer
from kindred.evaluation.retrieval import evaluate_retrieval
from kindred.ui.cards import CardItem
from kindred.ui.evaluation import charts, tables, words
from tests.evaluation.worlds import labels, unit, untidy
from tests.ui.scratch_audio import HOSTILE


def evaluate(name: str = "ours", **options: Any) -> RetrievalReport:
    vectors, found = untidy()
    made = evaluate_retrieval(vectors, found.ids, found, name=name, draws=50, **options)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def report() -> RetrievalReport:
    return evaluate()


def texts(figure: Any) -> list[str]:
    return [item.text for item in figure.layout.annotations]


def test_the_stand_ins_for_colours_are_streamlits() -> None:
    assert charts.TEXT == stand_ins.GRAY_90
    assert list(charts.SERIES.values()) == [stand_ins.CATEGORY_0, stand_ins.CATEGORY_1]
    assert charts.SCALE[0] == stand_ins.SEQUENTIAL_0
    assert charts.SCALE[-1] == stand_ins.SEQUENTIAL_9
    assert len(charts.SCALE) == 10


def test_a_chart_has_the_value_interval_chance_and_best_of_both_variants(
    report: RetrievalReport,
) -> None:
    figure = charts.measure_chart([report.to_dict()], "ndcg@5")
    for trace, variant in zip(figure.data, ("plain", "controlled"), strict=True):
        mean = report.variants[variant].measures["ndcg@5"].macro
        assert mean.value is not None
        assert mean.ci95 is not None
        assert trace.x[0] == pytest.approx(mean.value)
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(mean.ci95[1])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(mean.ci95[0])
        ticks = [shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1]
        assert any(tick == pytest.approx(mean.chance, abs=1e-8) for tick in ticks)
        assert f"chance {mean.chance:.2f} · best {mean.ceiling:.2f}" in texts(figure)
    assert {trace.marker.symbol for trace in figure.data} == {"circle", "diamond"}


def test_a_variant_without_queries_is_left_out_of_the_chart() -> None:
    found = labels(["x", "x", "y"], works=["w", "w", "v"])
    made = evaluate_retrieval(unit(np.ones((3, 2))), found.ids, found, draws=10)
    assert made is not None
    figure = charts.measure_chart([made.to_dict()], "precision@5")
    assert [len(trace.x) for trace in figure.data] == [1, 0]
    json.loads(figure.to_json())


def test_names_are_text_in_charts() -> None:
    reports = [evaluate(name).to_dict() for name in (f"a {HOSTILE}", "b\udcff")]
    found = texts(charts.measure_chart(reports, "mrr"))
    assert any("&lt;" in text for text in found)
    assert not any("<script" in text or "<img" in text for text in found)
    assert any("b\\udcff" in text for text in found)


def test_differences_in_a_chart_are_of_the_first_less_the_second(report: RetrievalReport) -> None:
    other = evaluate("other", scoring="csls")
    differences = compare([report, other], draws=50).to_dict()["differences"]
    chosen = [item for item in differences if item["measure"] == "map"]
    figure = charts.difference_chart(chosen)
    assert figure.data[0].x[0] == chosen[0]["macro"]
    assert "<b>ours − other</b>" in texts(figure)
    low, high = figure.layout.xaxis.range
    assert low < chosen[0]["ci95"][0] < chosen[0]["ci95"][1] < high
    assert low == pytest.approx(-high)
    table = tables.difference_table(chosen)
    assert table["Difference"].tolist() == [chosen[0]["macro"]]


def test_two_that_do_not_differ_have_a_chart() -> None:
    differences = compare([evaluate("a"), evaluate("b")], draws=50).to_dict()["differences"]
    assert charts.difference_chart(differences[:1]).data[0].x[0] == 0


def test_the_heatmap_has_numbers_for_columns_and_names_for_rows(report: RetrievalReport) -> None:
    rows, columns, shares = report.confusion(limit=5)
    figure = charts.confusion_chart(rows, columns, shares)
    axis = figure.layout.xaxis
    assert axis.ticktext[:5] == ("1", "2", "3", "4", "5")
    assert axis.ticktext[5:] == ("other", "unlabelled")
    assert [text.split("  ")[1] for text in figure.layout.yaxis.ticktext] == list("12345")
    np.testing.assert_array_equal(np.array(figure.data[0].z), shares)
    few = labels(["x", "x", "y", "y"])
    made = evaluate_retrieval(unit(np.eye(4)[:, :4]), few.ids, few, draws=10)
    assert made is not None
    figure = charts.confusion_chart(*made.confusion())
    assert figure.layout.xaxis.ticktext == ("1", "2")  # nothing is of another label


def test_the_greatest_confusions() -> None:
    shares = np.array([[0.2, 0.5, 0.3, 0], [0, 1, 0, 0], [0.9, 0, 0.1, 0]])
    found = tables.confusions("abc", [*"abc", "other"], shares, {"a": 10, "b": 5, "c": 2})
    assert found == [("a", "b", 0.5), ("a", "c", 0.3), ("c", "a", 0.9)]
    assert tables.confusions("abc", [*"abc", "other"], shares, dict.fromkeys("abc", 1), most=1) == [
        ("c", "a", 0.9)
    ]


def test_queries_of_a_label_come_worst_first(report: RetrievalReport) -> None:
    for variant in report.variants:
        seen: list[int] = []
        for name in report.classes:
            rows = tables.queries_of(report, variant, name)
            seen += rows
            table = tables.query_table(report, variant, rows, {report.ids[0]: "Title"})
            assert table["ndcg"].is_monotonic_increasing
            for row, found in zip(rows, table.to_dict("records"), strict=True):
                hits = round(report.variants[variant].values[row, 0] * 5)
                assert found["hits"] == f"{hits} of 5"
                assert found["marks"].count("✓") == hits
                if hits:
                    assert found["marks"].index("✓") + 1 == found["first"]
                assert found["track"] == ("Title" if row == 0 else report.ids[row])
        asked = np.flatnonzero(~np.isnan(report.variants[variant].values[:, 0]))
        assert sorted(seen) == asked.tolist()


def test_cards_are_marked_by_the_label_of_the_query(report: RetrievalReport) -> None:
    plain = report.variants["plain"]
    row = int(np.nanargmax(np.where(plain.values[:, 0] < 1, plain.values[:, 0], np.nan)))
    query, found = report.ids[row], answer(report, plain, row)
    there = [CardItem(track_id=item) for item in found[1:]]  # the first was removed since
    cards = tables.marked(there, report, query, found)
    assert [card.rank for card in cards] == [2, 3, 4, 5]
    own = report.class_of[row]
    for card in cards:
        number = report.class_of[report.ids.index(card.track_id)]
        assert card.verdict == ("hit" if number == own else "miss")
        name = report.classes[number] if number >= 0 else "no composer"
        assert card.note == ("same composer" if number == own else name)
    assert tables.verdicts(report, query, found).count(True) == round(plain.values[row, 0] * 5)


def test_a_track_without_a_label_is_a_miss() -> None:
    found = labels(["", "x", "x"])
    made = evaluate_retrieval(unit(np.ones((3, 2))), found.ids, found, draws=10)
    assert made is not None
    [card] = tables.marked([CardItem(track_id="000")], made, "001", ["000"])
    assert (card.verdict, card.note) == ("miss", "no composer")


def test_a_mark_is_sent_with_its_word() -> None:
    sent = CardItem(track_id="a", verdict="hit", note=HOSTILE).to_dict()
    assert (sent["verdict"], sent["note"]) == ("hit", HOSTILE)
    assert CardItem(track_id="a").to_dict()["verdict"] == ""


def test_tables_of_a_report(report: RetrievalReport) -> None:
    documents = [report.to_dict(), evaluate("other").to_dict()]
    assert len(tables.measures_table(documents)) == 2 * 5 * 7
    rows = report.per_class()
    table = tables.class_table(rows, 5)
    assert table["precision"].isna().sum() == sum(row["queries"] == 0 for row in rows)
    assert tables.hub_table(documents)["System"].tolist() == ["ours", "other"]
    side = tables.class_comparison({"ours": rows, "other": rows}, "mrr")
    assert side["ours"].equals(side["other"])
    cards = tables.hub_cards(
        [CardItem(track_id=hub[0]) for hub in report.hubness.hubs], documents[0]["hubness"]
    )
    assert cards[0].note.startswith(f"in {report.hubness.largest} answers")


def test_hubs_in_words() -> None:
    hubs = {"k": 5, "skewness": 0.2, "largest": 9, "anti_hubs": 0.125}
    assert "in 9 of 79, and 12% of the tracks" in words.hubs_in_words(hubs, 80)
    assert "no marked hubs" in words.hubs_in_words(hubs, 80)
    assert "far too often" in words.hubs_in_words(hubs | {"skewness": 3.0}, 80)


@pytest.mark.parametrize("text", ["*a*", "[x](y)", "a_b_c", "$1$", ":red[x]", "# x", "1. x", "<b>"])
def test_markup_is_only_text(text: str) -> None:
    escaped = words.plain_text(text)
    assert escaped.replace("\\", "") == text
    for sign in "*_[]()$:#<>":
        assert escaped.count(sign) == escaped.count(f"\\{sign}")


def test_every_measure_has_a_title_and_a_help(report: RetrievalReport) -> None:
    for name in report.measure_names:
        assert words.measure_title(name)
        assert "{" not in words.measure_help(name)
