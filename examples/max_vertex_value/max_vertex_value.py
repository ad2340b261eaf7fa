"""Maximum value: every vertex learns the greatest value among those from which it can be reached, by Pregel.

In each superstep a vertex takes the greatest value that it hears of, tells its neighbours if that was news, and halts
until it hears of another one.
"""

import numpy as np

import paracel
from paracel import pregel


class MaxValue(pregel.VertexProgram):
    """The program of all vertices at once; a vertex begins with its id as its value."""

    combiner = "max"

    def initial(self, vertices):
        return vertices.ids.astype(np.float64)

    def compute(self, vertices, messages):
        greatest = np.maximum(vertices.values, messages)
        news = (greatest > vertices.values) | (vertices.superstep == 0)
        vertices.vote_to_halt()
        return greatest, np.ma.array(greatest, mask=~news)  # masked vertices send nothing


class MaxValueOneByOne(pregel.PerVertexProgram):
    """The same, written for one vertex: slower, but as one thinks."""

    combiner = "max"

    def initial_value(self, id):
        return float(id)

    def compute_vertex(self, vertex, message):
        if vertex.superstep == 0 or message > vertex.value:
            vertex.value = vertex.value if message is None else message
            vertex.send_to_all(vertex.value)
        vertex.vote_to_halt()


PROGRAMS = {"vectorised": MaxValue, "per_vertex": MaxValueOneByOne}


class MaxVertexValue(paracel.paralg):
    """Spreads the greatest values along the edges of `input`, lines `src,dst` of whole numbers.

    `method` is `vectorised` or `per_vertex`. With `output`, `vertex_val_0` there has lines `vertex<TAB>value`.
    """

    def __init__(
        self, input: str | list[str], output: str = "", *, method: str = "vectorised", separator: str = ","
    ) -> None:
        super().__init__(output=output)
        if method not in PROGRAMS:
            raise ValueError(f"method is {method!r}; allowed: {', '.join(map(repr, PROGRAMS))}")
        self.input = input
        self.method = method
        self.separator = separator

    def solve(self) -> None:
        graph = self.paracel_load_as_graph(self.input, self.separator)
        found = pregel.run(self, PROGRAMS[self.method](), graph)
        everyone = self.comm.gather(np.unique(found.values, return_counts=True))
        if self.worker_id == 0:
            values, counts = map(np.concatenate, zip(*everyone, strict=True))
            greatest = values.max()
            print(f"vertices: {counts.sum()}")
            print(f"supersteps: {found.supersteps}")
            print(f"greatest value: {greatest:g}")
            print(f"vertices that it reached: {counts[values == greatest].sum()}")
        if self.output:
            self.paracel_dump_dict(found.to_dict(), "vertex_val_", merge=True)


if __name__ == "__main__":
    paracel.main(MaxVertexValue)
