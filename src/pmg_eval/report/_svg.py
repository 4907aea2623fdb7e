"""A figure as inline SVG: the same bytes for the same figure, unique identifiers, words for screen readers."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pmg_eval.report._extra import require
from pmg_eval.report._words import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT_FAMILY = re.compile(r"\s*font-family:[^;]*;?")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_NAMESPACE = re.compile(r"^\{[^}]*\}")


@contextmanager
def default_style() -> Iterator[None]:
    """Matplotlib's own defaults, so that the style a user has chosen does not change a page.

    The settings are global while it lasts and restored afterwards.
    """
    require("matplotlib")
    from matplotlib import style

    with warnings.catch_warnings():
        # Letters that the measuring font lacks are drawn by the browser's fonts, since text stays text.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        with style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": "pmg_eval"}]):
            yield


def inline(figure: Figure, name: str, title: str, description: str, kind: str = "") -> str:
    """SVG for HTML content.

    Parameters
    ----------
    figure : Figure
    name : str
        Prefix of every identifier; unique on the page.
    title, description : str
        What a screen reader says (``<title>`` and ``<desc>``).
    kind : str
        Class of the element.
    """
    with default_style():
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # Our own output of a moment ago, without entities: not a file that somebody sent.
    root = ElementTree.fromstring(target.getvalue())  # noqa: S314
    _plain(root)
    _rename(root, name)
    width, height = root.get("viewBox", "0 0 1 1").split()[2:]
    root.attrib.clear()
    root.attrib.update(
        {
            "class": kind or "figure",
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "style": "stroke-linejoin: round; stroke-linecap: butt",
        }
    )
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        words = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        words.text = clean(text)
        root.insert(position, words)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(root: Any) -> None:
    """Without namespaces, metadata, page-wide styles and font names (HTML and the page's style provide them)."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _NAMESPACE.sub("", child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        element.attrib = {_NAMESPACE.sub("", key): value for key, value in element.attrib.items()}
        if element.tag != "text" and element.text is not None:
            element.text = element.text.strip() or None
        element.tail = None
        if "style" in element.attrib:
            element.set("style", _FONT_FAMILY.sub("", element.get("style", "")).strip())
        if element.tag == "path":
            element.set("d", " ".join(element.get("d", "").split()))
        for name in ("d", "x", "y"):
            if name in element.attrib:
                element.set(name, _DECIMALS.sub(_short, element.get(name, "")))
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]


def _short(number: re.Match[str]) -> str:
    """A coordinate to a hundredth of a pixel: finer ones only weigh."""
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _rename(root: Any, name: str) -> None:
    """Identifiers that something refers to get the prefix; the others go."""
    used = set()
    for element in root.iter():
        if "href" in element.attrib:
            used.add(element.get("href").removeprefix("#"))
        for value in element.attrib.values():
            used.update(_REFERENCE.findall(value))
    for element in root.iter():
        if element.get("id") in used:
            element.set("id", f"{name}-{element.get('id')}")
        else:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "href":
                element.set(key, f"#{name}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
