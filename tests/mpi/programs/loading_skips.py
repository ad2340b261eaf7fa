"""loading_skips.py FOLDER: what is left out, by all ranks together; rank 0 prints what each saw, as JSON."""

import json
import sys

import paracel
from paracel import loading

folder = sys.argv[1]


class Program(paracel.paralg):
    def solve(self):
        seen = {}
        for schedule in ("static", "dynamic"):
            settings = {"on_error": "skip", "schedule": schedule}
            ragged = self.paracel_load_csv(f"{folder}/ragged", **settings)
            headed = self.paracel_load_as_relations(f"{folder}/headed*", skip_header=3, comment="#", **settings)
            svm = self.paracel_load_libsvm(f"{folder}/svm", zero_based=True, skip_header=1, **settings)
            named = self.paracel_load_csv(f"{folder}/ragged", columns=(1, 0), skip_header=1, **settings)
            seen[schedule] = {
                "ragged": [ragged.features.tolist(), ragged.labels.tolist(), ragged.skipped],
                "headed": [headed.first.tolist(), headed.second.tolist(), headed.skipped],
                "svm": [svm.features.toarray().tolist(), svm.labels.tolist(), svm.skipped],
                "columns": [named.features.tolist(), named.labels.tolist(), named.skipped],
            }
        return seen


program = Program()
loading.chunks._LEAST_CHUNK = 8
everything = program.comm.allgather(program.solve())
if program.worker_id == 0:
    print(json.dumps(everything))
