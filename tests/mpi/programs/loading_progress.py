"""loading_progress.py input=FILE: a load that is long at once, and what prun said of it by the environment."""

import os
from dataclasses import replace

import paracel
from paracel.loading import progress


class Program(paracel.paralg):
    def __init__(self, input):
        super().__init__()
        self.input = input

    def solve(self):
        self.paracel_load_csv(self.input)
        print(f"PARACEL_PROGRESS={os.environ.get('PARACEL_PROGRESS')}.", flush=True)


progress._LINES = replace(progress._LINES, long=0.0, pause=0.0)
paracel.main(Program)
