"""loading.py FOLDER: every pattern and schedule over all ranks; rank 0 prints what each saw, as JSON."""

import json
import sys

import paracel
from paracel import loading
from paracel.errors import LoadError

folder = sys.argv[1]


def block(found):
    if isinstance(found.matrix, list) or not hasattr(found.matrix, "tocoo"):
        return [found.row_ids.tolist(), found.matrix.tolist()]
    coo = found.matrix.tocoo()
    entries = zip(found.row_ids[coo.row].tolist(), found.col_ids[coo.col].tolist(), coo.data.tolist())
    return {"rows": found.row_ids.tolist(), "columns": found.col_ids.tolist(), "entries": sorted(entries)}


def failure(source, **settings):
    try:
        program.paracel_load_as_matrix(f"{folder}/{source}", **settings)
    except LoadError as error:
        return str(error)


class Program(paracel.paralg):
    def solve(self):
        seen = {"grid": loading.process_grid("fsmap", self.worker_size)}
        for pattern in ("fmap", "smap", "fsmap", "fset"):
            seen[pattern] = block(self.paracel_load_as_matrix(f"{folder}/pairs", pattern=pattern, mix=True))
        for name in ("ints", "few", "empty"):
            seen[name] = block(self.paracel_load_as_matrix(f"{folder}/{name}"))
        for schedule in ("static", "dynamic"):
            for pattern in ("linesplit", "fvec"):
                found = self.paracel_load_as_matrix(f"{folder}/rows*", pattern=pattern, schedule=schedule)
                seen[f"{pattern}_{schedule}"] = block(found)
            seen[f"lines_{schedule}"] = self.paracel_load(f"{folder}/rows*", schedule=schedule)
        relations = loading.load_relations(self.comm, f"{folder}/pairs", mix=True, on_error="skip")
        seen["relations"] = [column.tolist() for column in relations]
        features, labels = self.paracel_load_libsvm(f"{folder}/svm")
        seen["svm"] = [list(features.shape), features.toarray().sum(axis=0).tolist(), labels.tolist()]
        seen["skipped"] = self.paracel_load_as_matrix(f"{folder}/bad", on_error="skip").skipped
        seen["errors"] = [failure("bad"), failure("none"), failure("uneven", pattern="linesplit")]
        self.paracel_sync()
        seen["left"] = self.paracel_readall()
        return seen


program = Program()
loading.chunks._LEAST_CHUNK = 64
everything = program.comm.allgather(program.solve())
if program.worker_id == 0:
    print(json.dumps(everything))
