"""What an estimator and its options are, as JSON values: the same in every process, other when they are other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd

from pmg_eval.panel import Panel

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def described(value: Any, inside: tuple[Any, ...] = ()) -> Any:
    """JSON values that name ``value``; ``inside`` holds what it is a part of.

    A function of this library is named (its version belongs to a key as well). Any other function is its qualified name
    and a hash of its own code, defaults and enclosed values, so that an edited lambda is another one; what it calls in
    turn, and variables of its module, are not seen. What has no description of its own is its ``repr`` without memory
    addresses.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return float.__repr__(value) if isinstance(value, float) else value
    if any(value is outer for outer in inside):
        return "itself"

    def part(item: Any) -> Any:
        return described(item, (*inside, value))

    if isinstance(value, partial):
        return [part(value.func), part(value.args), part(value.keywords)]
    if isinstance(value, Mapping):
        return {str(name): part(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [part(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((part(item) for item in value), key=repr)
    if isinstance(value, FunctionType):
        return _name(value) if _name(value).startswith("pmg_eval.") else [_name(value), _hash(part(_own(value)))]
    if isinstance(value, MethodType):
        return [part(value.__func__), part(value.__self__)]
    if isinstance(value, CodeType):
        return [sha256(value.co_code).hexdigest(), list(value.co_names), part(value.co_consts)]
    if isinstance(value, type) or isinstance(getattr(value, "__self__", None), ModuleType):
        return _name(value)  # a class, or a builtin function
    if is_dataclass(value):
        return [_name(type(value)), {item.name: part(getattr(value, item.name)) for item in fields(value)}]
    if callable(value) and hasattr(value, "__dict__"):
        return [_name(type(value)), part(vars(value))]
    return _data(value)


def _data(value: Any) -> Any:
    """Numbers by a hash, scalars as they are, a generator by what it will draw."""
    if isinstance(value, np.generic):
        return described(value.item())
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        seeds = bits.seed_seq
        spawned = [getattr(seeds, name, None) for name in ("entropy", "spawn_key", "n_children_spawned")]
        return [type(bits).__name__, described(bits.state), described(spawned)]
    if isinstance(value, np.ndarray):
        content = repr(described(value.tolist())).encode() if value.dtype.hasobject else value.tobytes()
        return [value.dtype.str, list(value.shape), sha256(content).hexdigest()]
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        table = value if isinstance(value, pd.DataFrame) else value.to_frame()
        return [type(value).__name__, sha256(table.to_csv().encode("utf-8", "surrogatepass")).hexdigest()]
    if isinstance(value, Panel):
        return ["Panel", value.fingerprint]
    return value.__name__ if isinstance(value, ModuleType) else _ADDRESS.sub("", repr(value))


def _hash(value: Any) -> str:
    return sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _own(function: FunctionType) -> list[Any]:
    """Code, defaults and enclosed values of a function."""
    enclosed = []
    for cell in function.__closure__ or ():
        try:
            enclosed.append(cell.cell_contents)
        except ValueError:  # an enclosed name that is not bound yet
            enclosed.append("not bound")
    return [function.__code__, function.__defaults__, function.__kwdefaults__, enclosed]
