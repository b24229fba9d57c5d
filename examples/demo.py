"""Simulated training data: parameters, then many simulations side by side, then one table of statistics.

A drone is hit by gusts while it lands. Each scenario says how hard the wind blows; a simulation flies it many times and
keeps where it touched down; the last task says what a model would learn from. `make demo` runs this. Everything follows
from `seed`, so a remote run gives exactly what a local one gives.
"""

import math
import random
import statistics
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from flytekit import task, workflow

SIMULATIONS = 4


@dataclass
class Scenario:
    name: str
    seed: int
    mean_wind: float  # metres per second
    gustiness: float  # standard deviation of a gust, metres per second


@dataclass
class Flights:
    scenario: str
    touchdowns: list[float]  # metres from the target
    airborne: timedelta  # of all flights together


@dataclass
class Row:
    scenario: str
    flights: int
    mean_error: float  # metres
    worst_error: float  # metres


class Dataset(NamedTuple):
    rows: list[Row]
    flights: int
    hit_rate: float  # share of flights that ended within 2 m of the target
    airborne: timedelta


@task
def draw_scenarios(seed: int, count: int) -> list[Scenario]:
    """Winds from calm to storm, the same for the same seed."""
    dice = random.Random(seed)
    return [
        Scenario(
            name=f"wind-{number}",
            seed=dice.randrange(2**31),
            mean_wind=round(2.5 * number + dice.random(), 3),
            gustiness=round(0.4 + 0.6 * number * dice.random(), 3),
        )
        for number in range(count)
    ]


@task
def simulate(scenario: Scenario, flights: int) -> Flights:
    """Flies the scenario: ten steps a second down from 30 m, steering against the drift it measured a step ago."""
    dice = random.Random(scenario.seed)
    touchdowns, steps = [], 0
    for _ in range(flights):
        height, drift, speed = 30.0, 0.0, 0.0
        while height > 0:
            gust = dice.gauss(scenario.mean_wind, scenario.gustiness)
            speed += 0.1 * (0.3 * gust - 0.8 * speed - 0.5 * drift)
            drift += 0.1 * speed
            height -= 0.1 * (1.0 + math.sqrt(height) / 2)
            steps += 1
        touchdowns.append(round(drift, 6))
    return Flights(scenario.name, touchdowns, timedelta(milliseconds=100 * steps))


@task
def summarise(simulations: list[Flights]) -> Dataset:
    """One row a scenario, and what they say together."""
    rows = [
        Row(
            scenario=simulation.scenario,
            flights=len(simulation.touchdowns),
            mean_error=round(statistics.fmean(map(abs, simulation.touchdowns)), 6),
            worst_error=max(map(abs, simulation.touchdowns)),
        )
        for simulation in simulations
    ]
    errors = [abs(metres) for simulation in simulations for metres in simulation.touchdowns]
    return Dataset(
        rows=rows,
        flights=len(errors),
        hit_rate=round(sum(error <= 2.0 for error in errors) / len(errors), 6),
        airborne=sum((simulation.airborne for simulation in simulations), timedelta()),
    )


@workflow
def training_data(seed: int = 7, flights: int = 50) -> Dataset:
    scenarios = draw_scenarios(seed=seed, count=SIMULATIONS)
    simulations = [simulate(scenario=scenarios[number], flights=flights) for number in range(SIMULATIONS)]
    return summarise(simulations=simulations)


if __name__ == "__main__":
    print(training_data())
