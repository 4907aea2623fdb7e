"""Docstrings for the documentation site: formulas become MathML, names become links where there is a page.

Used by mkdocs.yml. MathML needs no script and no font from elsewhere, and screen readers read it.
"""

import re
from html import escape
from typing import Any

import griffe
from latex2mathml.converter import convert

_BLOCK = re.compile(r"^([ ]*)\.\. math::[ ]?(.*\n(?:(?:\1[ ]+.*)?\n)*)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]+)`")
# What latex2mathml would print instead of setting it.
_KNOWN = {r"\arg": r"\operatorname{arg}", r"\Big\{": r"\left\{", r"\Big\}": r"\right\}"}
_NAME = re.compile(r":(?:func|class|meth|attr|data|mod):`(~?)([^`]+)`")


def formula(tex: str, display: str) -> str:
    """One formula as markup that Markdown leaves alone (no sign of its own in it)."""
    for command, known in _KNOWN.items():
        tex = tex.replace(command, known)
    markup = convert(" ".join(tex.split()), display=display)
    return "".join(f"&#{ord(sign)};" if sign in "*_`[]\\~" else sign for sign in markup)


def name(match: re.Match[str]) -> str:
    """A name as code, linked where the site describes it."""
    short, path = match.groups()
    shown = path.rpartition(".")[2] if short else path.removeprefix("pmg_eval.")
    target = path if path.startswith("pmg_eval.") else f"pmg_eval.{path}"
    return f'<autoref identifier="{escape(target)}" optional><code>{escape(shown)}</code></autoref>'


def markdown(text: str) -> str:
    """A docstring as Markdown with markup for formulas and names."""
    text = _BLOCK.sub(lambda found: f"{found[1]}<p>{formula(found[2], 'block')}</p>\n\n", text + "\n")
    text = _INLINE.sub(lambda found: f"<span>{formula(found[1], 'inline')}</span>", text)
    return _NAME.sub(name, text.replace("``", "`")).rstrip("\n")


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, before its sections are read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
