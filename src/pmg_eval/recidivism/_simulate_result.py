"""`Simulation`: the tables, and how to ask for a panel, for spells, and for the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.recidivism._simulate_codes import HORIZON, SELECTION_YEARS, SERIOUS, VERY_SERIOUS
from pmg_eval.recidivism._simulate_options import day_of
from pmg_eval.recidivism._simulate_spells import PERSON_GROUPS, index_days, spells_of

if TYPE_CHECKING:
    from pmg_eval.panel import Panel

PartialPeriod = Literal["treated", "drop"]
Criterion = Literal["general", "serious", "very_serious"]
TruthBy = Literal["unit", "cohort", "event_time"]
_MONTHS = {"general": 0, "serious": SERIOUS, "very_serious": VERY_SERIOUS}


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """A simulated register and panel, with the truth in separate tables. Nothing in it is about real persons or areas.

    Attributes
    ----------
    areas : DataFrame
        ``area_code, name, wave`` (1-3, 0 = not in the programme), ``plan_date, treated_from`` (execution),
        ``contaminated_from`` (municipalities added in 2024), ``dates_known, border_change, population, youth_12_24,
        rate_level`` (lasting rate relative to the country), ``selection_rate_per_1000`` (suspects per 1,000
        person-years of 2017-2021), ``x_km, y_km``.
    neighbors : DataFrame
        ``area_code, neighbor_code``, in both directions.
    area_year : DataFrame
        Per municipality and year: population on 1 January, person-years, suspects (12-24, and by age and kind),
        ``cohort`` (2023, 2023.5, 2024; +inf = never), ``contaminated_from`` (year), ``border_changed``.
    index_case, event, risk_interval, intervention, extract : DataFrame
        The register as known at the extract date; see ``docs/simulate.md`` for the columns.
    truth_area : DataFrame
        Per municipality and year, suspects aged 12-24: ``rate_per_1000_without, expected_without, expected_with,
        log_effect``, and the realized ``suspects_without, suspects_with`` (the latter is what ``area_year`` shows).
    truth_person : DataFrame
        Per person: days from the index case to the first new case that counts, and whether it falls within 730 days, in
        both worlds (``_without``, ``_with``); ``offended_730_*`` includes offences nobody registers.
    options : mapping
        Arguments of the call.
    """

    areas: pd.DataFrame
    neighbors: pd.DataFrame
    area_year: pd.DataFrame
    index_case: pd.DataFrame
    event: pd.DataFrame
    risk_interval: pd.DataFrame
    intervention: pd.DataFrame
    extract: pd.DataFrame
    truth_area: pd.DataFrame
    truth_person: pd.DataFrame
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        treated = int((self.areas["wave"] > 0).sum())
        first, last = self.options["years"]
        return (
            f"Simulation (not real data): {len(self.areas)} municipalities ({treated} treated), {first}-{last}; "
            f"{len(self.index_case):,} persons, {len(self.event):,} new cases known at {self.options['as_of']}; "
            f"effect {self.options['effect']:g}"
        )

    # ---- areas ----------------------------------------------------------------------------------------------------

    def panel(self, *, partial_period: PartialPeriod = "treated") -> Panel:
        """The municipalities as a panel: outcome columns are ``suspects`` and the like, exposure is person-years.

        Parameters
        ----------
        partial_period : {"treated", "drop"}
            Four areas start in the middle of 2023. ``"treated"`` (default): 2023 counts as treated, the panel stays
            balanced and the effect of these areas is diluted in that year, as it is in :meth:`truth_effects`.
            ``"drop"``: their row of 2023 is left out and 2024 is their first treated year.

        Returns
        -------
        Panel
            ``unit="area_code"``, ``time="year"``, ``cohort``, ``exposure="person_years"``, ``contaminated_from`` (2024
            for the 20 that were added), ``neighbors``; with ``selection=True`` the window 2017-2021 as
            ``selection_window``.

        Raises
        ------
        DataError
            PMG-OPTION.
        """
        from pmg_eval.panel import Panel

        _need("partial_period", partial_period, ("treated", "drop"))
        return Panel(
            self.area_year,
            unit="area_code",
            time="year",
            cohort="cohort",
            exposure="person_years",
            contaminated_from="contaminated_from",
            neighbors=self.neighbors,
            partial_period=partial_period,
            selection_window=SELECTION_YEARS if self.options["selection"] else None,
        )

    def truth_effects(self, *, by: TruthBy = "unit", partial_period: PartialPeriod = "treated") -> pd.DataFrame:
        r"""What the programme really did to suspects aged 12-24 in the treated years.

        .. math:: \text{ratio}=\frac{\sum_t\mu_{it}(1)}{\sum_t\mu_{it}(0)},\qquad
                  \text{difference}=\frac1T\sum_t\{\mu_{it}(1)-\mu_{it}(0)\}

        with :math:`\mu(1),\mu(0)` the expected suspects with and without the programme. The ratio is the rate ratio on
        the scale on which it is observed: years of phasing in are part of it.

        Parameters
        ----------
        by : {"unit", "cohort", "event_time"}
            Rows besides the overall one. Cohorts are first treated years.
        partial_period : {"treated", "drop"}
            As in :meth:`panel`, so that estimate and truth speak of the same years.

        Returns
        -------
        DataFrame
            The column named in ``by`` ("overall" in the last row), ``cohort`` (missing overall), ``ratio``,
            ``difference`` (suspects per area and year), ``expected_without, expected_with`` (sums), ``n_area_years``.

        Raises
        ------
        DataError
            PMG-OPTION.
        """
        _need("by", by, ("unit", "cohort", "event_time"))
        _need("partial_period", partial_period, ("treated", "drop"))
        start = self.area_year["cohort"].to_numpy(dtype=np.float64)
        cohort = np.floor(start) if partial_period == "treated" else np.ceil(start)
        truth = self.truth_area.assign(unit=self.truth_area["area_code"], cohort=cohort)
        truth = truth[truth["year"] >= truth["cohort"]]
        truth = truth.assign(cohort=truth["cohort"].astype(np.int64))
        truth["event_time"] = truth["year"] - truth["cohort"]
        labels = ["unit", "cohort"] if by == "unit" else [by]
        truth["n_area_years"] = 1
        sums = truth.groupby(labels, sort=True)[["expected_without", "expected_with", "n_area_years"]].sum()
        found: dict[str, Any] = {by: [*sums.index.get_level_values(by).tolist(), "overall"]}
        if by == "unit":
            found["cohort"] = pd.array([*sums.index.get_level_values("cohort").tolist(), None], dtype="Int64")
        without, with_programme, number = np.vstack([sums.to_numpy(), sums.sum().to_numpy()]).T
        found["ratio"] = with_programme / without
        found["difference"] = (with_programme - without) / number
        found |= {"expected_without": without, "expected_with": with_programme, "n_area_years": number.astype(np.int64)}
        return pd.DataFrame(found)

    def truth_table(
        self, *, scale: Literal["ratio", "difference"] = "ratio", partial_period: PartialPeriod = "treated"
    ) -> pd.DataFrame:
        """The true effects in the shape ``pe.evaluate(truth=...)`` asks for.

        Parameters
        ----------
        scale : {"ratio", "difference"}
            Rate ratios (``family="poisson"``), or suspects per area and year (``family="gaussian"``).
        partial_period : {"treated", "drop"}
            As in :meth:`panel`.

        Returns
        -------
        DataFrame
            ``unit, cohort, truth``: areas, then cohorts (no unit), then overall (neither).

        Raises
        ------
        DataError
            PMG-OPTION.
        """
        _need("scale", scale, ("ratio", "difference"))
        units = self.truth_effects(partial_period=partial_period)
        cohorts = self.truth_effects(by="cohort", partial_period=partial_period).iloc[:-1]
        areas, overall = units.iloc[:-1], units.iloc[-1:]
        return pd.DataFrame(
            {
                "unit": [*areas["unit"], *[None] * (len(cohorts) + 1)],
                "cohort": pd.array([*areas["cohort"], *cohorts["cohort"], None], dtype="Int64"),
                "truth": np.concatenate([part[scale].to_numpy() for part in (areas, cohorts, overall)]),
            }
        )

    # ---- persons --------------------------------------------------------------------------------------------------

    def spell_table(
        self, *, as_of: Any = None, registration_lag: int = 365, criterion: Criterion = "general"
    ) -> pd.DataFrame:
        """Days from the index case to the first new case that counts, death or emigration: input of ``pe.Spells``.

        Parameters
        ----------
        as_of : date, optional
            Extract date, not after that of the simulation (default). Only what was disposed of by then is known.
        registration_lag : int
            Days before the extract at which follow-up is cut off, because cases take their time to be registered and
            disposed of. Default 365; with 0 the last year looks better than it was.
        criterion : {"general", "serious", "very_serious"}
            New cases that count: all, or a statutory maximum of at least 4 or 8 years.

        Returns
        -------
        DataFrame
            ``person, exit`` (days, at least 1), ``event`` (1 = one of the causes), ``cause`` ("recidivism", "death",
            "emigration"; missing without an event), ``cohort`` (index year), ``area_code, wave, sex, age_band``. A
            case without an offence date counts from its registration. Persons whose clock starts at or after the cut
            are left out.

        Raises
        ------
        DataError
            PMG-OPTION.

        Notes
        -----
        Days in custody are part of the follow-up; ``risk_interval`` says which they are. No ``group`` is set: any of
        the last five columns can be one.
        """
        last = day_of(self.options["as_of"], "as_of")
        known = last if as_of is None else day_of(as_of, "as_of")
        _need("criterion", criterion, tuple(_MONTHS))
        if isinstance(registration_lag, bool) or not isinstance(registration_lag, int | np.integer):
            raise DataError("PMG-OPTION", f"registration_lag={registration_lag!r} must be a number of days")
        cut = known - int(registration_lag)
        if registration_lag < 0 or known > last or not (index_days(self.index_case) < cut).any():
            raise DataError(
                "PMG-OPTION",
                f"as_of={as_of!r} with registration_lag={registration_lag} leaves nothing to follow",
                fix=f"as_of not after {self.options['as_of']}, a lag of 0 or more, the cut after the first case",
            )
        return spells_of(self.index_case, self.event, self.risk_interval, known, cut, _MONTHS[criterion])

    def spells(self, *, group: Any = "cohort", **options: Any) -> Any:
        """:meth:`spell_table` as validated ``pe.Spells``.

        Parameters
        ----------
        group : column name or list of them, or None
            Any of ``cohort, area_code, wave, sex, age_band``.
        **options
            Of :meth:`spell_table`.
        """
        from pmg_eval.panel import Spells

        frame = self.spell_table(**options)
        return Spells(frame, person="person", exit="exit", event="event", cause="cause", group=group)

    def truth_recidivism(self, *, by: str | list[str] | None = "cohort") -> pd.DataFrame:
        """True two-year recidivism with and without the programme: shares of all persons, from potential outcomes.

        Parameters
        ----------
        by : column name or list of them, or None
            Any of ``cohort, wave, sex, age_band, area_code``. None: one row.

        Returns
        -------
        DataFrame
            The labels, ``n_persons``, ``without``, ``with``, ``difference`` (with minus without). Death and emigration
            end the risk, so the shares are cumulative incidences at 730 days; they are known for all persons, also
            where the extract is too early.

        Raises
        ------
        DataError
            PMG-OPTION.
        """
        labels = [] if by is None else [by] if isinstance(by, str) else list(by)
        for label in labels:
            _need("by", label, PERSON_GROUPS)
        outcomes = {f"recidivism_{HORIZON}_without": "without", f"recidivism_{HORIZON}_with": "with"}
        truth = self.truth_person[[*labels, *outcomes]].rename(columns=outcomes)
        if labels:
            groups = truth.groupby(labels, observed=True)
            found = groups[["without", "with"]].mean()
            found.insert(0, "n_persons", groups.size())
            found = found.reset_index()
        else:
            found = truth.mean().to_frame().T
            found.insert(0, "n_persons", len(truth))
        found["difference"] = found["with"] - found["without"]
        return found


def _need(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise DataError("PMG-OPTION", f"unknown {name}={value!r}", fix=f"one of {', '.join(allowed)}")
