"""The tables that come with data sets: CSV of any dialect, and plain XLSX sheets."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from covjax.data.readers import read_bytes
from covjax.errors import InputError

MAX_SHEET = 2**28  # bytes of one unpacked sheet
_CELL = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_csv(
    path: Path, *, columns: Sequence[str], delimiter: str = ","
) -> list[dict[str, str]]:
    """Rows as dictionaries; cells that are missing are empty.

    Column names lose the blanks around them, as in ieee8023's `` url``. Bytes that
    are not UTF-8 are read as Latin-1, as in Figure1's table.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from error
    return _rows(path, table, columns)


def read_xlsx(path: Path, *, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the first sheet of an Excel file as dictionaries of text."""
    try:
        with zipfile.ZipFile(path) as book:
            sheet = ElementTree.fromstring(_part(book, "xl/worksheets/sheet1.xml"))
            shared: list[str] = []
            if "xl/sharedStrings.xml" in book.namelist():
                strings = ElementTree.fromstring(_part(book, "xl/sharedStrings.xml"))
                shared = [_text(item) for item in strings]
        table = [
            {_column(cell): _value(cell, shared) for cell in row.iter(f"{_CELL}c")}
            for row in sheet.iter(f"{_CELL}row")
        ]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a readable XLSX file ({error})") from error
    except (zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise InputError(f"{path}: not a readable XLSX file ({error})") from error
    width = max((max(row, default=-1) for row in table), default=-1) + 1
    return _rows(
        path, [[row.get(i, "") for i in range(width)] for row in table], columns
    )


def _rows(
    path: Path, table: list[list[str]], columns: Sequence[str]
) -> list[dict[str, str]]:
    if not table:
        raise InputError(f"{path}: an empty table")
    names = [name.strip() for name in table[0]]
    for column in columns:
        if column not in names:
            raise InputError(
                f"{path}: has no column {column!r}; found {', '.join(names)}"
            )
    rows = []
    for cells in table[1:]:
        if any(cell.strip() for cell in cells):
            cells = cells + [""] * (len(names) - len(cells))
            rows.append(dict(zip(names, cells, strict=False)))
    return rows


def _part(book: zipfile.ZipFile, name: str) -> bytes:
    if book.getinfo(name).file_size > MAX_SHEET:
        raise ValueError(f"{name} is larger than {MAX_SHEET} bytes")
    return book.read(name)


def _text(item: ElementTree.Element) -> str:
    return "".join(text.text or "" for text in item.iter(f"{_CELL}t"))


def _column(cell: ElementTree.Element) -> int:
    """Column index of a reference such as ``AB12``."""
    index = 0
    for letter in cell.attrib["r"].rstrip("0123456789"):
        index = 26 * index + ord(letter) - ord("A") + 1
    return index - 1


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell)
    value = cell.find(f"{_CELL}v")
    text = "" if value is None else value.text or ""
    return shared[int(text)] if cell.get("t") == "s" else text
