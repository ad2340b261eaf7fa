"""How lines are written: what separates their fields, and which lines are passed over. Not what their fields mean."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

from paracel.errors import ConfigError
from paracel.loaders import lines_before
from paracel.partition import ByteRange

#: A string of separators, or a function of a line that gives its fields, or nothing where the line has none.
Parser: TypeAlias = str | Callable[[str], Iterable[Any] | None]


@dataclass(frozen=True, slots=True)
class Format:
    """A parser; how many first lines of each file are passed over; and those that begin with the text `comment`.

    With `inline`, what follows that text in other lines is passed over, too. ConfigError for what cannot be.
    """

    parser: Parser
    skip_header: int = 0
    comment: str = ""
    inline: bool = False

    def __post_init__(self) -> None:
        _check_parser(self.parser)
        check_int("skip_header", self.skip_header, "a number of lines, from 0", 0)
        text = self.comment
        if not isinstance(text, str) or text != text.strip() or len(text.splitlines()) > 1:
            raise ConfigError(f"comment={text!r}; allowed: what comments begin with, as '#', without blanks around it")

    def header_of(self, piece: ByteRange) -> int:
        """How many of the first lines of the piece are of its file's header, which may end behind the first piece."""
        if not self.skip_header or not piece.begin:
            return self.skip_header
        return self.skip_header - lines_before(piece.path, piece.begin, self.skip_header)

    def blanked(self, raw: bytes, header: int) -> bytes:
        """Lines, with blank ones for the first `header` of them and for comments, so that their numbers stay."""
        if header:
            header = min(header, raw.count(b"\n"))
            raw = b"\n" * header + raw.split(b"\n", header)[header]
        mark = self.comment.encode()
        if not mark or mark not in raw:
            return raw
        before = b"" if self.inline else rb"(?m:^)[ \t]*"
        return re.sub(before + re.escape(mark) + rb"[^\n]*", b"", raw)


def _check_parser(parser: Any) -> None:
    if callable(parser):
        return
    if not isinstance(parser, str) or not parser or not parser.isascii() or set(parser) & set("\r\n\0.+-0123456789"):
        raise ConfigError(
            f"parser={parser!r}; allowed: a string, of which each character separates fields, as ',' or '\\t ' "
            f"(ASCII, not of numbers), or a function that gives the fields of a line"
        )
    if twice := [each for each in parser if parser.count(each) > 1]:
        raise ConfigError(
            f"parser={parser!r} has {twice[0]!r} twice, and each character separates fields by itself; where it stands "
            f"twice between fields, give {twice[0]!r} and columns=(0, 2, 4), as an empty field is between the two"
        )


def check_int(name: str, value: Any, meaning: str, least: int | None = None) -> None:
    """Raise ConfigError unless the setting is an integer, of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        raise ConfigError(f"{name}={value!r}; allowed: {meaning}")


def check_columns(columns: Any, counts: Sequence[int], meaning: str) -> None:
    """Raise ConfigError unless they are None, or field numbers from 0, of which there may be `counts`."""
    if columns is None:
        return
    right = isinstance(columns, Sequence) and len(columns) in counts
    if not right or not all(isinstance(each, int) and each >= 0 for each in columns):
        raise ConfigError(f"columns={columns!r}; allowed: the numbers, from 0, of the fields {meaning}")
