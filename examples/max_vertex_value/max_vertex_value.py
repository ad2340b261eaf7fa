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
    dtype = "int64"

    def initial(self, vertices):
        return vertices.ids

    def compute(self, vertices, messages):
        greatest = np.maximum(vertices.values, messages)
        news = (greatest > vertices.values) | (vertices.superstep == 0)
        vertices.vote_to_halt()
        return greatest, np.ma.array(greatest, mask=~news)  # masked vertices send nothing


class MaxValueOneByOne(pregel.PerVertexProgram):
    """The same, written for one vertex: slower, but as one thinks."""

    combiner = "max"
    dtype = "int64"

    def initial_value(self, id):
        return id

    def compute_vertex(self, vertex, message):
        if vertex.superstep == 0 or message > vertex.value:
            vertex.value = vertex.value if message is None else message
            vertex.send_to_all(vertex.value)
        vertex.vote_to_halt()


PROGRAMS = {"vectorised": MaxValue, "per_vertex": MaxValueOneByOne}


def most_frequent(everyone, top):
    """The values that most vertices have, with how many, from each worker's values and counts."""
    values, counts = map(np.concatenate, zip(*everyone, strict=True))
    distinct, places = np.unique(values, return_inverse=True)
    totals = np.bincount(places, counts).astype(int)
    best = np.lexsort((-distinct, -totals))[:top]
    return zip(distinct[best], totals[best], strict=True)


class MaxVertexValue(paracel.paralg):
    """Spreads the greatest values along the edges of `input`, lines `src,dst` of whole numbers.

    Prints the `top` values that most vertices have. `method` is `vectorised` or `per_vertex`. With `output`,
    `vertex_val_0` there has lines `vertex<TAB>value`.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        *,
        method: str = "vectorised",
        separator: str = ",",
        top: int = 5,
    ) -> None:
        super().__init__(output=output)
        if method not in PROGRAMS:
            raise ValueError(f"method is {method!r}; allowed: {', '.join(map(repr, PROGRAMS))}")
        self.input = input
        self.method = method
        self.separator = separator
        self.top = top

    def solve(self) -> None:
        graph = self.paracel_load_as_graph(self.input, self.separator)
        if graph.ids.dtype.kind == "U":
            raise paracel.ConfigError(
                f"vertices of input={self.input!r} are text, as {graph.ids[0].item()!r}; a vertex begins with its id "
                "as its value, so ids must be whole numbers"
            )
        found = pregel.run(self, PROGRAMS[self.method](), graph)
        everyone = self.comm.gather(np.unique(found.values, return_counts=True))
        if self.worker_id == 0:
            print(f"vertices: {sum(counts.sum() for _, counts in everyone)}")
            print(f"supersteps: {found.supersteps}")
            for value, count in most_frequent(everyone, self.top):
                print(f"{value} : {count}")
        if self.output:
            self.paracel_dump_dict(found.to_dict(), "vertex_val_", merge=True)


if __name__ == "__main__":
    paracel.main(MaxVertexValue)
