"""The command line: `python -m paracel.datagen KIND -o FILE ...`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace

from paracel.datagen import KINDS, Option, blocks
from paracel.datagen.destination import writing
from paracel.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file that the arguments ask for; ends the program with a message for what cannot be."""
    parser = _parser()
    given = parser.parse_args(sys.argv[1:] if argv is None else argv, namespace=SimpleNamespace())
    try:
        with writing(given.output) as file:
            for text in blocks(given.kind, given):
                file.write(text.encode())
    except ConfigError as error:
        parser.error(str(error))
    except BrokenPipeError:  # whoever reads has enough, as `head`
        raise SystemExit(1) from None
    except OSError as error:
        parser.error(f"cannot write {given.output!r}: {error.strerror}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m paracel.datagen",
        description="Makes data of any size, as the examples read them.",
        epilog="KIND --help shows the settings of a kind.",
        allow_abbrev=False,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, kind in KINDS.items():
        sub = kinds.add_parser(name, help=kind.format, description=f"Lines: {kind.format}.", allow_abbrev=False)
        sub.add_argument("-o", "--output", required=True, metavar="FILE", help=_FILE)
        for short, option in [("-n", _LINES), ("-s", _SEED)]:
            _add(sub, option, short)
        for option in kind.options:
            _add(sub, option)
    return parser


_FILE = "the file; an older one is replaced. .gz and .zst are packed; - is the standard output"
_LINES = Option("lines", 1000, "how many lines")
_SEED = Option("seed", 0, "the same gives the same", least=0)


def _add(parser: argparse.ArgumentParser, option: Option, *short: str) -> None:
    parser.add_argument(
        *short,
        f"--{option.name}",
        type=_type(option),
        default=option.default,
        choices=option.allowed or None,
        metavar=None if option.allowed else "N" if isinstance(option.default, int) else "X",
        help=f"{option.help} (default: {option.default})",
    )


def _type(option: Option) -> Callable[[str], int | float | str]:
    kind = type(option.default)
    if kind is str:
        return str
    named = "a whole number" if kind is int else "a number"

    def read(text: str) -> int | float | str:
        with suppress(ValueError):
            value = kind(text)
            if float(option.least) <= float(value) < float("inf"):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {named} from {option.least:g} on")

    return read


if __name__ == "__main__":
    main()
