"""Run a script several times in one process, each time to its error: `wrong_runs.py SCRIPT '[["name=value"], ...]'`.

Each time is as alone with these arguments on the command line. Printed is a JSON list of what each told: its output
on stderr with the traceback, or null if it came to a good end. Only for one process: no rank must wait for another.
"""

import io
import json
import runpy
import sys
import traceback
from contextlib import redirect_stderr
from pathlib import Path


def told(script: str, arguments: list[str]) -> str | None:
    sys.argv = [script, *arguments]
    with redirect_stderr(io.StringIO()) as err:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return err.getvalue() if end.code else None
        except Exception:
            traceback.print_exc()
            return err.getvalue()
    return None


if __name__ == "__main__":
    path, runs = sys.argv[1:]
    sys.path[0] = str(Path(path).parent)
    print(json.dumps([told(path, arguments) for arguments in json.loads(runs)]))
