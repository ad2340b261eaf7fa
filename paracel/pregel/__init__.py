"""Pregel over the parameter server (Malewicz et al., SIGMOD 2010): vertex programs on graphs spread over workers."""

from paracel.pregel.engine import Result, run
from paracel.pregel.partition import Partition, partition
from paracel.pregel.pervertex import PerVertexProgram, Vertex
from paracel.pregel.program import EdgeMessages, VertexProgram, Vertices
from paracel.pregel.programs import ConnectedComponents, MaxValue, PageRank, ShortestPaths

__all__ = [
    "ConnectedComponents",
    "EdgeMessages",
    "MaxValue",
    "PageRank",
    "Partition",
    "PerVertexProgram",
    "Result",
    "ShortestPaths",
    "Vertex",
    "VertexProgram",
    "Vertices",
    "partition",
    "run",
]
