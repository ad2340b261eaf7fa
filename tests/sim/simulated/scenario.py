"""What a seed decides before the first event of a job: who takes part, in what weather, and what goes wrong."""

import dataclasses
import math
import random

from . import linear_work
from .faults import KINDS, Fault
from .network import Weather
from .worker import Plan

#: Every so many jobs one uses tables.
TABLES = 5
#: And of those with failures, in every so many a server and a worker are apart from the others.
SPLITS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One job. With `failing`, servers come, go, hang and die as `faults` say, and others go on for them."""

    seed: int
    weather: Weather
    servers: int
    shards: int
    plans: tuple[Plan, ...]
    group_commit: float
    replicas: int = 1
    failing: bool = False
    faults: tuple[Fault, ...] = ()
    heartbeat_timeout: float = math.inf
    replaces: bool = False

    @classmethod
    def of(cls, seed: int) -> "Scenario":
        """A job without copies, of which a server may be lost."""
        rng = random.Random(seed)
        servers = rng.randint(1, 3)
        lost = rng.random() < 0.12
        crash = Fault("crash", 3.0 * rng.random(), 0.0, rng.random(), rng.random())
        plans = tuple(_plan(rng) for _ in range(rng.randint(1, 4)))
        scenario = cls(
            seed=seed,
            weather=Weather.random(rng),
            servers=servers,
            shards=servers + rng.choice((0, 0, 0, 1, 3)),
            plans=plans,
            group_commit=rng.choice((0.0, 0.0, 0.01)),
            faults=(crash,) if lost else (),
            heartbeat_timeout=10.0 if lost else math.inf,
        )
        return scenario if seed % TABLES else scenario.with_tables()

    @classmethod
    def of_failures(cls, seed: int) -> "Scenario":
        """A job of which servers are lost, and hang, and join, and leave, and cannot reach each other."""
        rng = random.Random(seed * 7 + 3)
        if seed % SPLITS == 1:
            return cls.of_split(seed, rng)
        servers = rng.choice((1, 2, 2, 3, 3, 3, 4, 5))
        replicas = rng.choice((1, 2, 2, 2, 3, 3))
        plans = [_plan(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
        scenario = cls(
            seed=seed,
            weather=Weather.random(rng),
            servers=servers,
            shards=rng.choice((1, 1, 2, 2, 3, 4)),
            plans=tuple(_shortened(rng, plan) for plan in plans),
            group_commit=rng.choice((0.0, 0.01)),
            replicas=min(replicas, servers),
            failing=True,
            faults=_faults(rng, loses=replicas > 1 or rng.random() < 0.1),
            heartbeat_timeout=rng.choice((2.5, 3.0, 4.0)),
            replaces=rng.random() < 0.3,
        )
        if seed % TABLES:
            return scenario
        if scenario.replicas > 1:  # at what is special in tables, if it is met
            aimed = Fault("aimed crash", rng.random(), 3.0, rng.uniform(0.25, 0.625), rng.random())
            scenario = dataclasses.replace(scenario, faults=(*scenario.faults, aimed))
        return scenario.with_tables()

    @classmethod
    def of_split(cls, seed: int, rng: random.Random) -> "Scenario":
        """A job in which one who only reads stays with a primary that others have in their place by then."""
        joins = rng.random() < 0.4  # just when a copy has joined, in the place of one that is lost
        at, one = (0.1, 0.0) if joins else (0.3 + rng.random(), rng.uniform(0.4, 1.0))
        split = Fault("split", at, 3.0 + 2.0 * rng.random(), one, rng.random())
        loss = Fault("crash", 0.1 * rng.random(), 0.0, rng.random(), 0.0)  # noticed, so that another copy is made
        plan = Plan(staleness=None, iterations=rng.randint(12, 16), stall=0.5)
        scripts = (linear_work.only_read, linear_work.only_change)
        return cls(
            seed=seed,
            weather=dataclasses.replace(Weather.random(rng), drop=0.0),
            servers=3,
            shards=1 if joins else rng.randint(1, 2),
            plans=tuple(dataclasses.replace(plan, script=script) for script in scripts),
            group_commit=rng.choice((0.0, 0.01)),
            replicas=2,
            failing=True,
            faults=(loss, split) if joins else (split,),
            heartbeat_timeout=rng.choice((2.5, 3.0)),
        )

    def with_tables(self) -> "Scenario":
        """The same job, whose workers use tables too."""
        return dataclasses.replace(self, plans=tuple(dataclasses.replace(plan, tables=True) for plan in self.plans))


def _plan(rng: random.Random) -> Plan:
    return Plan(
        staleness=rng.choice((None, 0, 0, 1, 3, math.inf, math.inf)),
        iterations=rng.randint(0, 7),
        stall=rng.choice((0.02, 0.1, 0.5)),
        writes_only=rng.random() < 0.15,
        dies_at=1.5 * rng.random() if rng.random() < 0.1 else math.inf,
        returns=rng.random() < 0.2,
        replaced=rng.random() < 0.5,
    )


def _shortened(rng: random.Random, plan: Plan) -> Plan:
    """Fewer iterations, with more time between them in which something goes wrong."""
    staleness = rng.choice((None, 0, 0, 1, 1, 3, math.inf))
    stall = rng.choice((0.1, 0.5, 1.0))
    return dataclasses.replace(plan, staleness=staleness, iterations=rng.randint(1, 4), stall=stall, linear=True)


def _faults(rng: random.Random, *, loses: bool) -> tuple[Fault, ...]:
    kinds = rng.sample(
        [kind for kind in KINDS if kind != "split" and (loses or "crash" not in kind)], rng.randint(1, 4)
    )
    kinds += ["aimed crash"] * (loses and rng.random() < 0.7)
    faults = [
        Fault(rng.choice(kinds), 2.0 * rng.random(), 6.0 * rng.random() ** 2, rng.random(), rng.random())
        for _ in range(rng.randint(1, 5))
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))
