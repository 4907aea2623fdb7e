"""Generated estimates and a fake evaluation: the report knows nouns, never an estimator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pmg_eval.estimate import Draws, Estimate, Influence, Provenance, Rows, make_terms
from pmg_eval.estimate.scales import ScaleName
from unit.report import grown

UNITS = 80
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style></svg><iframe src=//evil>",
    '=HYPERLINK("//evil","x")',
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;&#60;",
    "<!-- --> ]]> <![CDATA[",
    "$x^$ \\alpha",
    "x" * 300,
    "漢字市 Ωμέγα 'q' é",
    "\u202egnp.exe",
    "nul\x00bell\x07esc\x1b[31m",
    "line\nbreak\ttab",
    "lone\ud800surrogate",
    "",
)


@dataclass(frozen=True)
class Fake:
    """What a page asks of an evaluation."""

    title: str
    outcome: str
    family: Any
    effects: Estimate[Any]
    areas: Estimate[Any]
    band: pd.DataFrame
    checks: pd.DataFrame
    agreement: Estimate[Any] | None
    agreement_table: pd.DataFrame
    waves: pd.DataFrame
    data: dict[str, Any]
    headline: str
    caveats: tuple[str, ...]
    provenance: Provenance
    kind: Any
    summary: tuple[str, ...]
    wave_agreement: pd.DataFrame
    area_agreement: pd.DataFrame
    hull: pd.DataFrame
    paths: pd.DataFrame
    recidivism: Estimate[Any] | None
    truth: pd.DataFrame | None
    inference: pd.DataFrame
    league: pd.DataFrame


def _influence(rng: np.random.Generator, n_treated: Sequence[int], size: float) -> Influence:
    k = len(n_treated)
    treated = np.zeros((UNITS, k))
    for column, many in enumerate(n_treated):
        treated[:many, column] = 1 / many
    psi = rng.normal(size=(UNITS, k)) * size * np.sqrt(UNITS)
    rows = pd.DataFrame({"unit": range(UNITS)})
    return Influence(Rows(left=psi), rows, UNITS, treated=Rows(left=treated), corrected=True)


def _effects(scale: ScaleName) -> Estimate[None]:
    rng = np.random.default_rng(1)
    times = list(range(-5, 5))
    unit = 1.0 if scale == "log" else 20.0
    log = np.r_[-0.09, -0.12, -0.06, -0.03, [0.02, -0.03, 0.01, 0.02, 0.0, -0.03, -0.06, -0.09, -0.12, -0.15]] * unit
    treated = [27, 15, 4, 8, *[27] * 7, 15, 15, 15]
    law = _influence(rng, treated, 0.04 * unit)
    assert law.psi.left is not None
    psi = law.psi.left.copy()
    psi[:, 4 + 4] = 0  # the reference period
    terms = make_terms(
        {
            "outcome": "suspects",
            "cohort": pd.array([None, 2022, 2023, 2024, *[None] * 10], dtype="Int64"),
            "event_time": pd.array([*[None] * 4, *times], dtype="Int64"),
            "group": ["overall", *["cohort"] * 3, *["event_time"] * 10],
            "n_treated": treated,
            "n_control": 53,
            "method": "jackknife",
            "status": [*[""] * 8, "reference", *[""] * 5],
        },
        14,
    )
    source = Provenance(
        "did.imputation",
        {"family": "poisson", "anticipation": 0},
        "ab" * 32,
        ("areas would have moved in parallel",),
        ("10.1093/restud/rdae007",),
        ("1 area dropped: Nowhere",),
    )
    values = np.exp(log) if scale == "log" else log
    return Estimate(values, terms, replace(law, psi=Rows(left=psi)), scale=scale, provenance=source)


def _areas(names: Sequence[Any], scale: ScaleName) -> Estimate[None]:
    rng = np.random.default_rng(2)
    k = len(names)
    size = rng.uniform(0.06, 0.3, k)
    log = rng.normal(-0.1, 0.2, k)
    values = np.exp(log) if scale == "log" else log
    errors = rng.normal(size=(1999, k)) * size * (values if scale == "log" else 1)
    terms = make_terms(
        {
            "outcome": "suspects",
            "unit": pd.Series(list(names), dtype=object),
            "cohort": [2022 + i % 3 for i in range(k)],
            "n_treated": 1,
            "n_control": 55,
            "n_placebo": 55,
            "p_min": 1 / 56,
            "interval": "placebo",
            "method": "placebo law",
        },
        k,
    )
    source = Provenance("did.imputation", {"draws": 1999}, "ab" * 32, seed=0)
    return Estimate(values, terms, Draws(errors, np.full(k, 1 / 56)), scale=scale, provenance=source)


def _evaluation(scale: ScaleName = "log", names: Sequence[Any] | None = None, words: str = "plain") -> Fake:
    names = [f"Area {i:02d}" for i in range(27)] if names is None else names
    effects = _effects(scale)
    one = 1.0 if scale == "log" else 0.0
    law = _influence(np.random.default_rng(3), [27], 0.02)
    contrast = make_terms({"contrast": ["group_time - imputation"]}, 1)
    checks = [
        ("pre-trend", f"Moved together {words}?", "p = 0.412", "pass"),
        ("placebo in time", "An effect before?", f"estimate 1.041 {words}", "attention"),
        ("randomization", "Other areas?", "fewer than two eligible areas", "not possible"),
    ]
    areas = _areas(names, scale)
    headline = f"Suspects were 8.6 % lower than expected {words}."
    return Fake(
        title=f"Youth suspects {words}",
        outcome=f"suspects {words}",
        family="poisson" if scale == "log" else "gaussian",
        effects=replace(effects, provenance=effects.provenance.noting(f"noted {words}")),
        areas=areas,
        band=effects.where(group="event_time").band(rng=0, draws=999),
        checks=pd.DataFrame(checks, columns=["check", "question", "finding", "verdict"], dtype=object),
        agreement=Estimate(np.array([one + 0.01]), contrast, law, scale=scale),
        agreement_table=pd.DataFrame(
            {
                "estimator": ["imputation", "group_time"],
                "estimate": [one - 0.09, one - 0.08],
                "conf_low": [one - 0.18, one - 0.17],
                "conf_high": [one + 0.01, one + 0.02],
            }
        ),
        waves=pd.DataFrame(
            {
                "cohort": [2022, 2023, 2024],
                "n_areas": [15, 4, 8],
                "first_period": ["2022", "2023", "2024"],
                "areas": [", ".join(str(name) for name in names[i::3]) for i in range(3)],
            },
            dtype=object,
        ),
        data={"areas": 80, "periods": 14, f"fact {words}": f"value {words}"},
        headline=headline,
        caveats=(f"placebo in time: read on {words}.",),
        provenance=Provenance(
            "evaluate",
            {"draws": 499, "eligible": [words]},
            "cd" * 32,
            (f"parallel {words}",),
            ("10.1162/rest_a_00759", f"not a doi {words}"),
            (),
            0,
        ),
        kind="one" if len(names) == 1 else "many",
        summary=(headline, f"3 methods say the same {words}.", "Of 3 checks, 1 asks for attention."),
        inference=grown.inference(scale),
        league=grown.league(names, scale),
        wave_agreement=grown.wave_agreement(scale),
        area_agreement=grown.area_agreement(areas, words),
        hull=grown.hull(names),
        paths=grown.paths(names, areas, scale),
        recidivism=grown.recidivism((f"wave 2022 {words}", "wave 2023", "comparison areas")),
        truth=grown.truth(areas),
    )


@pytest.fixture(scope="session")
def evaluation() -> Callable[..., Fake]:
    return _evaluation


@pytest.fixture(scope="session")
def effects() -> Callable[[ScaleName], Estimate[None]]:
    return _effects


@pytest.fixture(scope="session")
def areas() -> Callable[[Sequence[Any], ScaleName], Estimate[None]]:
    return _areas


@pytest.fixture(scope="session")
def payloads() -> tuple[str, ...]:
    return PAYLOADS
