"""Exit statuses in words."""

import contextlib
import signal


def described_status(status: int) -> str:
    """An exit status, with the name of the signal where it is one's."""
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"{status} ({signal.Signals(number).name})"
    return str(status)
