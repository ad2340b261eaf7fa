"""Message filters: what makes a push or a pull of a table smaller, losslessly or within a stated bound.

A table is given a list of them. The sender's `encode` runs in the order of the list, the receiver's `decode` in
reverse (Li et al., OSDI 2014, sections 3.6 and 4.2). They fall into three groups, and a list reads best in this order:

- selecting ones choose rows: `SignificantlyModified`, `RandomSkip`. They see whole rows only;
- encoding ones change how rows are written: `DropZeros`, `FixedPoint`, `Custom`. `DropZeros` leaves rows (fewer of
  them), the others leave what only their own `decode` understands;
- `Compressing` takes whatever there is. `KeyCaching` may stand anywhere.

Any order is correct: a filter leaves alone what an earlier one has made unreadable to it, whatever the data is.
"""

from paracel.filters.base import Filter, Memory, Part, size_of
from paracel.filters.chain import decode_all, encode_all, for_worker, from_wire
from paracel.filters.compressing import Compressing
from paracel.filters.custom import Custom
from paracel.filters.fixed_point import FixedPoint
from paracel.filters.lossless import DropZeros, KeyCaching
from paracel.filters.packing import pack_mask, unpack_mask
from paracel.filters.selecting import RandomSkip, SignificantlyModified

__all__ = [
    "Compressing",
    "Custom",
    "DropZeros",
    "Filter",
    "FixedPoint",
    "KeyCaching",
    "Memory",
    "Part",
    "RandomSkip",
    "SignificantlyModified",
    "decode_all",
    "encode_all",
    "for_worker",
    "from_wire",
    "pack_mask",
    "size_of",
    "unpack_mask",
]
