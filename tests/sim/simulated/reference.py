"""When a server must answer, written down a second time: plainly, slowly, and from the guarantee alone."""

from paracel import messages as m
from paracel.messages import Envelope


class ReferenceClock:
    """Takes what a server takes, each sender's requests once and in order, and knows which of them must wait."""

    def __init__(self, workers: int) -> None:
        self._commits = dict.fromkeys(range(workers), 0)
        self._running = set(range(workers))
        self._entered: dict[int, int] = {}
        self._next: dict[bytes, int] = {}
        self._early: dict[tuple[bytes, int], Envelope] = {}
        self.waiting: dict[tuple[bytes, int], int] = {}

    @property
    def value(self) -> int:
        """The commits that every running worker has made."""
        return min((self._commits[worker] for worker in self._running), default=max(self._commits.values()))

    def handle(self, sender: bytes, envelope: Envelope, taken: int) -> None:
        """Take one message; afterwards `waiting` holds exactly the reads that have to wait.

        Requests from number `taken` on may wait for key lists, if they name these by a hash.
        """
        if not envelope.request:
            gone = envelope.message
            if isinstance(gone, m.Leave) and gone.view >= self._entered.get(gone.worker, 0):
                self._running.discard(gone.worker)
        else:
            self._early[sender, envelope.request] = envelope
        self._take(sender, taken)
        value, running = self.value, bool(self._running)
        self.waiting = {key: least for key, least in self.waiting.items() if running and least > value}

    def _take(self, sender: bytes, taken: int) -> None:
        following = self._next.get(sender, 1)
        while (early := self._early.get((sender, following))) is not None:
            if following >= taken and _names_a_list(early.message):
                break
            if isinstance(early.message, m.Enter):
                self._entered[early.message.worker] = max(early.view, self._entered.get(early.message.worker, 0))
            del self._early[sender, following]
            self._note(sender, following, early.message)
            following += 1
        self._next[sender] = following

    def _note(self, sender: bytes, request: int, message: m.Message) -> None:
        match message:
            case m.Commit(worker, clock):
                self._commits[worker] = clock
            case m.Leave(worker):
                self._running.discard(worker)
            case m.Enter(worker) if worker not in self._running:
                self._commits[worker] = max(self._commits.values())
                self._running.add(worker)
            case m.Read() | m.Scan() | m.Top() | m.Pull() | m.RunTable():
                if self._running and message.min_clock > self.value:
                    self.waiting[sender, request] = message.min_clock


def _names_a_list(message: m.Message) -> bool:
    return isinstance(message, m.Push | m.Pull) and message.selection is None
