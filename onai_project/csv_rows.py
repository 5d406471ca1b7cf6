"""Reading the CSV files that people make: their encodings, separators and ends of lines. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

from django.utils.translation import gettext as _

# What a page checked comes back as a field of its form, with a byte more for each line, and Django takes 2.5 MB of
# fields (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_BYTES = 2 * 1024 * 1024


class CsvError(ValueError):
    """A file that can't be read; the text says to people what to do, `line` (from 1) is where the trouble begins."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def decoded(content: bytes) -> str:
    """Return a file's text: UTF-8, or what Excel in Russian saves (Windows-1251). NUL bytes are dropped."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1251", errors="replace")
    return text.replace("\x00", "")


def checked_text(content: bytes) -> str:
    """Return a file's text as `decoded` does. Raises CsvError where it is too large to come back with a form."""
    text = decoded(content[: MAX_BYTES + 1])
    if len(content) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise CsvError(1, _("The file is too large: it may have 2 MB of text in UTF-8. Divide it."))
    return text


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of every row, empty ones too; `line` is the first of the row's lines, counted from 1.

    The separator is the one that the first line has most of: `;`, `,` or a tab. Raises CsvError.
    """
    lines = StringIO(text.replace("\x00", ""), newline=None)  # Mac's lone "\r" ends a line, too
    head = lines.readline()
    lines.seek(0)
    reader = csv.reader(lines, delimiter=max(";,\t", key=head.count), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong = _("This can't be read: a quotation mark is missing or has none beside it, or the text is too long.")
            raise CsvError(line, wrong) from error
        yield line, cells
