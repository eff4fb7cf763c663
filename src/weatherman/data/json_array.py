"""The elements of a JSON array, one by one from a stream: no more than one is in memory, however long the file is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK_BYTES = 2**20
_MARKS = re.compile(rb'["\[\]{},]')
_IN_TEXT = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


class ArrayEndError(ValueError):
    """The array does not end, or goes on after its end; the message is made for the user."""


def array_elements(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield the text of each element of the array that a stream holds.

    Args:
        file: positioned before the ``[``.
        max_bytes: of one element; of a longer one so much is given, and one byte more, which tells.

    Raises:
        ArrayEndError: the stream is cut short, or does not hold one array.
    """
    scan = _Scanner(max_bytes)
    while block := file.read(_BLOCK_BYTES):
        yield from scan.feed(block)
    if not scan.ended:
        raise ArrayEndError("the list is cut short: its end is missing")


class _Scanner:
    """Finds where elements end by counting brackets outside of texts; what an element holds is not looked at."""

    def __init__(self, max_bytes: int) -> None:
        self.ended = False
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the elements that end in this block."""
        place = start = 0
        while place < len(block):
            if self._in_text:
                place = self._skip_text(block, place)
                continue
            mark = _MARKS.search(block, place)
            if mark is None:
                break
            place = mark.end()
            sign = mark[0]
            if self.ended:
                raise ArrayEndError("something stands after the end of the list")
            if sign == b'"':
                self._in_text = True
            elif sign in b"[{":
                self._depth += 1
                if self._depth == 1:
                    start = place
            elif sign in b"]}":
                self._depth -= 1
                if self._depth == 0:
                    self.ended = True
                    yield from self._element(block[start : mark.start()], may_be_empty=True)
                    start = place
            elif self._depth == 1:
                yield from self._element(block[start : mark.start()], may_be_empty=False)
                start = place
        if self.ended and block[start:].strip(_SPACE):
            raise ArrayEndError("something stands after the end of the list")
        self._keep(block[start:])

    def _skip_text(self, block: bytes, place: int) -> int:
        if self._escaped:
            self._escaped = False
            return place + 1
        mark = _IN_TEXT.search(block, place)
        if mark is None:
            return len(block)
        if mark[0] == b'"':
            self._in_text = False
        else:
            self._escaped = True
        return mark.end()

    def _keep(self, piece: bytes) -> None:
        room = self._max_bytes + 1 - len(self._kept)
        self._kept += piece[: max(0, room)]

    def _element(self, piece: bytes, *, may_be_empty: bool) -> Iterator[bytes]:
        self._keep(piece)
        element = bytes(self._kept).strip(_SPACE)
        self._kept.clear()
        if element or not may_be_empty:
            yield element
