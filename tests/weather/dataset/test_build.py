"""The builder: the same bytes from the same seed, the promised mix, a sound weather model, a grammar without slips."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.weather.dataset.build import build, drafts, openings, rows, signature
from weatherman.weather.dataset.climate import (
    FALLING,
    SNOWY,
    Day,
    current_weather,
    dew_point_c,
    feels_like_c,
    forecast,
    spanning,
)
from weatherman.weather.dataset.courses import alike_runs, course_clauses, told_in_order
from weatherman.weather.dataset.day_names import day_name, on_days, what_falls
from weatherman.weather.dataset.gazetteer import City, CityPool, cities, namesakes
from weatherman.weather.dataset.lore import topics
from weatherman.weather.dataset.outlooks import (
    Span,
    best_verdict,
    dry_sky,
    dry_verdict,
    extreme_clause,
    falling_clause,
    packing_verdict,
    rain_verdict,
)
from weatherman.weather.dataset.plan import PERSONA_SHARES, SCENARIO_SHARES, plan_slots
from weatherman.weather.dataset.situation import Situation, situation, sun_height_deg
from weatherman.weather.dataset.skies import put_sky
from weatherman.weather.dataset.speech import Speaker, sentence
from weatherman.weather.dataset.split import apportion, is_held_out
from weatherman.weather.dataset.units import Units, direction
from weatherman.weather.dataset.verdicts import danger_of, verdict_of
from weatherman.weather.dataset.voices import PERSONAS, VOICES, bank, expand, fitting, read_bank

REASONS = {tag for fragment in bank("shared", "because") for tag in fragment.tags}
ROOT = Path(__file__).parents[3]
OSLO = City("Oslo", "", "Norway", 59.91, 10.75, 700_000)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(600, 42, folder)
    return folder


def rows_of(folder: Path) -> list[dict]:
    files = ("final_train.jsonl", "final_validation.jsonl")
    return [json.loads(line) for name in files for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(built: Path, tmp_path: Path) -> None:
    build(600, 42, tmp_path / "again")
    build(600, 43, tmp_path / "other")
    for name in ("final_train.jsonl", "final_validation.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (built / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (built / name).read_bytes()
    assert sorted(path.name for path in built.iterdir()) == ["final_train.jsonl", "final_validation.jsonl"]


def test_the_committed_files_are_what_the_builder_writes() -> None:
    """A part of the committed files, built anew: the first conversations of the plan."""
    committed = ROOT / "data" / "synthetic" / "final_train.jsonl"
    with committed.open(encoding="utf-8") as file:
        lines = [next(file).rstrip("\n") for _ in range(40)]
    slots = [slot for slot in plan_slots(16_000, 42)[:60] if not slot.held_out][:40]
    assert [line for _, line in rows(slots, 42)] == lines


def test_the_mix_is_the_promised_one() -> None:
    slots = plan_slots(16_000, 42)
    assert Counter(slot.held_out for slot in slots) == {False: 14_399, True: 1_601}
    personas = Counter(slot.persona for slot in slots)
    assert {p: round(personas[p] / 160, 1) for p in PERSONAS} == {
        "twain": 44.3,
        "franklin": 15.4,
        "satire": 9.4,
        "neutral": 31.0,
    }
    scenarios = Counter(slot.scenario for slot in slots)
    assert {s: round(scenarios[s] / 160) for s in SCENARIO_SHARES} == SCENARIO_SHARES
    assert [slot.index for slot in slots] == list(range(16_000))


def test_fewer_personas_keep_their_proportion() -> None:
    counts = Counter(slot.persona for slot in plan_slots(1000, 1, ["franklin", "neutral"]))
    share = PERSONA_SHARES["franklin"] / (PERSONA_SHARES["franklin"] + PERSONA_SHARES["neutral"])
    assert counts == {"franklin": round(1000 * share), "neutral": 1000 - round(1000 * share)}


def test_apportion_sums_up_and_favours_the_largest_remainder() -> None:
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(7, [50, 30, 20]) == [4, 2, 1]


def test_a_group_is_always_on_the_same_side() -> None:
    sides = [is_held_out("current", f"city-{number}", 42) for number in range(5000)]
    assert sides == [is_held_out("current", f"city-{number}", 42) for number in range(5000)]
    assert 0.08 < sum(sides) / 5000 < 0.12


def test_every_row_is_valid_and_carries_its_metadata(built: Path) -> None:
    conversations = [
        one for name in ("final_train", "final_validation") for one in read_conversations(built / f"{name}.jsonl")
    ]
    assert len(conversations) == 600
    for one in conversations:
        assert one.messages[0].role == "system"
        assert {"id", "persona", "scenario", "split_group"} <= set(one.metadata)
        assert all(re.fullmatch("[a-z]{9}", call.id) for m in one.messages for call in m.tool_calls)
    assert len({one.metadata["id"] for one in conversations}) == 600
    assert len({signature(row) for row in rows_of(built)}) == 600


def test_system_prompts_are_few_and_identical_within_a_persona(built: Path) -> None:
    prompts: dict[str, set[str]] = {}
    for row in rows_of(built):
        prompts.setdefault(row["metadata"]["persona"], set()).add(row["messages"][0]["content"])
    assert {persona: len(texts) for persona, texts in prompts.items()} == dict.fromkeys(PERSONAS, 3)
    assert len({json.dumps(row["tools"]) for row in rows_of(built)}) == 1


def test_scenarios_do_what_they_are_called(built: Path) -> None:
    by_scenario: dict[str, list[dict]] = {}
    for row in rows_of(built):
        by_scenario.setdefault(row["metadata"]["scenario"], []).append(row)
    assert set(by_scenario) == set(SCENARIO_SHARES)

    def calls(row: dict) -> list[list[str]]:
        return [[c["function"]["name"] for c in m["tool_calls"]] for m in row["messages"] if m.get("tool_calls")]

    for scenario in ("no_tool", "off_topic"):
        assert all(not calls(row) for row in by_scenario[scenario])
    assert all(["get_current_weather"] * 2 in calls(row) for row in by_scenario["compare"])
    assert any(len(turn) == 3 for row in by_scenario["parallel"] for turn in calls(row))
    assert any(
        turn == ["get_current_weather", "get_forecast"] for row in by_scenario["parallel"] for turn in calls(row)
    )
    assert all(calls(row)[-1] == ["get_forecast"] for row in by_scenario["forecast"])
    for row in by_scenario["follow_up"]:  # the second question needs no further call
        last_user = max(i for i, m in enumerate(row["messages"]) if m["role"] == "user")
        assert [m["role"] for m in row["messages"][last_user:]] == ["user", "assistant"]
    for row in by_scenario["ambiguous"]:
        assert row["messages"][4]["content"].endswith("?")
        assert [m["role"] for m in row["messages"][4:6]] == ["assistant", "user"]
    for row in by_scenario["out_of_range"]:
        days = [
            json.loads(c["function"]["arguments"]).get("days", 0)
            for m in row["messages"]
            for c in m.get("tool_calls", ())
        ]
        assert max(days, default=0) in (0, 14)
        assert "14 days" in row["messages"][-1]["content"]
        assert (max(days, default=0) == 14) == any(call == ["geocode_location"] for call in calls(row))


GLUE = re.compile(r"\b(\w+) \1\b|,,|;;|\.\.|\s[,;.]|  |\{|\}|\[|\]|\|", re.IGNORECASE)
NO_SLIP = {"had had", "that that", "up up", "Pago Pago", "Baden Baden", "so so", "Walla Walla"}


def test_the_grammar_makes_no_visible_slips(built: Path) -> None:
    for row in rows_of(built):
        for message in row["messages"]:
            if message["role"] == "assistant" and message["content"]:
                text = message["content"]
                slips = [match[0] for match in GLUE.finditer(text) if match[0] not in NO_SLIP]
                assert not slips, (slips, text)
                assert text[0].isupper() or not text[0].isalpha(), text
                assert text.endswith((".", "?", "!", '."', '?"', '!"')), text
                assert text.count('"') % 2 == 0, text


def test_the_newscaster_alone_has_datelines_and_quotations(built: Path) -> None:
    said: dict[str, str] = {}
    for row in rows_of(built):
        texts = [m["content"] for m in row["messages"] if m["role"] == "assistant" and m["content"]]
        said[row["metadata"]["persona"]] = said.get(row["metadata"]["persona"], "") + " ".join(texts)
    assert re.search(r"[A-ZÀ-Ý]{3,} — ", said["satire"])
    assert re.search(r'," (said|explained|conceded|announced|insisted|noted|maintained|confirmed) \w', said["satire"])
    for persona in ("twain", "franklin", "neutral"):
        assert " — " not in said[persona]
        assert '"' not in said[persona]


def test_asides_hold_no_weather_and_stand_in_the_answer(built: Path) -> None:
    asides = [(row, aside) for row in rows_of(built) for aside in row["metadata"].get("asides", ())]
    assert asides
    for row, aside in asides:
        assert any(aside.lower() in (m["content"] or "").lower() for m in row["messages"] if m["role"] == "assistant")
        assert not re.search(r"°|%|km/h|mph|degrees", aside)


def test_drafts_go_on_until_the_row_is_short_enough() -> None:
    slot = next(slot for slot in plan_slots(16_000, 42) if slot.scenario == "correction")
    found = drafts(slot, 42)
    first, second = next(found), next(found)
    assert first["metadata"]["id"] == second["metadata"]["id"]
    assert first["messages"] != second["messages"]


def test_no_way_to_begin_an_answer_is_worn_out() -> None:
    slots = plan_slots(400, 7, ["neutral"])

    def most_frequent(limit: int) -> int:
        begun = Counter(begin for _, line in rows(slots, 7, limit) for begin in openings(json.loads(line)))
        return max(begun.values())

    assert most_frequent(100) > 4
    assert most_frequent(3) <= 4  # two answers of one conversation may both be the last


# --- the weather ------------------------------------------------------------------------------------------------------


def some_weather(count: int = 3000) -> list:
    rng, places = Random(5), cities()
    moments = [datetime(2025, rng.randint(1, 12), rng.randint(1, 28), rng.randrange(24)) for _ in range(count)]
    return [(place, current_weather(rng, place, moment)) for moment in moments for place in [rng.choice(places)]]


def test_weather_is_consistent_with_itself() -> None:
    for _, weather in some_weather():
        assert -42 <= weather.temperature_c <= 45.5
        assert weather.dew_point_c <= weather.temperature_c + 0.05
        assert weather.gust_kmh > weather.wind_kmh
        assert 5 <= weather.humidity_pct <= 100
        assert (weather.precipitation_mm > 0) == (weather.condition in FALLING)
        assert weather.cloud_pct >= 85 or weather.condition not in FALLING | {"overcast", "fog"}
        if weather.condition in SNOWY:
            assert weather.temperature_c < 3
        if weather.condition == "fog":
            assert weather.humidity_pct >= 95
            assert weather.wind_kmh <= 8


def test_seasons_and_latitudes_differ_the_right_way() -> None:
    def mean(city: City, month: int) -> float:
        rng = Random(1)
        return sum(current_weather(rng, city, datetime(2025, month, 15, 12)).temperature_c for _ in range(200)) / 200

    sydney = City("Sydney", "", "Australia", -33.87, 151.21, 5_000_000)
    singapore = City("Singapore", "", "Singapore", 1.35, 103.82, 5_000_000)
    assert mean(OSLO, 7) - mean(OSLO, 1) > 12
    assert mean(sydney, 1) - mean(sydney, 7) > 5
    assert abs(mean(singapore, 1) - mean(singapore, 7)) < 3


def test_dew_point_and_felt_temperature_against_known_values() -> None:
    assert dew_point_c(25, 100) == pytest.approx(25, abs=0.01)
    assert dew_point_c(20, 50) == pytest.approx(9.3, abs=0.1)
    assert feels_like_c(-10, 60, 30) == pytest.approx(-19.5, abs=0.1)  # Environment Canada's table: -20
    assert feels_like_c(32, 70, 5) == pytest.approx(40.4, abs=0.6)  # the National Weather Service's chart: 105 F
    assert feels_like_c(20, 50, 30) == 20


def test_forecast_days_follow_each_other_in_whole_degrees() -> None:
    days = forecast(Random(3), OSLO, datetime(2025, 2, 25).date(), 14)
    assert [day.date.toordinal() for day in days] == list(
        range(days[0].date.toordinal(), days[0].date.toordinal() + 14)
    )
    assert all(isinstance(day.high_c, int) and day.low_c < day.high_c for day in days)
    assert all((day.rain_chance_pct >= 50) == (day.condition in FALLING) for day in days)


def test_a_day_is_stretched_to_hold_a_reading() -> None:
    day = Day(datetime(2025, 1, 1).date(), 10, 5, 0, 10, "overcast")
    assert (spanning(day, 10.2).high_c, spanning(day, 4.9).low_c, spanning(day, 7.0)) == (11, 4, day)


def test_the_sun_is_up_at_noon_and_the_tags_say_so() -> None:
    assert sun_height_deg(OSLO, datetime(2025, 6, 21, 12)) == pytest.approx(53.5, abs=1)
    assert sun_height_deg(OSLO, datetime(2025, 12, 21, 0)) < -50
    clear = next(w for _, w in some_weather() if w.condition == "clear sky" and w.observed_at.hour >= 22)
    tags = situation(City("Quito", "", "Ecuador", 0, 0, 1), clear)
    assert "night" in tags.times
    assert "day" not in tags.times
    assert "clear" in tags.weather


def test_dangers_and_verdicts_follow_the_readings() -> None:
    for _, weather in some_weather(1500):
        assert (danger_of(weather) == "storm") == (weather.condition == "thunderstorm")
        umbrella, _ = verdict_of("umbrella", weather, Situation())
        assert (umbrella == "umbrella-no") == (weather.condition not in FALLING)
        assert (umbrella == "umbrella-storm") == (weather.condition == "thunderstorm")
        assert umbrella != "umbrella-yes" or weather.gust_kmh < 65
    assert verdict_of("general", weather, Situation()) == ("", "")


def test_a_verdict_gives_the_reason_that_decides() -> None:
    _, fair = some_weather(1)[0]
    fair = replace(
        fair, condition="clear sky", temperature_c=20, feels_like_c=20, humidity_pct=50, wind_kmh=15, gust_kmh=20
    )
    night = Situation(times=frozenset({"night"}))
    cases = {
        "laundry": {"humidity_pct": ("laundry-no", "damp", 90), "condition": ("laundry-no", "snow", "light snow")},
        "run": {"feels_like_c": ("run-no", "heat", 33), "gust_kmh": ("run-no", "gusts", 60)},
        "bike": {"gust_kmh": ("bike-no", "gusts", 45), "condition": ("bike-no", "storm", "thunderstorm")},
        "kite": {"wind_kmh": ("kite-no", "still", 11), "gust_kmh": ("kite-no", "strong", 55)},
        "drive": {"condition": ("drive-no", "fog", "fog")},
        "stars": {"condition": ("stars-no", "cloud", "overcast")},
        "picnic": {"feels_like_c": ("picnic-no", "cold", 14)},
        "nice": {"condition": ("nice-no", "rain", "drizzle")},
        "windows": {"feels_like_c": ("windows-no", "heat", 31)},
    }
    for intent, changes in cases.items():
        assert verdict_of(intent, fair, night) == (f"{intent}-yes", ""), intent
        for quantity, (tag, reason, value) in changes.items():
            assert verdict_of(intent, replace(fair, **{quantity: value}), night) == (tag, reason)
    assert verdict_of("stars", fair, Situation()) == ("stars-no", "light")
    assert set(REASONS) >= {reason for changes in cases.values() for _, reason, _ in changes.values()}


# --- the words --------------------------------------------------------------------------------------------------------


def test_units_round_as_they_are_written() -> None:
    assert Units().temp(-0.4) == "0 °C"
    assert Units(decimals=1).temp(21.25) in ("21.2 °C", "21.3 °C")
    assert Units("°F").temp(10.0) == "50 °F"
    assert Units().difference(20.4, 9.6) == "10 degrees"
    assert Units().difference(10.6, 10.4) == "1 degree"
    assert (Units(wind="knots").speed(37), Units(wind="mph").speed(16), Units(wind="m/s").speed(36)) == (
        "20 knots",
        "10 mph",
        "10 m/s",
    )
    assert [direction(letters) for letters in ("N", "SE", "NNW", "ESE")] == [
        "the north", "the southeast", "the north-northwest", "the east-southeast",
    ]  # fmt: skip


def test_a_sky_agrees_with_the_verb_after_it() -> None:
    words = ("clear skies", "an open sky")
    assert {put_sky(Random(seed), "{sky} holds the field", words) for seed in range(30)} == {
        "an open sky holds the field"
    }
    assert len({put_sky(Random(seed), "there is {sky}", words) for seed in range(30)}) == 2


def test_sentence_capitalises_and_ends_once() -> None:
    assert sentence("it rains") == "It rains."
    assert sentence('"we know," said a man') == '"We know," said a man.'
    assert sentence('he said, "No."') == 'He said, "No."'
    assert sentence("-3 °C is the figure") == "-3 °C is the figure."
    assert sentence("which one", "?") == "Which one?"


def test_fragments_open_only_where_they_fit() -> None:
    rain_at_night = Situation(frozenset({"rain"}), frozenset({"night"}))
    assert rain_at_night.allows("rain")
    assert rain_at_night.allows("any+night")
    assert not rain_at_night.allows("rain+day")
    assert not rain_at_night.allows("snow")
    for persona in PERSONAS:
        for fragment in fitting(persona, "comment", rain_at_night):
            assert any(tag.split("+")[0] in ("rain", "any") for tag in fragment.tags), fragment


def days_from(start: date, *days: tuple[int, int, int, str]) -> list[Day]:
    return [
        Day(start + timedelta(days=index), high, low, chance, 10, condition)
        for index, (high, low, chance, condition) in enumerate(days)
    ]


MONDAY = date(2025, 3, 3)
WET, DRY = (12, 5, 80, "rain"), (14, 4, 10, "clear sky")


def test_days_are_named_so_that_nobody_can_mistake_them() -> None:
    days = days_from(MONDAY, *[DRY] * 14)
    assert [day_name(day, MONDAY) for day in days[:4]] == ["today", "tomorrow", "Wednesday", "Thursday"]
    assert [day_name(day, MONDAY, dated=True) for day in (days[2], days[9], days[0])] == [
        "Wednesday the 5th", "Wednesday the 12th", "today",
    ]  # fmt: skip
    picked = [days[index] for index in (0, 2, 4, 5, 6)]
    assert on_days(picked, MONDAY) == "today, on Wednesday and from Friday to Sunday"
    assert on_days([days[index] for index in (2, 4)], MONDAY) == "on Wednesday and Friday"
    assert on_days(days[1:2], MONDAY) == "tomorrow"
    assert on_days([days[9], days[11]], MONDAY, dated=True) == "on Wednesday the 12th and Friday the 14th"


def test_what_falls_is_what_the_wet_days_bring() -> None:
    def what(*days: tuple[int, int, int, str]) -> str:
        return what_falls(days_from(MONDAY, *days))

    assert what(DRY, WET) == "rain"
    assert what((0, -5, 80, "light snow"), (0, -5, 80, "snow")) == "snow"
    assert what((2, -5, 80, "light snow"), WET) == "rain or snow"
    assert what((2, -1, 80, "sleet")) == "rain or snow"
    assert what((30, 20, 80, "thunderstorm")) == "rain"
    assert [what((high, -9, 10, "overcast")) for high in (-1, 3, 20)] == ["snow", "rain or snow", "rain"]


def test_a_course_is_cut_into_runs_of_days_that_are_alike() -> None:
    perhaps = (15, 5, 40, "overcast")
    days = days_from(MONDAY, DRY, DRY, WET, perhaps, perhaps, WET)
    assert [len(run) for run in alike_runs(days)] == [2, 1, 2, 1]
    assert [day for run in alike_runs(days) for day in run] == days
    skies = ["clear sky", "mostly clear", "overcast", "fog", "partly cloudy"]
    clear, gray, fair = ([0, 1, 4], [2, 3, 4], [0, 1, 2])
    of = [[days_from(MONDAY, (14, 4, 10, skies[index]))[0] for index in found] for found in (clear, gray, fair)]
    assert [dry_sky(found) for found in of] == ["clear", "gray", "fair"]


@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("seed", range(12))
def test_a_course_tells_each_run_with_its_days_and_its_highest_chance(persona: str, seed: int) -> None:
    perhaps, wetter = (15, 5, 40, "overcast"), (11, 5, 95, "rain")
    days = days_from(MONDAY, DRY, WET, wetter, perhaps, (13, 3, 20, "overcast"), WET)
    told = course_clauses(Speaker(persona, Random(seed)), Span(days, MONDAY, ""))
    named = ["today", "tomorrow and on Wednesday", "on Thursday", "on Friday", "on Saturday"]
    assert [name for name, clause in zip(named, told, strict=True) if name not in clause] == []
    assert [re.findall(r"(?:up to )?\d+ %", clause) for clause in told] == [[], ["up to 95 %"], ["40 %"], [], ["80 %"]]
    (whole,) = course_clauses(Speaker(persona, Random(seed)), Span(days_from(MONDAY, DRY, DRY), MONDAY, ""))
    assert "10 %" in whole
    assert "up to" not in whole


def test_clauses_told_in_order_are_at_most_two_to_a_sentence() -> None:
    assert told_in_order("here it is", ["a"]) == "Here it is: a."
    assert told_in_order("here it is", ["a", "b"]) == "Here it is: a; b."
    assert told_in_order("here it is", ["a", "b", "c", "d"]) == "Here it is: a. B; c. D."


@pytest.mark.parametrize("seed", range(40))
def test_an_outlook_tells_every_wet_day(seed: int) -> None:
    rng = Random(seed)
    start = MONDAY + timedelta(days=rng.randrange(300))
    days = forecast(rng, rng.choice(cities()), start, rng.choice((4, 5, 6, 7, 10, 14)))
    span = Span(days, start, "the next days")
    clause = falling_clause(Speaker("twain", rng), span)
    wet = [day for day in days if day.rain_chance_pct >= 50]
    if 1 < len(wet) < len(days):
        assert on_days(wet, start, dated=len(days) > 7) in clause
    if wet:
        assert not re.search(r"no wet day|stays dry|not a wet|dry weather$", clause)
    else:
        assert not re.search(r"\bis likely|\bexpect ", clause)


def test_an_outlook_answers_what_was_asked() -> None:
    def said(judge: object, *days: tuple[int, int, int, str], **more: object) -> str:
        return judge(Speaker("neutral", Random(1)), Span(days_from(MONDAY, *days), MONDAY, ""), **more)  # type: ignore[operator]

    assert re.match("yes|very likely|probably, yes|I am afraid so|most likely", said(rain_verdict, DRY, WET))
    assert re.match("no|probably not|hardly|most likely not|you should stay dry", said(rain_verdict, DRY, DRY))
    assert "Wednesday" in said(dry_verdict, WET, WET, DRY)
    assert "today" in said(dry_verdict, DRY, WET, WET)
    assert re.match("no,|not one", said(dry_verdict, WET, WET))
    assert "tomorrow" in said(best_verdict, WET, (21, 12, 5, "clear sky"), DRY, units=Units())
    assert "an umbrella and a jacket" in said(packing_verdict, WET, DRY)
    assert "light clothes and sunscreen" in said(packing_verdict, (30, 22, 0, "clear sky"))
    tied = said(lambda speaker, span: extreme_clause(speaker, "warmest", span, Units()), DRY, WET, DRY)
    assert "today and Wednesday" in tied
    assert "14 °C" in tied


def test_the_mood_of_days_is_their_weather() -> None:
    def mood(*days: tuple[int, int, int, str]) -> str:
        return Span(days_from(MONDAY, *days), MONDAY, "").mood

    assert [mood(WET, WET, DRY), mood(WET, DRY, DRY), mood(DRY, DRY)] == ["wet", "mixed", "dry"]
    assert [mood((35, 25, 0, "clear sky")), mood((-2, -9, 0, "clear sky"))] == ["hot", "cold"]
    assert [mood((-2, -9, 90, "snow")), mood(DRY, (20, 9, 90, "thunderstorm"))] == ["snow", "storm"]


def test_choices_expand_and_broken_ones_are_named() -> None:
    assert {expand(Random(seed), "a [b|c [d|e]]") for seed in range(40)} == {"a b", "a c d", "a c e"}
    with pytest.raises(WeathermanError, match="unbalanced"):
        expand(Random(1), "a [b")


def test_a_line_without_tags_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# fine\nany | fine\nnot fine\n", encoding="utf-8")
    with pytest.raises(WeathermanError, match=r"bad.txt:3"):
        read_bank(path)


SIZES = {"twain": 1200, "franklin": 800, "satire": 800, "neutral": 600}
PLACEHOLDERS = {
    "report": {"place", "temp", "sky"}, "wind": {"wind", "dir"}, "humidity": {"humidity"}, "feels": {"feels"},
    "forecast_day": {"day", "high", "low", "sky"}, "forecast_rain": {"day", "chance"}, "forecast_intro": {"place", "span"},
    "compare": {"a", "b", "diff"}, "compare_even": {"a", "b", "temp"}, "clamp": {"limit", "asked"},
    "notfound": {"place"}, "far": {"limit", "asked"}, "range": {"low", "high", "top"},
}  # fmt: skip
# What a fragment needs by its tag, and where a bank leaves it a choice.
BY_TAG = {
    "course": {
        "wet wet-again unsure": [{"on", "what", "odds"}],
        "rain rain-again snow snow-again": [{"on", "odds"}],
        "clear clear-after gray gray-after fair fair-after": [{"on"}],
        "all-clear all-gray all-fair": [{"what", "odds"}],
    },
    "extreme": {
        "warmest": [{"day", "high"}, {"on", "high"}],
        "coldest": [{"day", "low"}, {"on", "low"}],
        "wettest": [{"day", "what", "chance"}, {"on", "what", "chance"}],
    },
}


@pytest.mark.parametrize("persona", PERSONAS)
def test_banks_are_large_and_every_fragment_holds_what_its_slot_needs(persona: str) -> None:
    slots = sorted(path.stem for path in (VOICES / persona).glob("*.txt"))
    fragments = {slot: bank(persona, slot) for slot in slots}
    assert sum(map(len, fragments.values())) >= SIZES[persona]
    texts = Counter(fragment.text for found in fragments.values() for fragment in found)
    assert [text for text, count in texts.items() if count > 1] == []
    for slot, found in fragments.items():
        for fragment in found:
            assert fragment.text.count("[") == fragment.text.count("]"), fragment
            names = set(re.findall(r"\{(\w+)\}", fragment.text))
            if slot in ("correction",):
                assert names <= {"place"}, fragment
            elif slot == "ask":
                assert {"options"} <= names <= {"options", "place"}, fragment
            elif slot in BY_TAG:
                allowed = [choice for tags, choice in BY_TAG[slot].items() if set(fragment.tags) & set(tags.split())]
                assert allowed, (slot, fragment)
                assert all(names in choice for choice in allowed), (slot, fragment)
            else:
                assert names == PLACEHOLDERS.get(slot, set()), (slot, fragment)
            if slot != "statistic":
                assert not re.search(r"\d", fragment.text), (slot, fragment)


def test_lore_is_about_different_things_on_both_sides() -> None:
    keys = [topic.key for topic in topics()]
    assert len(keys) == len(set(keys)) >= 60
    held_out = [key for key in keys if is_held_out("lore", key, 42)]
    assert 3 <= len(held_out) < 20
    assert all(len(topic.questions) >= 2 and len(topic.parts) == 3 for topic in topics())


def test_the_gazetteer_names_real_places_once() -> None:
    places = {city.name: city for city in cities()}
    assert len(places) == len(cities()) > 2000
    assert (places["Lisbon"].latitude, places["Lisbon"].longitude) == (
        pytest.approx(38.72, abs=0.05),
        pytest.approx(-9.13, abs=0.05),
    )
    assert len(namesakes()["Springfield"]) >= 2
    assert not set(namesakes()) & set(places)


def test_large_cities_are_drawn_more_often_but_not_in_proportion() -> None:
    pool = CityPool([City("A", "", "X", 0, 0, 4_000_000), City("B", "", "X", 0, 0, 1_000_000)])
    rng = Random(2)
    share = sum(pool.draw(rng, 1)[0].name == "A" for _ in range(4000)) / 4000
    assert share == pytest.approx(2 / 3, abs=0.03)
    assert sorted(city.name for city in pool.draw(rng, 2)) == ["A", "B"]
    assert math.isclose(sum(PERSONA_SHARES.values()), 100.1)
