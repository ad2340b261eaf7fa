"""The key lists that a client has sent, so that their hashes stand for them from then on. Nothing here sends."""

from paracel.hashing import Keys
from paracel.pending import Pending
from paracel.tables.keylists import KeyLists


class SentKeys:
    """The key lists that servers were sent by this client, and those that open requests rest on."""

    def __init__(self) -> None:
        self._known: dict[int, KeyLists] = {}
        self._lent: dict[bytes, tuple[Keys, int]] = {}

    def knows(self, server: int, digest: bytes, keys: Keys, most: int) -> bool:
        """Whether the server was sent this list, as far as is remembered; from now on it was."""
        lists = self._known.setdefault(server, KeyLists(most))
        known = digest in lists
        lists.put(digest, keys)
        return known

    def lend(self, digest: bytes, keys: Keys, pending: Pending) -> None:
        """Keep the list until the request is done."""
        _, count = self._lent.get(digest, (keys, 0))
        self._lent[digest] = (keys, count + 1)
        pending.then(lambda _outcome: self._return(digest))

    def get(self, digest: bytes) -> Keys | None:
        """A list that an open request rests on."""
        return self._lent.get(digest, (None, 0))[0]

    def _return(self, digest: bytes) -> None:
        keys, count = self._lent.pop(digest)
        if count > 1:
            self._lent[digest] = (keys, count - 1)
