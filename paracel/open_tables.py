"""The tables of one client: opening them, listing them, and tasks that come after others."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import isfunction
from typing import Any

from paracel import messages as m
from paracel import optim
from paracel.connection import Connection
from paracel.errors import ConfigError, ConnectionLost, ParacelError, WaitTimeout
from paracel.functions import Kind, table_state
from paracel.optim import Rule
from paracel.pending import Pending, asked_anew
from paracel.session_tables import SessionTable
from paracel.table import Filters, Table, TableStatistics, check_filters
from paracel.tables.spec import TableSpec, call_of, function_wire, make_spec
from paracel.task import Task
from paracel.updaters import BUILTINS

Register = Callable[[Kind, str | Callable[..., Any]], str]
_SUMMED = ("keys", "bytes", "pushes", "pulls")


class Tables:
    """Makes tables, and their tasks, for a client."""

    def __init__(self, connection: Connection, register: Register) -> None:
        self._connection = connection
        self._session = connection.session
        self.register = register

    def open(self, name: str, push_filters: Filters, pull_filters: Filters, **settings: Any) -> Table:
        """The table of this name and these settings (those of `make_spec`), made if it is not there."""
        settings["updater"], inputs = self._updater(settings["updater"])
        init = settings["init"]
        if callable(init) or (isinstance(init, str) and ":" in init):
            settings["init"] = function_wire(self.register("initial", init))
        spec = make_spec(name, **settings)
        check_filters(push_filters, "push", spec.dtype)
        check_filters(pull_filters, "pull", spec.dtype)
        with self._connection.lock:
            made = self._connection.run(lambda: self._session.ask_first(spec)).made
            opened = self._opened(spec, inputs, made)
        return Table(self, self._session, opened, push_filters, pull_filters)

    def _opened(self, spec: TableSpec, inputs: int, made: bool) -> SessionTable:
        try:
            opened: SessionTable = self._connection.run(lambda: self._session.open_table(spec, inputs))
        except (ConnectionLost, WaitTimeout):
            raise
        except ParacelError:
            if made:  # on some servers, and not on all: a user's function may raise on one
                self._connection.run(lambda: self._session.drop_table(spec.name))
            raise
        return opened

    def statistics(self) -> dict[str, TableStatistics]:
        """All tables of the job."""
        return {name: TableStatistics(name, **counters) for name, counters in self.ask_tables().items()}

    def ask_tables(self) -> dict[str, Any]:
        """Each table's settings, and its counters of all servers added up."""
        session = self._session
        replies = self._connection.run(lambda: asked_anew(lambda: session.ask_all(m.ListTables(), list)))
        tables: dict[str, Any] = {}
        for reply in replies:
            for name, counters in reply.value.items():
                known = tables.setdefault(name, {**counters, **dict.fromkeys(_SUMMED, 0)})
                known.update({each: known[each] + counters[each] for each in _SUMMED})
        return tables

    def submit(self, start: Callable[[], Pending], after: Sequence[Task], size: int) -> Task:
        """Ask for something, now or once the tasks have finished; `size` bytes are kept for it until then."""
        connection = self._connection
        if not isinstance(after, Sequence) or not all(isinstance(task, Task) for task in after):
            raise ConfigError(f"after={after!r:.80}; allowed: a list of tasks, as in after=[task]")
        if any(task.waiter is not connection for task in after):
            raise ConfigError("after= names a task of another client; wait for that one")
        with connection.lock:
            before = [task.pending for task in after]
            asked = partial(self._session.hold, before, size, start) if after else start
            pending = connection.start(lambda: self._session.watch(asked()))
            connection.advance()
            connection.respect_credit()
        return Task(pending, connection)

    def _updater(self, updater: Any) -> tuple[Any, int]:
        """The setting for an updater, and how many value arrays it takes."""
        if isinstance(updater, Rule):
            return updater, updater.inputs
        if isinstance(updater, str) and (updater in BUILTINS or ":" not in updater):
            return updater, 1
        if isfunction(updater) and updater.__module__ == optim.__name__:
            raise ConfigError(f"updater={updater.__name__} makes a rule and is none; call it: {call_of(updater)}")
        name = self.register("table_updater", updater)
        return function_wire(name), table_state(self._session.functions.get("table_updater", name))[1]
