"""What a measurement is, and how a list of them is shown. Nothing here measures."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version


@dataclass(frozen=True, slots=True)
class Figure:
    """A value beside its floor. `ratio` is 1 where both are equal, and larger where paracel is better.

    `target` is the least ratio that is aimed at, None where the figure is only for information.
    """

    topic: str
    name: str
    value: float
    unit: str
    floor: float
    ratio: float
    target: float | None

    @property
    def verdict(self) -> str:
        """How the ratio stands to the target."""
        if self.target is None:
            return ""
        return "reached" if self.ratio >= self.target else "MISSED"


_HEAD = ("what", "paracel", "floor", "unit", "ratio", "target", "")


def render(figures: Sequence[Figure]) -> str:
    """A table for people, as wide as its longest cells, with a line above each topic."""
    rows = [_row(figure) for figure in figures]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = [_line(_HEAD, widths)]
    topic = ""
    for figure, row in zip(figures, rows, strict=True):
        if figure.topic != topic:
            topic = figure.topic
            lines += ["", topic]
        lines.append(_line(row, widths))
    return "\n".join(lines)


def to_json(figures: Iterable[Figure]) -> str:
    """The same for programs, with what they were measured on."""
    return json.dumps({"machine": machine(), "figures": [asdict(figure) for figure in figures]}, indent=1) + "\n"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    packages = {name: version(name) for name in ("numpy", "pyzmq", "msgpack", "xxhash")}
    return {"cores": str(os.cpu_count()), "python": platform.python_version(), **packages}


def _row(figure: Figure) -> tuple[str, ...]:
    target = "" if figure.target is None else f"{figure.target:g}"
    numbers = (_number(figure.value), _number(figure.floor))
    return (figure.name, *numbers, figure.unit, f"{figure.ratio:.2f}", target, figure.verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *rest = (
        cell.ljust(width) if at in (0, 3, 6) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([f"  {name}", *rest]).rstrip()
