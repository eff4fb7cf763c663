"""The measures: each finds the fault it is there for, and passes what is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command_line import weatherman
from weatherman.data.validate import validate_row
from weatherman.quality.duplicates import exact_duplicates, nearest_across, shared_groups
from weatherman.quality.measures import load, sameness
from weatherman.quality.metric import Metric, judged, unknown
from weatherman.quality.repetition import distinct_4, mask, masked_sentences, measure_repetition, names
from weatherman.quality.report import passes, row
from weatherman.quality.tokens import mistral_tokenizer, render_set, step_tokens
from weatherman.records import Conversation
from weatherman.rendering.templates import MISTRAL_V3
from weatherman.weather.dataset.build import build
from weatherman.weather.dataset.promises import measure_with_promises
from weatherman.weather.dataset.publish import build_data_set, link_processed
from weatherman.weather.faithful.evidence import answers
from weatherman.weather.faithful.numbers import contradictions
from weatherman.weather.tools import WEATHER_TOOLS

NOW = {
    "temperature_c": 21.4, "feels_like_c": 19.6, "humidity_pct": 55, "wind_kmh": 18, "gust_kmh": 30, "wind_dir": "NNW",
    "condition": "rain", "time": "09:30",
}  # fmt: skip
COLD = {**NOW, "temperature_c": -3.6, "feels_like_c": -8.1, "wind_dir": "E", "humidity_pct": 80}
FORECAST = {
    "columns": ["day", "high_c", "low_c", "rain_chance_pct", "condition"],
    "days": [["Mon 2", 10, 4, 80, "rain"], ["Tue 3", 12, 5, 10, "overcast"], ["Wed 4", 15, 7, 0, "clear sky"],
             ["Thu 5", 9, 1, 60, "sleet"], ["Fri 6", 8, 0, 35, "overcast"], ["Sat 7", 11, 2, 5, "overcast"],
             ["Sun 8", 13, 3, 20, "overcast"], ["Mon 9", 14, 6, 45, "overcast"]],
}  # fmt: skip
PLACES = {"Lima": (-12.04, -77.03), "Oslo": (59.91, 10.75)}


def call(id_: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def talk(answer: str, *, cities: tuple[str, ...] = ("Lima",), forecast: bool = False, **metadata: Any) -> Conversation:
    """A conversation in which the tools gave NOW for Lima, COLD for Oslo, or FORECAST."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How is it?"}]
    for city in cities:
        latitude, longitude = PLACES[city]
        result = {"results": [{"name": city, "country": "X", "latitude": latitude, "longitude": longitude}]}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call(f"geo{city}00", "geocode_location", city=city)]},
            {"role": "tool", "tool_call_id": f"geo{city}00", "content": json.dumps(result)},
        ]
        where = {"latitude": latitude, "longitude": longitude}
        asked = (
            call(f"now{city}00", "get_forecast", **where, days=8) if forecast
            else call(f"now{city}00", "get_current_weather", **where)
        )  # fmt: skip
        given = FORECAST if forecast else NOW if city == "Lima" else COLD
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": f"now{city}00", "content": json.dumps(given)},
        ]
    messages.append({"role": "assistant", "content": answer})
    found, problems = validate_row(
        {"messages": messages, "tools": list(WEATHER_TOOLS), "metadata": metadata}, "x.jsonl:1"
    )
    assert found, problems
    return found


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "It is 21 °C in Lima.",
        "It is 21.4 °C and feels like 20 °C.",
        "Lima has 71 °F, which is 21 °C.",
        "The wind is 18 km/h from the north-northwest, with gusts of 16 knots.",
        "That wind makes 5 m/s, or 11 mph, at 55 % humidity.",
        "Nothing here is a number, half an hour of talk included.",
    ],
)
def test_true_numbers_pass(answer: str) -> None:
    assert list(contradictions(talk(answer))) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("It is 22 °C in Lima.", "22 °C"),
        ("It is 21.5 °C.", "21.5 °C"),
        ("It is 72 °F.", "72 °F"),
        ("It is 21 °F.", "21 °F"),
        ("The wind is 19 km/h.", "19 km/h"),
        ("Gusts reach 31 km/h.", "31 km/h"),
        ("Humidity is 54 %.", "54 %"),
        ("The wind is from the south.", "the south"),
        ("The wind is from the northwest.", "the northwest"),
        ("It is 3 degrees warmer than in Oslo.", "3 degrees"),
        ("I can see 7 days ahead.", "7 days"),
        ("There are 12 clouds.", "12"),
    ],
)
def test_false_numbers_are_named(answer: str, told: str) -> None:
    found = list(contradictions(talk(answer)))
    assert len(found) == 1
    assert found[0].startswith(told)


def test_a_number_must_be_of_the_place_that_the_sentence_names() -> None:
    both = ("Lima", "Oslo")
    assert list(contradictions(talk("Lima has 21 °C. Oslo has -4 °C.", cities=both))) == []
    assert len(list(contradictions(talk("Oslo has 21 °C.", cities=both)))) == 1
    assert list(contradictions(talk("Lima is 25 degrees warmer than Oslo.", cities=both))) == []
    assert list(contradictions(talk("Lima is 45 degrees warmer than Oslo: 71 °F against 26 °F.", cities=both))) == []
    assert len(list(contradictions(talk("At 71 °F, Lima is 25 degrees warmer than Oslo.", cities=both)))) == 1


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("Tuesday goes from 5 °C to 12 °C with a chance of 10 %.", 0),
        ("Tomorrow goes from 5 °C to 12 °C.", 0),
        ("Today reaches 10 °C, Wednesday 15 °C.", 0),
        ("Tuesday reaches 15 °C.", 1),
        ("Tomorrow has a chance of 80 %.", 1),
        ("The chance goes up to 80 %.", 0),
        ("From Thursday to Saturday the chance of rain is up to 60 %.", 0),
        ("From Thursday to Saturday it is 35 % or more.", 0),  # of the Friday in between
        ("On Thursday and Saturday it is 35 %.", 1),
        ("It goes from Thursday to Saturday at 45 %.", 1),
        ("Tomorrow has a chance of 60 %.", 1),
        ("Monday the 9th reaches 14 °C.", 0),
        ("Monday the 9th reaches 10 °C.", 1),
        ("On the 21st it is dry.", 1),
        ("In the next 8 days the top is 15 °C.", 0),
        ("In the next 14 days the top is 15 °C.", 0),
        ("In the next 9 days the top is 15 °C.", 1),
    ],
)
def test_a_number_must_be_of_the_day_that_the_sentence_names(answer: str, wrong: int) -> None:
    assert len(list(contradictions(talk(answer, forecast=True)))) == wrong


def test_asides_are_excepted_unless_they_speak_of_weather() -> None:
    joke = "some 63 percent of umbrellas were never asked"
    assert list(contradictions(talk(f"It is 21 °C. {joke.capitalize()}.", asides=[joke]))) == []
    assert len(list(contradictions(talk(f"It is 21 °C. {joke.capitalize()}.")))) == 1
    cheat = "it is 30 °C"
    assert len(list(contradictions(talk("Well, it is 30 °C.", asides=[cheat])))) == 1


def test_a_call_must_be_for_a_place_that_was_found_or_given() -> None:
    good = talk("It is 21 °C.")
    first = good.messages[3]
    moved = replace(first.tool_calls[0], arguments={"latitude": 1.0, "longitude": 2.0})
    bad = replace(good, messages=(*good.messages[:3], replace(first, tool_calls=(moved,)), *good.messages[4:]))
    assert [text for text in contradictions(bad) if "nobody named" in text]
    given = replace(bad.messages[0], content="How is it at 1.0, 2.0?")
    assert list(contradictions(replace(bad, messages=(given, *bad.messages[1:])))) == []


def test_after_a_correction_only_the_new_results_count() -> None:
    first, second = talk("Lima has 21 °C."), talk("Oslo has -4 °C.", cities=("Oslo",))
    both = replace(first, messages=first.messages + second.messages)
    assert [text for text, _ in answers(both)] == ["Lima has 21 °C.", "Oslo has -4 °C."]
    assert list(contradictions(both)) == []
    wrong = replace(second.messages[-1], content="So it is 21 °C.")
    assert len(list(contradictions(replace(both, messages=(*both.messages[:-1], wrong))))) == 1


# --- repetition and duplicates ----------------------------------------------------------------------------------------


def test_masking_hides_numbers_days_and_places() -> None:
    one = talk("LIMA — On Tuesday, Lima had 21.4 °C and -3 °C.")
    assert names(one) == {"Lima", "X"}
    assert mask("LIMA — On Tuesday, Lima had 21.4 °C and -3 °C.", frozenset({"Lima"})) == (
        "PLACE — On DAY, PLACE had NUM °C and NUM °C."
    )


def test_distinct_4_is_a_ratio_of_word_4_grams() -> None:
    assert distinct_4(["a b c d e"]) == 1
    assert distinct_4(["a b c d", "a b c d"]) == 0.5
    assert distinct_4(["a b c"]) == 0


def test_sentences_beyond_twenty_times_count_as_repeated() -> None:
    often, rare = (
        [talk(f"It is {n} °C. Fine.") for n in range(21)],
        [talk(f"All is well here, number {'x' * n}.") for n in range(1, 4)],
    )
    assert masked_sentences(often) == {"it is num °c.": 21, "fine.": 21}
    found = measure_repetition([*often, *rare])
    assert found.repeated_sentences == pytest.approx(42 / 45)
    assert found.worst_sentence[1] == 21
    assert found.top_opening == pytest.approx(21 / 24)
    assert measure_repetition(often[:20]).repeated_sentences == 0


def test_duplicates_exact_and_near() -> None:
    a, b = talk("It is 21 °C in Lima and the rain is falling on every roof of the town."), talk("All is well.")
    near = talk("It is 19 °C in Lima and the rain is falling on every roof of the town.")
    assert exact_duplicates([a, b]) == []
    assert exact_duplicates([a, b, a]) == [(a.source, a.source)]
    assert nearest_across([a], [near]).similarity == 1.0  # alike but for the number
    assert nearest_across([a], [near]).near == ((a.source, near.source),)
    assert nearest_across([b], [near]).near == ()


def test_duplicates_are_told_by_file_and_line(tmp_path: Path) -> None:
    texts = ["It is 21 °C in Lima and the rain is falling on every roof of the town.", "All is well here today."]
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]} for text in texts]
    train, held = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    train.write_text("".join(json.dumps(rows[number]) + "\n" for number in (0, 1, 1, 0)))
    held.write_text(json.dumps(rows[0]) + "\n")
    found = {metric.name: metric for metric in sameness(load(train, held))}
    exact = found["exact-duplicates"]
    assert (exact.value, exact.verdict) == (3, "info")  # of somebody else's data: information
    assert exact.detail == (
        "a.jsonl:3 says what a.jsonl:2 says; a.jsonl:4 says what a.jsonl:1 says; b.jsonl:1 says what a.jsonl:1 says"
    )
    near = found["near-duplicates-across"]
    assert near.value == 2
    assert "a.jsonl:1 is like b.jsonl:1; a.jsonl:4 is like b.jsonl:1" in near.detail


def test_groups_and_places_on_both_sides_are_named() -> None:
    train = [talk("x", split_group="current/lima"), talk("x", split_group="compare/lima+oslo")]
    assert shared_groups(train, [talk("x", split_group="current/oslo")]) == []
    assert shared_groups(train, [talk("x", split_group="current/lima")]) == ["current/lima"]
    assert shared_groups(train, [talk("x", split_group="compare/oslo+paris")]) == ["compare/oslo"]


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_lengths_and_masks_with_the_real_tokenizer() -> None:
    found = render_set([talk("It is 21 °C in Lima.")], MISTRAL_V3, mistral_tokenizer())
    assert found.problems == []
    assert found.lengths == [len(found.examples[0].ids)]
    beside = talk("It is 21 °C in Lima.")
    both = replace(beside.messages[1], content="Let me look.")
    spoilt = replace(beside, messages=(beside.messages[0], both, *beside.messages[2:]))
    bad = render_set([spoilt], MISTRAL_V3, mistral_tokenizer())
    assert len(bad.problems) == 1
    assert "text and tool calls" in bad.problems[0]


def test_a_step_shares_the_tools() -> None:
    several = [talk(f"It is 21 °C in Lima, for the {word} time.") for word in ("first", "second", "third", "fourth")]
    before, after = step_tokens(render_set(several, MISTRAL_V3, mistral_tokenizer()).examples, 1)
    assert after < before / 2


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "synthetic"
    build(160, 42, folder)
    return folder


def values(metrics: list[Metric]) -> dict[str, Any]:
    return {metric.name: metric.value for metric in metrics}


def test_a_built_set_reaches_every_goal(small: Path) -> None:
    metrics = list(measure_with_promises(load(small / "final_train.jsonl", small / "final_validation.jsonl")))
    assert [metric for metric in metrics if metric.verdict == "fail"] == []
    found = values(metrics)
    assert found["conversations"] == 160
    assert found["number-contradictions"] == 0
    assert found["longest-mistral-tokens"] <= 1024
    assert found["prefix-sharing-factor"] > 1.2


def test_a_spoilt_set_fails_where_it_is_spoilt(small: Path, tmp_path: Path) -> None:
    lines = (small / "final_train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    place = next(i for i, r in enumerate(rows) if "°C" in (r["messages"][-1]["content"] or ""))
    rows[place]["messages"][-1]["content"] += " Yesterday it was 99 °C."
    call_row = next(r for i, r in enumerate(rows) if i != place and any(m.get("tool_calls") for m in r["messages"]))
    first = next(m for m in call_row["messages"] if m.get("tool_calls"))
    first["tool_calls"][0]["function"]["arguments"] = "{}"
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in [*rows, rows[-1]]), encoding="utf-8")
    failed = {
        m.name for m in measure_with_promises(load(path, small / "final_validation.jsonl")) if m.verdict == "fail"
    }
    assert failed == {"schema-valid", "exact-duplicates", "ids-used-twice", "number-contradictions"}


def test_what_cannot_be_known_is_not_a_pass_and_not_a_failure(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    metrics = {m.name: m for m in measure_with_promises(load(small / "final_validation.jsonl", None))}
    assert metrics["longest-mistral-tokens"].verdict == "unknown"
    assert "mistral-common" in metrics["longest-mistral-tokens"].detail
    assert "cannot know" in row(metrics["longest-mistral-tokens"])
    assert passes([unknown("a", "b", "c"), judged("d", 1, "1", ok=True)])
    assert not passes([judged("d", 2, "1", ok=False)])


def test_publishing_describes_the_files_and_links_them(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "synthetic"
    assert build_data_set(60, 7, folder, ["neutral"])
    about = json.loads((folder / "merge_metadata.json").read_text(encoding="utf-8"))
    assert about["ok"] is True
    assert (about["seed"], about["personas"], about["conversations"]["all"]) == (7, ["neutral"], 60)
    assert about["files"]["final_train.jsonl"]["bytes"] == (folder / "final_train.jsonl").stat().st_size
    assert len(link_processed(tmp_path / "data")) == 2
    assert link_processed(tmp_path / "data") == []
    link = tmp_path / "data" / "processed" / "train.jsonl"
    assert link.is_symlink()
    assert link.read_bytes() == (folder / "final_train.jsonl").read_bytes()


def test_links_that_lead_nowhere_are_made_again_and_files_are_left(tmp_path: Path) -> None:
    (tmp_path / "synthetic").mkdir()
    (tmp_path / "synthetic" / "final_train.jsonl").write_text("{}\n")
    processed = tmp_path / "processed"
    processed.mkdir()
    (processed / "train.jsonl").symlink_to("nowhere.jsonl")
    (processed / "validation.jsonl").write_text("mine\n")
    assert link_processed(tmp_path) == [processed / "train.jsonl"]
    assert (processed / "train.jsonl").read_text() == "{}\n"
    assert (processed / "validation.jsonl").read_text() == "mine\n"


def test_the_command_line(small: Path, tmp_path: Path) -> None:
    train, validation = small / "final_train.jsonl", small / "final_validation.jsonl"
    checked = weatherman("data", "check", train, validation, "--json", cache=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["ok"] is True

    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": []}\nnot json\n')
    failed = weatherman("data", "check", broken, cache=tmp_path)
    assert failed.returncode == 1
    assert "❌ ERROR: broken.jsonl:2: not JSON" in failed.stdout

    told = json.loads(weatherman("data", "stats", train, validation, "--json", cache=tmp_path).stdout)
    assert told["conversations"] == 160
    assert sum(told["personas"].values()) == 160
    assert sum(told["tokens"].values()) == 160

    again = weatherman("data", "build", "--examples", 160, "--out", tmp_path / "again", cache=tmp_path)
    assert again.returncode == 0, again.stdout
    assert (tmp_path / "again" / "final_train.jsonl").read_bytes() == train.read_bytes()

    shown = weatherman("data", "show", train, "--line", 2, "--template", "mistral-v3", cache=tmp_path)
    assert shown.returncode == 0, shown.stdout
    assert shown.stdout.count("⟦") == shown.stdout.count("⟧") > 0

    strange = weatherman("data", "build", "--personas", "dickens", "--out", tmp_path / "no", cache=tmp_path)
    assert strange.returncode == 1
    assert "dickens" in strange.stdout
    assert not (tmp_path / "no").exists()
