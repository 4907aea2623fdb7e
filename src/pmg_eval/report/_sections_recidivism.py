"""Persons with a new event: the table of horizons."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmg_eval.estimate import Estimate
from pmg_eval.report._columns import Column, counts, remarks, table
from pmg_eval.report._incidence import group_words, horizon_words, share_interval, share_words, time_unit
from pmg_eval.report._like import INTERVAL, measured
from pmg_eval.report._tables import Table
from pmg_eval.report._words import clean


def horizons_table(estimate: Estimate[Any]) -> Table:
    """Share of persons with the event at every horizon, per group and kind of event."""
    frame, measure = measured(estimate)
    unit = time_unit(estimate)
    rows = [row for _, row in frame.iterrows()]
    columns: list[Column] = [("Group", [group_words(row) for row in rows], "")]
    if "outcome" in frame and frame["outcome"].nunique() > 1:
        columns.append(("Event", [clean(value) for value in frame["outcome"]], ""))
    ends = zip(frame["conf_low"], frame["conf_high"], strict=True)
    return table(
        "Share of persons with the event",
        [
            *columns,
            ("After", [horizon_words(row, unit) for row in rows], "number"),
            *counts(frame, "n_persons", "Persons"),
            *counts(frame, "n_events", "Events"),
            ("Share", [share_words(value) for value in frame["estimate"]], "number"),
            (INTERVAL, [share_interval(low, high) for low, high in ends], "number"),
            remarks(frame, measure),
        ],
    )


def recidivism_notes(estimate: Estimate[Any]) -> list[str]:
    """How to read the shares."""
    frame, _ = measured(estimate)
    notes = [
        "The share counts a person once, at the first event. It allows for persons whose follow-up ended early; it "
        "does not correct for differences between the groups in who belongs to them.",
    ]
    if "group" in frame and frame["group"].nunique() > 1:
        notes.append("A difference between groups here is not an effect of the programme.")
    if not np.isfinite(frame["estimate"]).all():
        notes.append("A dash means that follow-up is too short for that horizon.")
    return notes


__all__ = ["horizons_table", "recidivism_notes"]
