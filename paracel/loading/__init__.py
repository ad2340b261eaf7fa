"""Data as arrays, spread over the ranks of a communicator: matrices, relations, labelled samples.

`comm` is mpi4py's communicator, or None for this process alone; under MPI every function is collective. Each byte of
the source is read by one rank, and what was read goes, as arrays, to the rank that owns it. LoadError names the file,
the line, and what was expected there; it is raised in all ranks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from paracel.comm import Comm, ranks_of
from paracel.errors import ConfigError
from paracel.loaders import lines_of
from paracel.loading.chunks import Dispenser, Schedule, check_schedule, share, taken
from paracel.loading.dense import numbered_rows, owned_rows
from paracel.loading.formats import Format, Parser, check_columns, check_int
from paracel.loading.ids import check_grid, for_users, grid_of
from paracel.loading.labelled import Samples, csv_samples, libsvm_samples
from paracel.loading.matrices import Block, dense_block, sparse_block
from paracel.loading.reading import begin
from paracel.loading.relations import Relations, own_relations
from paracel.loading.trading import together
from paracel.sources import Source

__all__ = [
    "PATTERNS",
    "Block",
    "Dispenser",
    "Parser",
    "Relations",
    "Samples",
    "dispensed_lines",
    "load_csv",
    "load_libsvm",
    "load_lines",
    "load_matrix",
    "load_relations",
    "process_grid",
]

_DENSE = ("linesplit", "fvec")
_RELATIONS = ("fmap", "smap", "fsmap", "fset")
PATTERNS = (*_DENSE, *_RELATIONS)
_PAIR = "of both ids (and a value)"


def load_matrix(
    comm: Any,
    source: Source,
    parser: Parser = ",",
    pattern: str = "fmap",
    *,
    mix: bool = False,
    columns: Sequence[int] | None = None,
    grid: tuple[int, int] | None = None,
    skip_header: int = 0,
    comment: str = "",
    on_error: str = "raise",
    schedule: Schedule = "static",
) -> Block:
    """This rank's block of the matrix that the lines of `source` make, by pattern:

    | pattern | lines | block |
    |---|---|---|
    | `linesplit` | `f1,...,fk` | ndarray; rows stay where they are read, and their ids are their places in the source |
    | `fvec` | `id,f1,...,fk` | ndarray; rows by the hash of their id |
    | `fmap` | `a,b` or `a,b,0.2` | CSR; rows by the hash of their id |
    | `smap` | the same | CSR; columns by the hash of their id |
    | `fsmap` | the same | CSR; both, over a grid of ranks |
    | `fset` | `a,b,c` or `a,b:0.2,c:0.4` | CSR; rows by the hash of their id |

    The other arguments are those of `load_relations`; `linesplit` and `fvec` take no `mix`, `columns` or `grid`. Their
    lines have as many fields as most lines of the source; if two numbers of fields are as frequent, as the greater.
    """
    _check_pattern(pattern, PATTERNS)
    if pattern in _DENSE and (mix or columns is not None):
        raise ConfigError(f"pattern {pattern!r} takes no mix= or columns=; those are for {', '.join(_RELATIONS)}")
    with ranks_of(comm) as ranks:
        layout = _layout(ranks, pattern, grid)
        check_columns(columns, (2, 3), _PAIR)
        with begin(ranks, source, Format(parser, skip_header, comment), on_error, schedule) as reading:
            if pattern in _DENSE:
                rows = numbered_rows(reading) if pattern == "linesplit" else owned_rows(reading)
                return dense_block(rows, reading.skipped())
            relations = own_relations(reading, layout, mix=mix or pattern == "fset", columns=columns)
            return sparse_block(ranks, relations, layout, reading.skipped())


def load_relations(
    comm: Any,
    source: Source,
    parser: Parser = ",",
    pattern: str = "fmap",
    *,
    mix: bool = False,
    columns: Sequence[int] | None = None,
    grid: tuple[int, int] | None = None,
    same_kind: bool = False,
    skip_header: int = 0,
    comment: str = "",
    on_error: str = "raise",
    schedule: Schedule = "static",
) -> Relations:
    """The pairs of ids, and their values, that this rank owns, of the lines of `source`; as edges, for instance.

    The parser is a string of which each character separates fields (with a blank among them, runs of separators count
    as one), or a function of a line that gives its fields, or None where the line has none. A pattern is one of
    `fmap` (pairs are owned by the hash of their first id), `smap` (of their second), `fsmap` (of both, over a `grid` of
    ranks, (rows, columns); None: as square as can be), `fset` (as `fmap` with `mix`). Lines are `a,b` or `a,b,0.2`;
    with `mix`, an id and any number of items, as in `a,b:0.2,c,d|0.1`: an item is split into id and value at the last
    `:`, `|` or blank in it, if that does not separate fields. `columns` are the numbers of the fields that count,
    from 0: both ids, and a value or none (then, with `mix`, the second is split as an item). Ids are int64 if all of
    their column are written as integers that it holds, else str; with `same_kind`, both columns are (as nodes of a
    graph should be, which come in both).

    Blank lines are left out, and so are the first `skip_header` lines of every file, and lines that begin, after
    blanks, with the text `comment`. With `on_error="skip"`, lines that do not parse are left out, counted and logged.
    """
    _check_pattern(pattern, _RELATIONS)
    check_columns(columns, (2, 3), _PAIR)
    with ranks_of(comm) as ranks:
        layout = _layout(ranks, pattern, grid)
        with begin(ranks, source, Format(parser, skip_header, comment), on_error, schedule) as reading:
            mixed = mix or pattern == "fset"
            found = own_relations(reading, layout, mix=mixed, columns=columns, same_kind=same_kind)
            return Relations(for_users(found.first), for_users(found.second), found.values, reading.skipped())


def load_csv(
    comm: Any,
    source: Source,
    parser: Parser = ",",
    *,
    label: int = -1,
    columns: Sequence[int] | None = None,
    skip_header: int = 0,
    comment: str = "",
    on_error: str = "raise",
    schedule: Schedule = "static",
) -> Samples:
    """The samples in this rank's part of the source, dense: lines of numbers, of which number `label` is the label.

    With `columns`, these fields, from 0, are all that counts, in this order; else lines have as many fields as most of
    the source, as in `load_matrix`. The other arguments are those of `load_relations`.
    """
    check_int("label", label, "the number of the field that is the label, from 0, or from the end, as -1")
    check_columns(columns, range(1, 1 << 31), "that are the features and the label")
    form = Format(parser, skip_header, comment)
    with ranks_of(comm) as ranks, begin(ranks, source, form, on_error, schedule) as reading:
        features, labels = csv_samples(reading, label, columns)
        return Samples(features, labels, reading.skipped())


def load_libsvm(
    comm: Any,
    source: Source,
    *,
    width: int | None = None,
    zero_based: bool = False,
    skip_header: int = 0,
    comment: str = "#",
    on_error: str = "raise",
    schedule: Schedule = "static",
) -> Samples:
    """The samples in this rank's part of the source, sparse: lines `label index:value ...`.

    Indices are from 1, or with `zero_based` from 0. There are `width` features, or as many as the highest index in any
    rank says. Values of an index that comes twice in a line are added up. What follows `comment` is left out, at the
    ends of lines, too; `qid:n` is not taken.
    """
    if width is not None:
        check_int("width", width, "how many features there are, or None, for as many as are found", 0)
    form = Format(" \t:", skip_header, comment, inline=True)
    with ranks_of(comm) as ranks, begin(ranks, source, form, on_error, schedule) as reading:
        features, labels = libsvm_samples(reading, width, int(not zero_based))
        return Samples(features, labels, reading.skipped())


def load_lines(comm: Any, source: Source, *, schedule: Schedule = "static") -> list[str]:
    """The lines of this rank's part of the source, blank ones too."""
    if isinstance(schedule, Dispenser):
        return [line for lines in dispensed_lines(comm, source, schedule) for line in lines]
    check_schedule(schedule)
    with ranks_of(comm) as ranks:
        pieces = [piece for _, piece in share(ranks, source)]
        return together(ranks, lambda: lines_of(pieces))


def dispensed_lines(comm: Any, source: Source, dispenser: Dispenser) -> Iterator[list[str]]:
    """The lines of the chunks that this rank gets, a chunk at a time, as it asks for the next. Collective.

    Whoever stops before the end leaves the rest to the others, who wait for it at theirs.
    """
    with ranks_of(comm) as ranks:
        for _, piece in taken(ranks, source, dispenser):
            yield lines_of([piece])
        ranks.barrier()
        if ranks.rank == 0:
            dispenser.end()


def process_grid(layout: str | tuple[int, int], size: int) -> tuple[int, int]:
    """How `size` ranks are laid out, (rows, columns): as a pattern needs it, or as given, if that can be."""
    if isinstance(layout, str):
        _check_pattern(layout, PATTERNS)
        return grid_of(layout, size)
    return check_grid(layout, size)


def _check_pattern(pattern: str, allowed: Sequence[str]) -> None:
    if pattern not in allowed:
        raise ConfigError(f"pattern={pattern!r}; allowed: {', '.join(allowed)}")


def _layout(ranks: Comm, pattern: str, grid: tuple[int, int] | None) -> tuple[int, int]:
    if grid is None:
        return grid_of(pattern, ranks.size)
    if pattern != "fsmap":
        raise ConfigError(f"pattern {pattern!r} takes no grid=; that is for fsmap")
    return check_grid(grid, ranks.size)
