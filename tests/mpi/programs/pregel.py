"""pregel.py FILE OUT: all of Pregel's programs on the edges of a file, of which each rank brings a share of its own.

Rank 0 writes to OUT, as JSON, what each of them found and in how many supersteps. Ids are text for some, else numbers.
`pregel.py errors OUT`: what each rank was told by runs that fail, after each of which another run finds its answer.
"""

import json
import sys
from pathlib import Path

import numpy as np

import paracel
from paracel import pregel
from paracel.graphs import bigraph, digraph, undirected_graph


class Reach(pregel.PerVertexProgram):
    """How many ways of two edges lead to a vertex from others that have as many letters."""

    def initial_value(self, id):
        return 0.0

    def compute_vertex(self, vertex, message):
        if vertex.superstep < 2:
            for target, _ in vertex.edges:
                if vertex.superstep == 0 and len(target) == len(vertex.id):
                    vertex.send(target, 1)
            if message is not None:
                vertex.send_to_all(message)
        else:
            vertex.value = message or 0.0
            vertex.vote_to_halt()


class Everything(paracel.paralg):
    def __init__(self):
        super().__init__(servers=2)

    def solve(self, edges):
        ids = edges[self.worker_id :: self.worker_size]
        numbers = ids.astype(int)
        source = min(edges[:, 0])
        links = pregel.partition(self.comm, digraph.from_edges(*ids.T))
        weighted = digraph.from_edges(*numbers.T, numbers.sum(axis=1) % 5 + 1.0)
        undirected = undirected_graph.from_edges(*numbers.T)
        runs = {
            "reach": (Reach(), links),
            "pagerank": (pregel.PageRank(200), links),
            "paracel": (pregel.PageRank(200, normalised=False), links),
            "hops": (pregel.ShortestPaths(source), links),
            "paths": (pregel.ShortestPaths(int(source)), weighted),
            "components": (pregel.ConnectedComponents(), undirected),
            "greatest": (pregel.MaxValue(), weighted),
        }
        return {name: pregel.run(self, *each) for name, each in runs.items()}


class Raises(pregel.VertexProgram):
    """Fails where it is told to, with messages on their way."""

    dtype = "int64"

    def __init__(self, *, begin=False, compute=False):
        self.begin, self.fails = begin, compute

    def initial(self, vertices):
        if self.begin:
            raise RuntimeError("at the beginning")
        return 0

    def compute(self, vertices, messages):
        if self.fails and vertices.superstep == 2:
            raise RuntimeError("in between")
        return vertices.values, np.ones(len(vertices.ids), int)


class Errors(paracel.paralg):
    def solve(self):
        last = self.worker_id == self.worker_size - 1
        chain = [(n, n + 1) for n in range(1, 20)]
        graph, unordered = digraph(chain), digraph(chain)
        unordered.add_edges(["a"], ["b"])
        cases = {
            "all": (Raises(compute=True), graph),
            "one": (Raises(compute=last), graph),
            "initial": (Raises(begin=last), graph),
            "class": (Raises if last else Raises(), graph),
            "directed": (pregel.ConnectedComponents(), graph),
            "source": (pregel.ShortestPaths(99999), graph),
            "text": (pregel.ShortestPaths("1"), graph),
            "sides": (Raises(), bigraph(chain) if last else graph),
            "kinds": (Raises(), undirected_graph(chain) if last else graph),
            "ids": (Raises(), unordered if last else graph),
        }
        return {name: self.told(*case, graph) for name, case in cases.items()}

    def told(self, program, wrong, graph):
        error = None
        try:
            pregel.run(self, program, wrong)
        except (RuntimeError, paracel.ConfigError) as raised:
            error = f"{type(raised).__name__}: {raised}"
        self.paracel_sync()
        assert self.tables() == {}
        self.paracel_sync()
        assert set(pregel.run(self, pregel.ShortestPaths(20), graph).values) <= {0.0, np.inf}
        return error


if sys.argv[1] == "errors":
    errors = Errors()
    told = errors.comm.gather(errors.solve())
    if errors.worker_id == 0:
        Path(sys.argv[2]).write_text(json.dumps({name: [each[name] for each in told] for name in told[0]}))
    sys.exit()
program = Everything()
found = program.solve(np.loadtxt(sys.argv[1], str, delimiter=","))
parts = program.comm.gather({name: [each.to_dict(), each.supersteps] for name, each in found.items()})
if program.worker_id == 0:
    whole = {}
    for name in found:
        values = {str(v): value for part in parts for v, value in part[name][0].items()}
        assert len(values) == sum(len(part[name][0]) for part in parts)  # each vertex has one owner
        whole[name] = [values, *{part[name][1] for part in parts}]
    Path(sys.argv[2]).write_text(json.dumps(whole))
