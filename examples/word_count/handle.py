"""Functions that the servers run for word count, named in a configuration by file and name, as in Paracel.

Nothing here talks to a server: an updater and a filter see one key and its value.
"""

import paracel


@paracel.updater
def wc_updater(value: int, delta: int) -> int:
    """The count so far and what a worker adds to it."""
    return value + delta


@paracel.key_filter
def wc_filter(key: str) -> bool:
    """Only words that begin with a capital letter."""
    return key[:1].isupper()
