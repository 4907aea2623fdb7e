"""A simulated world with a fixed seed, and what an earlier run of this package made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np

from pmg_eval import did, recidivism, resample
from pmg_eval.panel import Panel
from pmg_eval.recidivism import Simulation
from pmg_eval.verify._case import Case

SEED = 20_261_124


@cache
def _world() -> Simulation:
    return recidivism.simulate(n_persons=3_000, n_areas=80, rng=SEED)


def _canary() -> Mapping[str, Any]:
    """One draw from every law that the simulator uses: numpy may change them, and then its worlds are others."""
    rng = np.random.default_rng(SEED)
    return {
        "random": rng.random(),
        "standard_normal": rng.standard_normal(),
        "gamma": rng.gamma(2.5, 2.0),
        "poisson": float(rng.poisson(40.0)),
        "small poisson": float(rng.poisson(3.0)),
        "binomial": float(rng.binomial(50, 0.4)),
        "exponential": rng.standard_exponential(),
        "uniform": rng.uniform(-1.0, 1.0),
        "child": rng.spawn(2)[1].random(),
    }


def _checksum(values: Any) -> float:
    """A whole number below 2^48 from the SHA-256 of whole numbers written one a line."""
    text = "\n".join(str(int(value)) for value in values)
    return float(int.from_bytes(sha256(text.encode()).digest()[:6], "big"))


def _areas() -> Mapping[str, Any]:
    table = _world().area_year.sort_values(["area_code", "year"])
    return {
        "suspects": float(table["suspects"].sum()),
        "person-years": float(table["person_years"].sum()),
        "treated areas": float(table.loc[np.isfinite(table["cohort"]), "area_code"].nunique()),
        "checksum of 1,120 counts": _checksum(table["suspects"]),
    }


def _persons() -> Mapping[str, Any]:
    world = _world()
    table = world.spell_table()
    return {
        "new cases": float(len(world.event)),
        "persons": float(len(table)),
        "true rate ratio": world.truth_effects().set_index("unit")["ratio"].to_dict()["overall"],
    }


def _poisson() -> Mapping[str, Any]:
    fitted = did.imputation(_world().panel(), "suspects", family="poisson")
    overall, study = fitted.average(), fitted.average(by="event_time")
    found = {"rate ratio": overall.values[0], "standard error": overall.se[0]}
    for event_time in range(3):
        row = study.where(event_time=event_time)
        found |= {f"event time {event_time}": row.values[0], f"event time {event_time} SE": row.se[0]}
    return found


def _group_time() -> Mapping[str, Any]:
    fitted = did.group_time(_world().panel(), "suspects", family="poisson").average()
    return {"rate ratio": fitted.values[0], "standard error": fitted.se[0]}


def _overall(panel: Panel, outcome: str) -> Any:
    return did.imputation(panel, outcome).average()


def _jackknife() -> Mapping[str, Any]:
    left_out = resample.jackknife(_overall, _world().panel(), "suspects")
    return {"estimate": left_out.values[0], "standard error": left_out.se[0]}


def _incidence() -> Mapping[str, Any]:
    curves = recidivism.cumulative_incidence(_world().spells(), horizons=[365, 730])
    table = curves.to_frame()
    table = table[(table["outcome"] == "recidivism") & table["estimate"].notna()]
    found: dict[str, Any] = {}
    for row in table.to_dict("records"):
        name = f"{row['group']}, day {row['horizon']}"
        found |= {name: row["estimate"], f"{name}, SE": row["std_error"]}
    return found


_COMPUTED = {
    "simulator/areas": ("counts of 80 simulated municipalities, 2012-2025", _areas, 1e-12),
    "simulator/persons": ("3,000 simulated persons, and the true effect", _persons, 1e-12),
    "simulator/poisson-imputation": ("Poisson imputation in the simulated world", _poisson, 1e-9),
    "simulator/poisson-group-time": ("Poisson group-time effects in the simulated world", _group_time, 1e-9),
    "simulator/jackknife": ("jackknife over 80 simulated areas", _jackknife, 1e-9),
    "simulator/cumulative-incidence": ("cumulative incidence of simulated persons by cohort", _incidence, 1e-9),
}


@cache
def _stored() -> Mapping[str, Any]:
    text = files("pmg_eval.verify").joinpath("stored.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def _other_numbers() -> str:
    """Whether this numpy draws other random numbers than the one that made the stored results."""
    drawn, known = _canary(), _stored()["canary"]
    same = all(abs(drawn[name] - known[name]) <= 1e-12 * abs(known[name]) for name in known)
    return "" if same else "this numpy draws other random numbers than the one of the stored results"


def renewed() -> str:
    """The text of ``stored.json`` as this version would write it (for developers, after a change on purpose)."""
    results = {name: {key: float(value) for key, value in run().items()} for name, (_, run, _) in _COMPUTED.items()}
    content = {
        "schema": "pmg-eval-stored/1",
        "seed": SEED,
        "numpy": np.__version__,
        "canary": {name: float(value) for name, value in _canary().items()},
        "results": results,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def cases() -> tuple[Case, ...]:
    """Cases that compare with the stored results."""
    saved = _stored()
    return tuple(
        Case(
            name,
            "stored",
            what,
            f"pmg_eval with numpy {saved['numpy']}, seed {saved['seed']}",
            run,
            saved["results"][name],
            tolerance,
            skip=_other_numbers,
        )
        for name, (what, run, tolerance) in _COMPUTED.items()
    )
