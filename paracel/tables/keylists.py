"""Key lists that a peer knows by their hash, least recently used ones forgotten. Nothing here sends."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


class KeyLists:
    """Lists by hash, of at most `most` bytes in all; the newest one is always kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lists: OrderedDict[bytes, Keys] = OrderedDict()
        self.nbytes = 0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._lists

    def get(self, digest: bytes) -> Keys | None:
        """The list of this hash, which counts as used now; None if it is not known."""
        keys = self._lists.get(digest)
        if keys is not None:
            self._lists.move_to_end(digest)
        return keys

    def put(self, digest: bytes, keys: Keys) -> None:
        """Keep a list, and forget others for it."""
        if self.get(digest) is not None:
            return
        self._lists[digest] = keys
        self.nbytes += keys.nbytes
        while self.nbytes > self._most and len(self._lists) > 1:
            _, gone = self._lists.popitem(last=False)
            self.nbytes -= gone.nbytes
