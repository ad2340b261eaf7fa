"""Users' updaters, initial values and functions on real servers, and servers that lack memory or numba."""

import re
from pathlib import Path

import numpy as np
import pytest
from real import Job, Programs, ended, eventually

import paracel
from paracel import optim
from paracel.launch.embedded import Cluster

SERVED = Path(__file__).with_name("served_tables.py")
COMPILING = 100.0


def test_updaters_of_a_file_keep_state_and_take_several_inputs() -> None:
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for size in (50_000, None):
            counted = client.table(f"counted {size}", size, 2, updater=f"{SERVED}:counted")
            keys = np.arange(0, 50_000, 10)
            counted.push(keys, 2)
            counted.push(keys[::2], 3)
            rows, times = counted.pull(keys[:4], state="times").result()
            assert rows.tolist() == [[5, 5], [2, 2], [5, 5], [2, 2]]
            assert times.tolist() == [[2, 2], [1, 1], [2, 2], [1, 1]]
            weighted = client.table(f"weighted {size}", size, updater=f"{SERVED}:weighted", dtype="float64")
            weighted.push(keys, 2, np.arange(5000))
            weighted.push(keys, np.ones(5000), -3)
            rows, largest = weighted.pull(keys, state=["largest"]).result()
            assert np.array_equal(rows, 3 - 2.0 * np.arange(5000))
            assert np.array_equal(largest, np.arange(5000))
            with pytest.raises(paracel.CarryError, match="takes 2 value arrays in a push, not 1"):
                weighted.push(keys, 2)


def test_rules_of_optim_do_on_servers_what_they_do_here() -> None:
    rng = np.random.default_rng(5)
    keys = np.unique(rng.integers(0, 30_000, 5000))
    rules = [
        optim.sgd(0.1), optim.momentum(0.1), optim.adagrad(0.1), optim.adam(0.01), optim.ftrl(0.1, l1=0.01),
        optim.chain(optim.clip_norm(1.0), optim.adam(0.01)), optim.builtin("max"),
    ]  # fmt: skip
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for number, rule in enumerate(rules):
            for size in (30_000, None):
                table = client.table(f"{number} {size}", size, 3, "float64", updater=rule, init=0.25)
                rows = np.full((len(keys), 3), 0.25)
                forms = rule.columns()
                state = {n: np.full(len(keys) if c.per_row else rows.shape, c.initial, float) for n, c in forms.items()}
                for _ in range(3):
                    gradient = rng.standard_normal(rows.shape)
                    table.push(keys, gradient)
                    rows = rule.apply(rows, gradient, state)
                got = table.pull(keys, state=sorted(state)).result()
                got = got if state else (got,)
                for found, expected in zip(got, [rows, *(state[n] for n in sorted(state))], strict=True):
                    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_an_updater_that_raises_or_returns_what_are_no_rows_changes_nothing() -> None:
    said = {
        "refuse": "ValueError: no delta of -1.0 for 5 rows",
        "too_short": r"made float32 of shape \(4, 2\) of rows that are float32 of shape \(5, 2\)",
        "complex_rows": r"made complex64 of shape \(5, 2\)",
        "spoils_its_input": "read-only",
    }
    with Job(1) as job, job.connect(timeout=COMPILING) as client:
        for name, text in said.items():
            for size in (10, None):
                table = client.table(f"{name} {size}", size, 2, updater=f"{SERVED}:{name}")
                for keys in ([1, 2, 3, 4, 9], slice(0, 5)):
                    with pytest.raises(paracel.ServerFunctionError, match=text):
                        table.push(keys, -1).result()
                    with pytest.raises(paracel.ServerFunctionError, match=text):
                        table.push_pull(keys, -1).result()
                assert table.pull([1, 9]).result().tolist() == [[0, 0]] * 2
                assert table.statistics().keys == (size or 0)
        table = client.table("refuse 10", 10, 2, updater=f"{SERVED}:refuse")
        table.push([1, 2], 5).result()
        assert table.pull([1, 2, 3]).result()[:, 0].tolist() == [5, 5, 0]


def test_an_updater_that_fails_when_a_clock_is_complete_fails_the_table() -> None:
    with Job(2) as job, job.connect(worker=0) as client:
        table = client.table("w", 10, updater=f"{SERVED}:refuse", apply="commit")
        table.push(slice(None), -1)
        client.commit()
        client.wait_acknowledged()
        for ask in (table.pull, lambda: table.push(0, 1), lambda: table.run(f"{SERVED}:total")):
            with pytest.raises(
                paracel.TableError, match=r"updater of table 'w' failed at the end of a clock[\s\S]*-1.0"
            ):
                ask().result()
        table.drop()
        again = client.table("w", 10, updater=f"{SERVED}:refuse", apply="commit")
        again.push(slice(None), 1)
        client.commit()
        client.wait_acknowledged()
        assert again.pull().result().tolist() == [1] * 10


def test_initial_values_of_a_function() -> None:
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for size in (10_000, None):
            table = client.table(f"by key {size}", size, init=f"{SERVED}:by_key")
            keys = np.arange(9_999, -1, -7)
            table.push(keys[::2], 1000)
            expected = keys % 100 + 1000 * (np.arange(len(keys)) % 2 == 0)
            assert np.array_equal(table.pull(keys).result(), expected)


def test_an_initial_function_that_raises_or_makes_what_are_no_rows() -> None:
    unlucky, one_too_many = f"{SERVED}:unlucky", f"{SERVED}:one_too_many"
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for init, text in ((unlucky, "13 is unlucky"), (one_too_many, "an initial value of shape")):
            with pytest.raises(paracel.ServerFunctionError, match=text):
                client.table("dense", 10_000, init=init)
            assert client.tables() == {}, "nor is it left on those servers where it could be made"
        with pytest.raises(paracel.ServerFunctionError, match="an initial value of shape"):
            client.table("sparse", init=one_too_many)
        assert client.table("dense", 10).pull().result().tolist() == [0] * 10
        table = client.table("sparse", init=unlucky)
        for keys in ([13], np.arange(10, 20)):
            for ask in (lambda keys=keys: table.push(keys, 1), lambda keys=keys: table.pull(keys)):
                with pytest.raises(paracel.ServerFunctionError, match="13 is unlucky"):
                    ask().result()
        table.push([1, 2], 1).result()
        with pytest.raises(paracel.ServerFunctionError):
            table.push([2, 13], 1, shard=int(table.shard_of([13])[0])).result()
        table.push(np.arange(100, 10_000), 1).result()
        assert table.pull([1, 100, 9_999, 55]).result().tolist() == [6, 6, 6, 5]


def test_server_functions() -> None:
    total, multiply, listed = (f"{SERVED}:{name}" for name in ("total", "multiply", "listed"))
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for size in (50_000, None):
            table = client.table(f"w {size}", size, 2, updater=f"{SERVED}:counted")
            table.push(np.arange(50_000), np.arange(100_000).reshape(-1, 2))
            assert table.run(total, merge=sum).result() == sum(range(100_000))
            assert len(table.run(total).result()) == 2
            assert table.run(multiply, 2.0, merge=sum).result() == 50_000
            assert table.run(multiply, 0.5, keys=np.arange(100), merge=sum).result() == 100
            assert table.pull([99, 100]).result().tolist() == [[198, 199], [400, 402]]
            if size:
                assert table.run(multiply, 3.0, keys=slice(100, 102), merge=sum).result() == 2
                assert table.pull([100]).result().tolist() == [[1200, 1206]]
            owners = table.shard_of([7, 8, 9])
            for server in (0, 1):
                own = np.array([7, 8, 9], np.uint64)[owners == server]
                (found,) = table.run(listed, ["times"], shard=server, keys=own).result() or [None]
                if len(own):
                    keys, rows, (times,) = found
                    assert np.array_equal(keys, own)
                    assert np.array_equal(rows[:, 0], 2 * own)
                    assert np.all(times == 1)
            for name, text in (("fail", "nothing here"), ("hand_out_a_type", "type")):
                with pytest.raises((paracel.ServerFunctionError, paracel.CarryError), match=text):
                    table.run(f"{SERVED}:{name}").result()
            with pytest.raises(paracel.FunctionError, match="has no 'nothing'"):
                table.run(f"{SERVED}:nothing")
            with pytest.raises(paracel.FunctionError, match="a updater, and a table_function was asked for"):
                table.run(f"{SERVED}:counted")


SCRIPT = """
import sys
import numpy as np
import paracel

@paracel.updater(state={"last": 0.0})
def halfway(rows, deltas, state):
    state["last"][:] = deltas
    return (rows + deltas) / 2

@paracel.server_function
def largest(keys, rows, state):
    return float(rows.max())

def begin(keys):
    return keys * 2.0

def pack(values):
    return [value.astype(np.float64) for value in values]

def unpack(payload):
    return [value.astype(np.float32) for value in payload]

if __name__ == "__main__":
    with paracel.connect(servers=2) as client:
        packing = [paracel.filters.Custom(pack, unpack)]
        table = client.table("w", 100_000, updater=halfway, init=begin, push_filters=packing)
        table.push([10, 20], 40)
        rows, last = table.pull([10, 20, 30], state="last").result()
        print("found", rows.tolist(), last.tolist(), table.run(largest, merge=max).result())
"""


def test_functions_of_a_script_travel_by_name(programs: Programs) -> None:
    program = programs.start(SCRIPT)
    program.check_ended_well()
    assert program.wait_said("found") == "[30.0, 40.0, 60.0] [40.0, 40.0, 0.0] 199998.0"


# --- what servers lack --------------------------------------------------------------------------------------------


def test_a_server_whose_memory_a_sparse_table_fills_goes_on() -> None:
    """What was refused is not there, not even a part of it, and all that was there before still is."""
    rng = np.random.default_rng(8)
    with Job(1, memory_limit_mb=300) as job, job.connect(timeout=COMPILING) as client:
        table = client.table("w", dim=8, dtype="float64", init=0.5)
        pushed = []

        def fill() -> None:
            for _ in range(100):
                keys = np.unique(rng.integers(0, 2**64, 50_000, np.uint64))
                table.push(keys, 1).result()
                pushed.append(keys)

        with pytest.raises(paracel.ParacelError, match="emory"):
            fill()
        assert not ended(job.servers[0].pid)
        there = np.concatenate(pushed)
        assert len(there) > 100_000
        assert table.statistics().keys == len(np.unique(there))
        table.push(pushed[0], 1).result()
        for keys, expected in ((pushed[0], 2.5), (pushed[-1], 1.5), (np.arange(1000), 0.5)):
            assert np.all(table.pull(keys).result() == expected)
        client.table("small", 10).push(0, 1).result()
        table.drop()
        again = client.table("w", dim=8, dtype="float64", init=0.5)
        eventually(lambda: again.push(pushed[0], 1).result() is None)
        assert np.all(again.pull(pushed[0]).result() == 1.5)


def test_a_dense_table_that_is_larger_than_the_servers_memory() -> None:
    with Job(2, memory_limit_mb=400) as job, job.connect() as client:
        with pytest.raises(paracel.ParacelError, match="emory"):
            client.table("w", 10**9)
        assert client.tables() == {}
        client.table("w", 10**6).push(slice(None), 1).result()
        with pytest.raises(paracel.ConfigError, match="is more than 4 TiB"):
            client.table("larger", 2**40, 2)


WITHOUT = """
import sys
import paracel
with paracel.connect(sys.argv[1], worker=0, staleness=1, timeout=100) as client:
    dense = client.table("dense", 10)
    dense.push(0, 1)
    print("dense", dense.pull(0).result()[0])
    try:
        table = client.table("sparse")
        table.push([1, 2], 1)
        print("fresh", table.pull([1, 2], staleness=None).result().tolist())
        table.pull([1, 2]).result()
    except paracel.ConfigError as error:
        print("error", error)
"""
HINT = "sparse tables need numba: pip install 'paracel[sparse]'"


@pytest.mark.parametrize("on_servers", [True, False])
def test_pythons_without_numba(
    on_servers: bool, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Clients without it, with servers that lack it too, or do not; and a client that has it."""
    shim = tmp_path / "numba"
    shim.mkdir()
    (shim / "__init__.py").write_text('raise ModuleNotFoundError("No module named \'numba\'", name="numba")')
    with monkeypatch.context() as patch:
        if on_servers:
            patch.setenv("PYTHONPATH", str(tmp_path))
        cluster = Cluster(2)
    with cluster:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(tmp_path))
            program = programs.start(WITHOUT, cluster.address)
        with paracel.connect(cluster.address, timeout=COMPILING) as client:
            if on_servers:
                with pytest.raises(paracel.ConfigError, match=re.escape(HINT)):
                    client.table("mine")
                assert "mine" not in client.tables()
            else:
                client.table("mine").push(0, 1).result()
        program.check_ended_well()
        assert program.wait_said("dense") == "1.0", "dense tables do without"
        assert program.wait_said("error") == HINT
        assert ("fresh [1.0, 1.0]" in program.out) != on_servers, "only its cache needs it of a client"
