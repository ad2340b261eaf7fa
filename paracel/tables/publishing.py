"""What readers of a table have been told, for pulls that send only what has changed significantly. No messages here.

For a threshold the part keeps, beside each row, the value that was last told and a version. When a row is asked for
and differs from what was told by more than the threshold, it is told anew, under a new version. A reader says up to
which version it knows the rows, and gets those that are newer: so the server keeps nothing for each reader, and a
repeated question gets a good answer.
"""

import numpy as np
from numpy.typing import NDArray

from paracel.errors import TableError
from paracel.tables.storage import ROWS, Array, Form, Part, Places

#: With how many thresholds a table may be pulled: each keeps another copy of the rows.
MOST_THRESHOLDS = 8
#: How the names of columns with told values begin.
TOLD = "told/"
VERSION = "version/"


class Publisher:
    """The told values of one part of a table."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._version = 0

    def begin_anew(self, view: int) -> None:
        """Forget what was told: since then, another server may have told more. Versions are later than all of its."""
        for name in self._part.names():
            if name.startswith((TOLD, VERSION)):
                self._part.drop_column(name)
        self._version = view << 32

    def changed(self, places: Places | slice, threshold: float, since: int) -> tuple[NDArray[np.bool_], str, int]:
        """Which of the places are newer than version `since`, the column that has what was told, the version now.

        A place below 0, where there is no row, is always newer.
        """
        told, versions = self._columns(threshold)
        rows = self._part.column(ROWS)
        at = np.arange(*places.indices(len(rows))) if isinstance(places, slice) else places
        known = at[at >= 0]
        far = _differ(rows[known], self._part.column(told)[known], threshold)
        moved = (far if far.ndim == 1 else far.any(axis=1)) | (versions[known] == 0)
        if moved.any():
            self._version += 1
            self._part.column(told)[known[moved]] = rows[known[moved]]
            versions[known[moved]] = self._version
        newer = np.ones(len(at), bool)
        newer[at >= 0] = versions[known] > since
        return newer, told, self._version

    def _columns(self, threshold: float) -> tuple[str, Array]:
        told, versions = f"{TOLD}{threshold!r}", f"{VERSION}{threshold!r}"
        names = self._part.names()
        if told not in names:
            if sum(name.startswith(TOLD) for name in names) == MOST_THRESHOLDS:
                raise TableError(f"pulls with more than {MOST_THRESHOLDS} thresholds; each takes as much as the rows")
            rows = self._part.column(ROWS)
            self._part.add_column(told, Form(rows.dtype, rows.shape[1:], 0))
            self._part.add_column(versions, Form(np.dtype(np.int64), (), 0))
        return told, self._part.column(versions)


def _differ(rows: Array, told: Array, threshold: float) -> NDArray[np.bool_]:
    """Where two arrays of one shape are further apart than the threshold; NaN is far from all."""
    with np.errstate(invalid="ignore"):
        near = np.abs(rows.astype(np.float64) - told) <= threshold
    far: NDArray[np.bool_] = ~(near | (rows == told))  # infinities less themselves are no numbers
    return far
