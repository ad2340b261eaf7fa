"""A worker's part in the quorum: it enters, commits and leaves. No sockets, no time of its own."""

from paracel import messages as m
from paracel.exchange import Exchange
from paracel.pending import Pending


class Participant(Exchange):
    """A client that may be a worker, and its clock."""

    def __init__(self, view: m.View, worker: int | None) -> None:
        super().__init__(view, worker)
        self.clock = 0
        #: Of the last `enter`: the clock at which all workers began level.
        self.level = 0
        #: Which attempt of the job's workers it is of.
        self.attempt = view.attempt
        self._resumes = self.attempt > 1

    def enter(self, level: int = -1) -> Pending:
        """Take part in the quorum, from the clock that the servers have for this worker.

        `level` counts how often the workers have begun level; it matters where they may be started anew.
        """
        assert self.worker is not None

        def start(replies: list[m.Entered]) -> None:
            self.clock = max(reply.clock for reply in replies)
            self.level = max(reply.level for reply in replies)
            resumes, self._resumes = self._resumes, False
            if resumes or any(reply.clock < self.clock for reply in replies):
                self._send_commit(resumes)  # else this worker's reads would wait, on some server, for itself

        return self.ask_all(m.Enter(self.worker, self.attempt, level if self.attempt else -1), start)

    def commit(self) -> Pending:
        """Raise the worker's clock by one, on every server. All its updates must be acknowledged."""
        self.clock += 1
        return self._send_commit()

    def _send_commit(self, resumes: bool = False) -> Pending:
        assert self.worker is not None
        return self.ask_all(m.Commit(self.worker, self.clock, resumes), lambda _replies: None)

    def leave(self) -> Pending:
        """Leave the quorum: nobody waits for this worker any more."""
        assert self.worker is not None
        return self.ask_all(m.Leave(self.worker), lambda _replies: None)
