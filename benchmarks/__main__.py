"""`python -m benchmarks [--quick] [--json FILE] [TOPIC ...]`: run the measurements and print one table."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import arrays, checkpoints, failover, jobs, keys, pagerank, small, table, tables, words

TOPICS: dict[str, Callable[[bool], Iterator[table.Figure]]] = {
    "small": small.measure,
    "keys": keys.measure,
    "arrays": arrays.measure,
    "tables": tables.measure,
    "failover": failover.measure,
    "words": words.measure,
    "jobs": jobs.measure,
    "checkpoints": checkpoints.measure,
    "pagerank": pagerank.measure,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args(arguments)
    unknown = set(given.topics) - set(TOPICS)
    if unknown:
        parser.error(f"no topic {', '.join(sorted(unknown))}; there are: {', '.join(TOPICS)}")
    chosen = given.topics or TOPICS
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it makes every process compile the library anew
    figures = [figure for topic in TOPICS if topic in chosen for figure in TOPICS[topic](given.quick)]
    print(table.render(figures))
    if given.json:
        given.json.write_text(table.to_json(figures))


if __name__ == "__main__":
    main()
