"""What a file is by its first bytes, when it is not the text it was said to be."""

from __future__ import annotations

import gzip
from pathlib import Path

from pmg_eval.errors import DataError

_HEAD = 65_536
_MARKS = (  # the longer mark first: that of UTF-32 begins with that of UTF-16
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_KINDS = (
    (b"PK\x03\x04", "an Excel workbook or a zip file", "open it and save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "open it and save the table as CSV"),
    (b"PAR1", "a parquet file", "give it a name that ends in .parquet"),
    (b"\x1f\x8b", "a file packed with gzip", "give it a name that ends in .csv.gz"),
    (b"%PDF", "a PDF", "ask for the table itself"),
)
_TWO_BYTES, _FOUR_BYTES = ("utf-16", "utf16", "u16"), ("utf-32", "utf32", "u32")
_MOSTLY = 0.3  # share of zero bytes on one side of every pair, from which it is text of two bytes a letter


def need_text(path: Path, encoding: str) -> None:
    """Refuse a file whose first bytes say that it is not text in this encoding.

    Raises
    ------
    DataError
        PMG-ENCODING for text in another encoding, PMG-FILE for a file that is no text.
    """
    head = _head(path)
    for start, what, fix in _KINDS:
        if head.startswith(start):
            raise DataError("PMG-FILE", f"not a text file but {what}", where=[path.name], fix=fix)
    name = encoding.lower().replace("_", "-")
    given = "utf-16" if name.startswith(_TWO_BYTES) else "utf-32" if name.startswith(_FOUR_BYTES) else name
    found = _marked(head)
    if found == "utf-8" and given not in ("utf-8", "utf8", "utf-8-sig"):
        raise _other(path, encoding, "a mark at its beginning says that it is UTF-8", "leave encoding out")
    if found in ("utf-16", "utf-32") and given != found:
        raise _other(
            path, encoding, f"a mark at its beginning says that it is {found.upper()}", f'encoding = "{found}"'
        )
    if found == "" and b"\x00" in head and given not in ("utf-16", "utf-32"):
        found = _two_bytes(head)
        if not found:
            raise DataError(
                "PMG-FILE", "not a text file: it holds zero bytes", where=[path.name], fix="save the table as CSV"
            )
        raise _other(path, encoding, f"every second byte is zero, as in {found.upper()}", f'encoding = "{found}"')


def undecodable(path: Path, encoding: str) -> DataError:
    """The error for text that is not in this encoding, when nothing says in which one it is."""
    fix = "give its encoding"
    if encoding.lower() in ("utf-8", "utf8", "utf-8-sig"):
        fix += '; files from Windows programs are often "cp1252"'
    return DataError("PMG-ENCODING", f"the file is not {encoding} text", where=[path.name], fix=fix)


def _other(path: Path, encoding: str, why: str, fix: str) -> DataError:
    return DataError("PMG-ENCODING", f"the file is not {encoding} text: {why}", where=[path.name], fix=fix)


def _head(path: Path) -> bytes:
    if path.suffix.lower() != ".gz":
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    with gzip.open(path, "rb") as packed:
        return packed.read(_HEAD)


def _marked(head: bytes) -> str:
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


def _two_bytes(head: bytes) -> str:
    """The encoding whose letters of Europe are a zero byte and another one, "" when that is not the pattern."""
    first, second = head[::2], head[1::2]
    shares = [part.count(0) / max(len(part), 1) for part in (first, second)]
    if shares[1] > _MOSTLY and shares[0] < shares[1] / 4:
        return "utf-16-le"
    return "utf-16-be" if shares[0] > _MOSTLY and shares[1] < shares[0] / 4 else ""


__all__ = ["need_text", "undecodable"]
