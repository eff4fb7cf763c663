"""Real places with true coordinates (GeoNames, CC BY 4.0, extracted by scripts/extract_gazetteer.py)."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random

_FILE = Path(__file__).parent / "gazetteer.csv"
_POPULATION_POWER = 0.5  # large cities are asked about more often, but not in proportion
_MAX_TWINS = 4


@dataclass(frozen=True, slots=True)
class City:
    """A place; `region` is a state or province, where people name one."""

    name: str
    region: str
    country: str
    latitude: float
    longitude: float
    population: int

    @property
    def key(self) -> str:
        """Identifies the place in split groups."""
        return "-".join(f"{self.name} {self.region or self.country}".lower().split())

    @property
    def label(self) -> str:
        """The name that tells it from its namesakes: Springfield, Ohio."""
        return f"{self.name}, {self.region or self.country}"


@lru_cache(maxsize=1)
def _places() -> tuple[tuple[City, ...], dict[str, tuple[City, ...]], tuple[City, ...]]:
    main: list[City] = []
    twins: dict[str, list[City]] = defaultdict(list)
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            city = City(
                row["name"], row["region"], row["country"],
                float(row["latitude"]), float(row["longitude"]), int(row["population"]),
            )  # fmt: skip
            if row["pool"] == "main":
                main.append(city)
            else:
                twins[city.name].append(city)
    names = Counter(city.name for city in main)
    unique = tuple(city for city in main if names[city.name] == 1 and city.name not in twins)
    every = dict.fromkeys([*main, *(city for cities in twins.values() for city in cities)])
    return unique, {name: tuple(cities) for name, cities in twins.items()}, tuple(every)


def cities() -> tuple[City, ...]:
    """All places whose name means one place."""
    return _places()[0]


def namesakes() -> dict[str, tuple[City, ...]]:
    """Names shared by several places, with those places."""
    return _places()[1]


def all_places() -> tuple[City, ...]:
    """Every place, each once: also those that the builder leaves out since another large place has the same name."""
    return _places()[2]


class CityPool:
    """Places to draw from, larger ones more often.

    Args:
        places: the places.
    """

    def __init__(self, places: Iterable[City]) -> None:
        self.places = tuple(places)
        self._weights = tuple(accumulate(round(city.population**_POPULATION_POWER) for city in self.places))

    def draw(self, rng: Random, count: int) -> list[City]:
        """Draw different cities.

        Args:
            rng: the conversation's generator.
            count: how many.
        """
        drawn: list[City] = []
        while len(drawn) < count:
            city = rng.choices(self.places, cum_weights=self._weights)[0]
            if city not in drawn:
                drawn.append(city)
        return drawn


def draw_namesakes(rng: Random, names: tuple[str, ...]) -> list[City]:
    """Draw a shared name and two to four of its places, the largest first."""
    places = list(namesakes()[rng.choice(names)])
    chosen = rng.sample(places, min(len(places), rng.randint(2, _MAX_TWINS)))
    return sorted(chosen, key=lambda city: (-city.population, city.label))
