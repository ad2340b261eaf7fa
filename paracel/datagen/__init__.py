"""Data of any size in the formats of the examples: `python -m paracel.datagen KIND -o FILE ...`.

A file depends on its kind, its settings and the seed alone, and a shorter file is the beginning of a longer one.
"""

from paracel.datagen.kinds import KINDS, Kind, Option, blocks

__all__ = ["KINDS", "Kind", "Option", "blocks"]
