"""What tests of Pregel share: a worker on a network without sockets, a program that records, some edges."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

import paracel
from paracel import pregel
from paracel.comm import Comm, SerialComm
from paracel.graphs import digraph
from paracel.launch import job
from support.cluster import FakeNetwork

WEIGHTED = [("s", "a", 4.0), ("s", "b", 1.0), ("b", "a", 2.0), ("a", "c", 1.0), ("x", "s", 1.0)]


class Program(paracel.paralg):
    def solve(self):
        """Nothing: what is tested is called from outside."""


@contextmanager
def lone_worker() -> Iterator[Program]:
    """The only worker of a job with two servers."""
    network = FakeNetwork(2, 1)
    with pytest.MonkeyPatch.context() as patch, network.clients():
        patch.delenv("PARACEL_COORDINATOR", raising=False)
        patch.setattr(job, "_job", job.Job(Comm(SerialComm()), network.client(0)))
        yield Program()


class Recorder(pregel.VertexProgram):
    """Notes in each superstep who is active and what has come; does as `steps` says."""

    combiner = "sum"
    dtype = "int64"
    aggregators: ClassVar = {"total": "sum", "least": "min", "greatest": "max"}

    def __init__(self, *steps):
        self.steps = steps
        self.seen = []

    def initial(self, vertices):
        return vertices.ids * 10

    def compute(self, vertices, messages):
        self.seen.append((vertices.ids.tolist(), messages.tolist(), vertices.received.tolist()))
        if vertices.superstep < len(self.steps):
            return self.steps[vertices.superstep](vertices, messages)
        vertices.vote_to_halt()
        return vertices.values, None


CHAIN = digraph([(1, 2), (2, 3), (1, 3)])
