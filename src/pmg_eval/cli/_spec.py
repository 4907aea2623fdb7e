"""A specification: which file, what its columns mean, what is evaluated, what the results are called."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pmg_eval.cli._schema import problems, spec_schema
from pmg_eval.errors import DataError, Problem

_READING = ("sep", "decimal", "encoding", "na", "integers", "date_format")
_MISSING = "missing"  # what a specification writes for None


@dataclass(frozen=True)
class Source:
    """A file of rows, how it is read, and the roles of its columns.

    Attributes
    ----------
    file : Path
    sep : str
        Empty: a comma, or a tab for ``.tsv``.
    decimal, encoding : str
    na : tuple of str
        Texts that mean a missing number.
    integers : tuple of str
        Columns that are whole numbers although they are labels.
    date_format : str
        Empty: ISO dates.
    roles : dict
        Keyword arguments of ``Panel`` or ``Spells``, as they were written.
    """

    file: Path
    sep: str = ""
    decimal: str = "."
    encoding: str = "utf-8"
    na: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    date_format: str = ""
    roles: Mapping[str, Any] = field(default_factory=dict)

    def columns(self, *roles: str) -> tuple[str, ...]:
        """Names of the columns in these roles."""
        named = [self.roles[role] for role in roles if role in self.roles]
        return tuple(name for given in named for name in ([given] if isinstance(given, str) else given))


@dataclass(frozen=True)
class Spec:
    """A checked specification."""

    name: str
    data: Source
    evaluation: Mapping[str, Any]
    spells: Source | None
    horizons: tuple[int | str, ...]
    html: str
    json: str


def read_spec(path: Path) -> Spec:
    """Read and check a specification.

    Raises
    ------
    DataError
        PMG-FILE when it cannot be read; PMG-SPEC-SYNTAX when it is not TOML; PMG-SPEC-KEY, -TYPE, -VALUE with every
        problem found.
    """
    raw = _toml(path)
    wrong = problems(raw, spec_schema())
    for table in ("data", "spells"):
        given = raw.get(table, {})
        if isinstance(given, Mapping):
            wrong += _one_sign(given, f"[{table}] ")
    if wrong:
        raise DataError.of(wrong)
    spells = raw.get("spells")
    output = raw.get("output", {})
    return Spec(
        name=path.stem,
        data=source(raw["data"], path.parent),
        evaluation=raw["evaluation"],
        spells=None if spells is None else source(spells, path.parent, leave_out="horizons"),
        horizons=() if spells is None else tuple(spells.get("horizons", ())),
        html=output.get("html", f"{path.stem}.html"),
        json=output.get("json", f"{path.stem}.json"),
    )


def check_data(given: Mapping[str, Any]) -> None:
    """Check the table ``[data]`` alone, as the options of a command line give it.

    Raises
    ------
    DataError
        PMG-SPEC-KEY, PMG-SPEC-TYPE, PMG-SPEC-VALUE.
    """
    schema = spec_schema()
    wrong = problems(given, schema["properties"]["data"], schema) + _one_sign(given, "")
    if wrong:
        raise DataError.of(wrong)


def source(given: Mapping[str, Any], folder: Path, leave_out: str = "") -> Source:
    """The file and the roles of a checked table of a specification."""
    reading = {key: given[key] for key in _READING if key in given}
    reading |= {key: tuple(reading[key]) for key in ("na", "integers") if key in reading}
    roles = {key: value for key, value in given.items() if key not in (*_READING, "file", leave_out)}
    return Source(file=folder / given["file"], roles=roles, **reading)


def panel_options(data: Source) -> dict[str, Any]:
    """The roles as ``Panel`` takes them: ``"missing"`` is None, text dates are dates, labels have the units' type."""
    options = dict(data.roles)
    if options.get("never") == _MISSING:
        options["never"] = None
    elif isinstance(options.get("never"), str):
        del options["never"]  # a text code among dates: the reader wrote inf in its place
    if "selection_window" in options:
        options["selection_window"] = tuple(_date(value) for value in options["selection_window"])
    if "neighbors" in options and options["unit"] in data.integers:
        options["neighbors"] = {_number(unit): near for unit, near in options["neighbors"].items()}
    return options


def _toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise not_there(path, "specification") from None
    except UnicodeDecodeError:
        raise DataError("PMG-SPEC-SYNTAX", f"{path.name} is not UTF-8 text", fix="save it as UTF-8") from None
    except OSError as refused:
        raise DataError("PMG-FILE", f"{path.name} cannot be read: {refused.strerror}") from None
    try:
        loaded: dict[str, Any] = _plain(tomllib.loads(text))
    except tomllib.TOMLDecodeError as broken:
        raise DataError(
            "PMG-SPEC-SYNTAX", f"{path.name} is not TOML: {broken}", fix='text stands in quotes: outcome = "suspects"'
        ) from None
    return loaded


def _plain(value: Any) -> Any:
    """TOML's dates as text, so that a specification is JSON."""
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _one_sign(given: Mapping[str, Any], inside: str) -> list[Problem]:
    if given.get("decimal") == "," and given.get("sep", ",") == ",":
        fix = 'files with a decimal comma mostly have sep = ";"'
        return [Problem("PMG-SPEC-VALUE", f"{inside}sep and decimal are the same sign", (), fix)]
    return []


def _date(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return value  # Panel says what it takes


def _number(text: str) -> Any:
    return int(text) if text.lstrip("-").isdecimal() else text


def not_there(path: Path, what: str) -> DataError:
    """The error of a file that does not exist, with the name that was probably meant."""
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    fix = f"did you mean {close[0]}?" if close else "" if names else "its folder is not there either"
    return DataError("PMG-FILE", f"the {what} is not there", where=[str(path)], fix=fix)
