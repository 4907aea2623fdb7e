"""Mutated data frames: half of them harmless (the clean numbers, exactly), the others repairable or fatal.

``draw(index)`` gives the clean call, the mutated call and the mutation; the same index gives the same frames. A
harmless mutation must leave every number of the panel, and so of every estimator, as it is; ``repaired`` is the call
that the message of a repairable one asks for.

>>> drawn = draw(4)
>>> drawn.mutation.label
'harmless'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from bad_input.cases import Call

Rng: TypeAlias = np.random.Generator
Label = Literal["harmless", "repairable", "fatal"]


@dataclass(frozen=True)
class Mutation:
    """``apply(call, rng)`` builds the mutated call; ``code`` is the error, "" for harmless ones.

    ``relabels``: unit labels or the kind of the periods change (the arrays do not).
    """

    name: str
    label: Label
    apply: Callable[[Call, Rng], Call]
    code: str = ""
    repair: Callable[[Call], Call] | None = None
    relabels: bool = False


@dataclass(frozen=True)
class Drawn:
    index: int
    clean: Call
    mutated: Call
    mutation: Mutation

    @property
    def repaired(self) -> Call | None:
        return None if self.mutation.repair is None else self.mutation.repair(self.mutated)


def random_call(rng: Rng) -> Call:
    """A sound panel: 12-40 units, 4-9 years, two waves; values that single precision holds exactly."""
    units, years = int(rng.integers(12, 41)), int(rng.integers(4, 10))
    first = int(rng.integers(2000, 2015))
    ids = np.repeat(np.sort(rng.choice(np.arange(1, 500), units, replace=False)), years)
    time = np.tile(np.arange(first, first + years), units)
    waves = rng.choice(np.arange(first + 1, first + years), 2, replace=years == 2)
    unit_wave = rng.permutation(np.resize([int(waves[0]), int(waves[1]), 0], units))
    wave = np.repeat(unit_wave, years)
    y = rng.normal(size=units * years) + ((wave > 0) & (time >= wave))
    frame = pd.DataFrame(
        {
            "id": ids,
            "year": time,
            "wave": wave,
            "y": np.round(y * 1024) / 1024,
            "count": rng.integers(0, 200, units * years),
            "x": rng.integers(-50, 50, units * years) / 8,
            "people": rng.integers(500, 60_000, units * years).astype(float),
            "w": np.repeat(rng.integers(1, 9, units) / 4, years),
            "area": np.repeat(rng.choice(["North", "South", "East"], units), years),
        }
    )
    roles: dict[str, Any] = {"unit": "id", "time": "year", "cohort": "wave", "never": 0, "exposure": "people"}
    for role, column in (("weight", "w"), ("region", "area"), ("cluster", "area")):
        if rng.random() < 0.5:
            roles[role] = column
    return Call(frame, roles, outcome=str(rng.choice(["y", "count"])), columns=("x",))


MUTATIONS: list[Mutation] = []


def _add(
    name: str, label: Label, frame: Callable[[pd.DataFrame, Rng], Any], code: str = "", *, relabels: bool = False,
    repair: Callable[[Call], Call] | None = None, drop: tuple[str, ...] = (), **roles: Any,
) -> None:  # fmt: skip
    def apply(call: Call, rng: Rng) -> Call:
        return call.with_(frame(call.frame, rng), drop=drop, **roles)

    MUTATIONS.append(Mutation(name, label, apply, code, repair, relabels))


def _outcome(
    name: str, label: Label, change: Callable[[pd.Series[Any], Rng], Any], code: str = "",
    repair: Callable[[Call], Call] | None = None,
) -> None:  # fmt: skip
    def apply(call: Call, rng: Rng) -> Call:
        frame = call.frame.copy()
        frame[call.outcome] = change(frame[call.outcome], rng)
        return call.with_(frame)

    MUTATIONS.append(Mutation(name, label, apply, code, repair))


def _columns(**change: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame, Rng], pd.DataFrame]:
    return lambda frame, rng: frame.assign(**change)


def _cells(column: str, value: Any, share: float = 0.05) -> Callable[[pd.DataFrame, Rng], pd.DataFrame]:
    """Some cells (at least one) of a column replaced."""

    def change(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        values = frame[column]
        if isinstance(value, float) and pd.api.types.is_integer_dtype(values):
            values = values.astype(float)
        return frame.assign(**{column: values.mask(_some(len(frame), rng, share), value)})

    return change


def _some(rows: int, rng: Rng, share: float = 0.05) -> Any:
    mask = rng.random(rows) < share
    mask[rng.integers(rows)] = True
    return mask


def _dates(values: pd.Series[Any], month_day: str = "01-01") -> pd.Series[Any]:
    text = values.where(values > 0).astype("Int64").astype("string") + "-" + month_day
    return pd.to_datetime(text, format="%Y-%m-%d")


def _wave_objects(frame: pd.DataFrame) -> pd.Series[Any]:
    return pd.Series([wave or np.inf for wave in frame["wave"].tolist()], index=frame.index, dtype=object)


def _mixed(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    mask = _some(len(frame), rng, 0.3)
    ids = [str(value) if text else int(value) for value, text in zip(frame["id"], mask, strict=True)]
    ids[0], ids[-1] = int(frame["id"].iloc[0]), str(frame["id"].iloc[-1])
    return frame.assign(id=pd.Series(ids, dtype=object, index=frame.index))


def _one_wave_varies(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    row = int(rng.integers(len(frame)))
    other = frame["year"].max() + 1  # differs from every wave
    return frame.assign(wave=frame["wave"].mask(np.arange(len(frame)) == row, other))


def _reversal(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    on = (frame["wave"] > 0) & (frame["year"] >= frame["wave"])
    unit = rng.choice(frame.loc[on, "id"].unique())
    off = (frame["id"] == unit) & (frame["year"] == frame["year"].max())
    back = (frame["id"] == unit) & (frame["year"] == frame["year"].max() - 1)
    return frame.assign(on=((on | back) & ~off).astype(int))


def _path(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    return frame.assign(on=(frame["wave"] > 0) & (frame["year"] >= frame["wave"]))


def _same_wave(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    return frame.assign(wave=int(frame["year"].max()))


def _duplicates(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    return pd.concat([frame, frame[_some(len(frame), rng)]])


def _pairwise(call: Call) -> Call:
    return call.with_(missing="pairwise")


def _pairwise_text(call: Call) -> Call:
    numbers = call.frame[call.outcome].str.replace(",", ".").astype(float)
    return call.with_(call.frame.assign(**{call.outcome: numbers}))


def _map_frame(change: Callable[[pd.DataFrame], Any]) -> Callable[[Call], Call]:
    return lambda call: call.with_(change(call.frame))


# ---- harmless ------------------------------------------------------------------------------------------------------

_add("clean", "harmless", lambda frame, rng: frame)
_add("shuffled rows", "harmless", lambda frame, rng: frame.sample(frac=1, random_state=int(rng.integers(10**6))))
_add("reversed rows", "harmless", lambda frame, rng: frame.iloc[::-1])
_add("sorted by year", "harmless", lambda frame, rng: frame.sort_values(["year", "y"]))
_add("shuffled columns", "harmless", lambda frame, rng: frame[list(rng.permutation(frame.columns))])
_add("duplicated index", "harmless", lambda frame, rng: frame.set_axis(np.zeros(len(frame), dtype=int)))
_add("text index", "harmless", lambda frame, rng: frame.set_axis([f"r{row}" for row in rng.permutation(len(frame))]))
_add("two-level index", "harmless", lambda frame, rng: frame.set_index(["id", "year"], drop=False))
_add("split and joined", "harmless", lambda frame, rng: pd.concat([frame.iloc[7:], frame.iloc[:7]]))
_add("int32", "harmless", lambda frame, rng: frame.astype({"id": "int32", "year": "int32", "wave": "int32"}))
_add("unsigned", "harmless", lambda frame, rng: frame.astype({"id": "uint16", "year": "uint16", "wave": "uint16"}))
_add("nullable", "harmless", lambda frame, rng: frame.convert_dtypes())
_add("arrow backed", "harmless", lambda frame, rng: frame.convert_dtypes(dtype_backend="pyarrow"))
_add("polars", "harmless", lambda frame, rng: pl.DataFrame({name: frame[name].tolist() for name in frame}))
_add("pyarrow", "harmless", lambda frame, rng: pa.table({name: frame[name].tolist() for name in frame}))
_add("float ids", "harmless", _columns(id=lambda df: df["id"].astype(float)))
_add("float years", "harmless", _columns(year=lambda df: df["year"].astype("float32")))
_add("object ids", "harmless", _columns(id=lambda df: df["id"].astype(object)))
_add("object years", "harmless", _columns(year=lambda df: df["year"].astype(object)))
_add("object waves", "harmless", _columns(wave=_wave_objects))
_add("category ids", "harmless", _columns(id=lambda df: pd.Categorical(df["id"], categories=range(600))))
_add("category years", "harmless", _columns(year=lambda df: pd.Categorical(df["year"], ordered=True)))
_add("category area", "harmless", _columns(area=lambda df: pd.Categorical(df["area"])))
_add("huge ids", "harmless", _columns(id=lambda df: df["id"] + 2**53), relabels=True)
_add("text ids", "harmless", _columns(id=lambda df: df["id"].map("GM{:04d}".format)), relabels=True)
_add("padded text ids", "harmless", _columns(id=lambda df: df["id"].map("{:05d}".format)), relabels=True)
_add("never inf", "harmless", _columns(wave=lambda df: df["wave"].replace(0, np.inf)), drop=("never",))
_add("never missing", "harmless", _columns(wave=lambda df: df["wave"].where(df["wave"] > 0)), never=None)
_add("never -9", "harmless", _columns(wave=lambda df: df["wave"].replace(0, -9)), never=-9)
_add("treatment path", "harmless", _path, drop=("cohort", "never"), treatment="on")
_add(
    "periods", "harmless", relabels=True, never=None,
    frame=_columns(
        year=lambda df: _dates(df["year"]).dt.to_period("Y"), wave=lambda df: _dates(df["wave"]).dt.to_period("Y")
    ),
)  # fmt: skip
_add(
    "dates", "harmless", relabels=True, never=None, freq="Y",
    frame=_columns(year=lambda df: _dates(df["year"], "07-01"), wave=lambda df: _dates(df["wave"])),
)  # fmt: skip
_add(
    "dates as objects", "harmless", relabels=True, never=None, freq="Y",
    frame=_columns(year=lambda df: _dates(df["year"]).dt.date, wave=lambda df: _dates(df["wave"])),
)  # fmt: skip
_add(
    "unrelated columns", "harmless", lambda frame, rng: frame.assign(empty=np.nan, words="a", lists=[[1]] * len(frame))
)
_outcome("float32 outcome", "harmless", lambda y, rng: y.astype("float32"))
_outcome("object outcome", "harmless", lambda y, rng: y.astype(object))
_outcome("decimal outcome", "harmless", lambda y, rng: pd.Series([Decimal(str(value)) for value in y], index=y.index))
_outcome("Float64 outcome", "harmless", lambda y, rng: y.astype("Float64"))

# ---- repairable: the error says what to declare or to correct ------------------------------------------------------

_add(
    "repeated rows",
    "repairable",
    _duplicates,
    "PMG-DUPLICATE",
    repair=_map_frame(lambda frame: frame.drop_duplicates()),
)
_outcome("missing outcome", "repairable", lambda y, rng: y.mask(_some(len(y), rng)), "PMG-OUTCOME-MISSING", _pairwise)
_outcome(
    "NA outcome", "repairable", lambda y, rng: y.astype("Float64").mask(_some(len(y), rng)), "PMG-OUTCOME-MISSING",
    _pairwise,
)  # fmt: skip
_outcome(
    "decimal comma", "repairable", lambda y, rng: y.map(lambda value: f"{value:.3f}".replace(".", ",")),
    "PMG-OUTCOME-TEXT", _pairwise_text,
)  # fmt: skip
_add("missing covariate", "repairable", _cells("x", np.nan), "PMG-COVARIATE-MISSING", repair=_pairwise)
_add("missing exposure", "repairable", _cells("people", np.nan), "PMG-EXPOSURE-MISSING", repair=_pairwise)
_add("absent rows", "repairable", lambda df, rng: df[~_some(len(df), rng)], "PMG-ROW-ABSENT", repair=_pairwise)
_add(
    "zero undeclared", "repairable", lambda frame, rng: frame, "PMG-COHORT-RANGE", drop=("never",),
    repair=lambda call: call.with_(never=0),
)  # fmt: skip
_add(
    "missing cohort undeclared", "repairable", _columns(wave=lambda df: df["wave"].where(df["wave"] > 0)),
    "PMG-COHORT-MISSING", drop=("never",), repair=lambda call: call.with_(never=None),
)  # fmt: skip
_add(
    "start inside a year", "repairable", _columns(wave=lambda df: df["wave"] + 0.25 * (df["wave"] > 0)),
    "PMG-PARTIAL-PERIOD", repair=lambda call: call.with_(partial_period="share"),
)  # fmt: skip
_add(
    "dates without freq", "repairable",
    _columns(year=lambda df: _dates(df["year"]), wave=lambda df: _dates(df["wave"])),
    "PMG-FREQ", never=None, repair=lambda call: call.with_(freq="Y"),
)  # fmt: skip
_add(
    "text years", "repairable", _columns(year=lambda df: df["year"].astype(str)), "PMG-TIME-TYPE",
    repair=_map_frame(lambda frame: frame.assign(year=frame["year"].astype(int))),
)  # fmt: skip
_add(
    "text waves", "repairable", _columns(wave=lambda df: df["wave"].astype(str)), "PMG-COHORT-TYPE",
    repair=_map_frame(lambda frame: frame.assign(wave=frame["wave"].astype(int))),
)  # fmt: skip
_add(
    "keys in the index", "repairable", lambda frame, rng: frame.set_index(["id", "year"]), "PMG-COLUMN",
    repair=_map_frame(lambda frame: frame.reset_index()),
)  # fmt: skip

# ---- fatal ---------------------------------------------------------------------------------------------------------

_add("conflicting rows", "fatal", lambda df, rng: pd.concat([df, df.iloc[[3]].assign(y=9.0)]), "PMG-DUPLICATE")
_add("wave varies", "fatal", _one_wave_varies, "PMG-COHORT-VARIES")
_add("wave -1", "fatal", _columns(wave=lambda df: df["wave"].replace(0, -1)), "PMG-COHORT-RANGE")
_add("wave true/false", "fatal", _columns(wave=lambda df: df["wave"] > 0), "PMG-COHORT-TYPE")
_add("switched off", "fatal", _reversal, "PMG-REVERSAL", drop=("cohort", "never"), treatment="on")
_add(
    "codes 1 and 2", "fatal", lambda frame, rng: frame.assign(on=_path(frame, rng)["on"] + 1), "PMG-TREATMENT-CODES",
    drop=("cohort", "never"), treatment="on",
)  # fmt: skip
_add("mixed ids", "fatal", _mixed, "PMG-UNIT-MIXED")
_add("id missing", "fatal", _cells("id", np.nan), "PMG-UNIT-MISSING")
_add("id with a fraction", "fatal", _cells("id", 3.5), "PMG-UNIT-TYPE")
_add("year missing", "fatal", _cells("year", np.nan), "PMG-TIME-MISSING")
_add("year with a fraction", "fatal", _cells("year", 2010.5), "PMG-TIME-TYPE")
_add("year-month numbers", "fatal", _columns(year=lambda df: df["year"] * 100 + 1), "PMG-TIME-TYPE")
_add("text categories", "fatal", _columns(year=lambda df: df["year"].astype(str).astype("category")), "PMG-TIME-TYPE")
_add("period against integers", "fatal", _columns(wave=lambda df: _dates(df["wave"])), "PMG-COHORT-TYPE", never=None)
_add("quarters of integers", "fatal", lambda frame, rng: frame, "PMG-FREQ", freq="Q")
_add("nobody treated", "fatal", _columns(wave=lambda df: 0), "PMG-NO-TREATED")
_add("everybody at once", "fatal", _same_wave, "PMG-NO-CONTROL")
_add("negative weight", "fatal", _cells("w", -1.0), "PMG-WEIGHT", weight="w")
_add("zero exposure", "fatal", _cells("people", 0.0), "PMG-EXPOSURE")
_add("infinite exposure", "fatal", _cells("people", np.inf), "PMG-EXPOSURE")
_add("missing cluster", "fatal", _cells("area", None), "PMG-CLUSTER", cluster="area", drop=("region",))
_add("unknown column", "fatal", lambda frame, rng: frame.rename(columns={"wave": "Wave"}), "PMG-COLUMN")
_add("column twice", "fatal", lambda frame, rng: pd.concat([frame, frame[["wave"]]], axis=1), "PMG-COLUMN")
_add("no rows", "fatal", lambda frame, rng: frame.iloc[:0], "PMG-EMPTY")
_add("one year", "fatal", lambda frame, rng: frame[frame["year"] == frame["year"].max()], "PMG-ONE-PERIOD")
_outcome(
    "infinite outcome",
    "fatal",
    lambda y, rng: y.astype(float).mask(_some(len(y), rng), -np.inf),
    "PMG-OUTCOME-INFINITE",
)
_outcome("empty outcome", "fatal", lambda y, rng: np.nan, "PMG-OUTCOME-EMPTY")
_outcome("constant outcome", "fatal", lambda y, rng: 7, "PMG-OUTCOME-CONSTANT")
_outcome("zero outcome", "fatal", lambda y, rng: 0, "PMG-OUTCOME-ZERO")
_outcome("text outcome", "fatal", lambda y, rng: y.astype(object).mask(_some(len(y), rng), "x"), "PMG-OUTCOME-TEXT")
_outcome("complex outcome", "fatal", lambda y, rng: y + 1j, "PMG-OUTCOME-TYPE")
_outcome("dates as outcome", "fatal", lambda y, rng: pd.Timestamp("2020-01-01"), "PMG-OUTCOME-TYPE")

_OF: dict[str, list[Mutation]] = {
    label: [mutation for mutation in MUTATIONS if mutation.label == label]
    for label in ("harmless", "repairable", "fatal")
}
_TURN = ("harmless", "repairable", "harmless", "fatal")


def draw(index: int) -> Drawn:
    """The frame of this number: half of them harmless, a quarter repairable, a quarter fatal; each list in turn."""
    rng = np.random.default_rng([20_240_501, index])
    label = _TURN[index % len(_TURN)]
    options = _OF[label]
    turn = index // 2 if label == "harmless" else index // 4
    mutation = options[turn % len(options)]
    clean = random_call(rng)
    mutated = mutation.apply(clean, rng)
    if label != "harmless" and isinstance(mutated.frame, pd.DataFrame) and rng.random() < 0.5:
        # a disturbance that must not matter, on top
        mutated = mutated.with_(mutated.frame.sample(frac=1, random_state=int(rng.integers(10**6))))
    return Drawn(index, clean, mutated, mutation)
