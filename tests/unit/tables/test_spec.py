import numpy as np
import pytest

from paracel import optim
from paracel.errors import CarryError, ConfigError, FunctionError, ParacelError, TableError
from paracel.tables.spec import TableSpec, function_of, function_wire, make_spec, rule_of


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"size": 0}, "size=0; allowed: whole numbers from 1 on"),
        ({"size": 1.5}, "size=1.5; allowed"),
        ({"size": True}, "size=True; allowed"),
        ({"size": (1 << 48) + 1}, "allowed: whole numbers from 1 to 281474976710656"),
        ({"size": 1 << 30, "dim": 1 << 20}, "size=1073741824 with dim=1048576 and dtype=float32 is more than 4 TiB"),
        ({"dim": 0}, "dim=0; allowed"),
        ({"dim": 1 << 25}, "dim=33554432; allowed"),
        ({"dim": None}, "dim=None; allowed"),
        ({"seed": -1}, "seed=-1; allowed"),
        ({"seed": 1 << 63}, "seed=9223372036854775808; allowed"),
        ({"dtype": "float31"}, "dtype='float31' is no dtype"),
        ({"dtype": "f4,("}, "dtype='f4,\\(' is no dtype"),
        ({"dtype": {"a": 1}}, "is no dtype"),
        ({"dtype": bool}, "dtype=bool; allowed: integers and floats of at most 64 bits"),
        ({"dtype": "complex64"}, "dtype=complex64; allowed"),
        ({"dtype": np.longdouble}, "allowed: integers and floats of at most 64 bits"),
        ({"dtype": "U4"}, "allowed: integers and floats"),
        ({"dtype": "f4,f4"}, "allowed: integers and floats"),
        ({"apply": "pull"}, "apply='pull'; allowed: 'push', 'commit'"),
        ({"apply": None}, "apply=None; allowed: 'push', 'commit'"),
        ({"admit_after": 0}, "admit_after=0; allowed"),
        ({"admit_after": 2.0}, "admit_after=2.0; allowed"),
        ({"expire_after": 0}, "expire_after=0; allowed"),
        ({"max_rows": 0}, "max_rows=0; allowed"),
        ({"max_rows": "9"}, "max_rows='9'; allowed"),
        ({"size": 5, "max_rows": 9}, "are for sparse tables"),
        ({"size": 5, "admit_after": 2}, "are for sparse tables"),
        ({"size": 5, "expire_after": 2}, "are for sparse tables"),
        ({"init": "zeros"}, "init='zeros'; allowed: a number"),
        ({"init": None}, "init=None; allowed"),
        ({"init": ("normal", -1)}, "allowed: a number"),
        ({"init": 0.5, "dtype": "int32"}, "numbers that the dtype holds"),
        ({"init": 300, "dtype": "int8"}, "numbers that the dtype holds"),
        ({"init": "normal", "dtype": "int32"}, "float16, float32 and float64"),
        ({"updater": "append"}, "append"),
        ({"updater": "summ"}, "summ"),
        ({"updater": 5}, "5"),
        ({"updater": optim.adam(0.1), "dtype": "int32"}, "cannot work on dtype int32"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, text):
    with pytest.raises(ConfigError, match=text):
        make_spec("t", **settings)


def test_a_name_is_a_str():
    with pytest.raises(CarryError, match="must be a str"):
        make_spec(5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": 1 << 40, "dtype": "int8"},
        {"size": 1, "dim": 1 << 24},
        {"size": 7, "dim": 3, "dtype": ">f8", "init": ("normal", 0.1), "seed": 5},
        {"dtype": "uint8", "init": 255, "updater": "max", "apply": "commit"},
        {"admit_after": 3, "expire_after": 1, "max_rows": 1},
        {"updater": optim.chain(optim.clip_norm(1.0), optim.adam(0.01))},
        {"updater": function_wire("m:f"), "init": function_wire("m:g")},
        {"init": float("inf"), "updater": "min"},
    ],
)
def test_settings_travel(settings):
    spec = make_spec("t", **settings)
    assert TableSpec.from_wire(spec.to_wire()) == spec
    spec.check_same(TableSpec.from_wire(spec.to_wire()))


def test_rows_of_one_number_have_no_dimension():
    assert (make_spec("t").tail, make_spec("t", dim=3).tail) == ((), (3,))
    assert make_spec("t", dim=3, dtype="float64").row_bytes == 24


def test_functions_are_found_by_their_reference():
    spec = make_spec("t", updater=function_wire("m:f"))
    assert function_of(spec.updater) == "m:f"
    assert rule_of(spec, {"m:f": "the rule"}.get) == "the rule"
    assert function_of(spec.init) is None
    assert rule_of(make_spec("t"), lambda _reference: None) == optim.builtin("add")


GOOD = make_spec("t").to_wire()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {**GOOD, "more": 1},
        {key: value for key, value in GOOD.items() if key != "dim"},
        *(
            {**GOOD, key: value}
            for key in GOOD
            if key != "name"
            for value in (object, [[]], {"a": 1}, -7, "?", [1] * 3, b"")
        ),
        {**GOOD, "name": 5},
        {**GOOD, "updater": ["function"]},
        {**GOOD, "updater": ["function", 5]},
        {**GOOD, "init": ["function", None]},
    ],
)
def test_what_is_no_table_is_refused(data):
    with pytest.raises((ConfigError, CarryError, FunctionError)) as caught:
        TableSpec.from_wire(data)
    assert isinstance(caught.value, ParacelError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("addd", " Did you mean 'add'?"),
        ("adagrad", " Did you mean paracel.optim.adagrad(learning_rate)?"),
        ("adm", " Did you mean paracel.optim.adam(learning_rate)?"),
        ("quick", ""),
    ],
)
def test_an_updater_that_is_none_points_to_what_may_be_meant(name, hint):
    with pytest.raises(ConfigError) as caught:
        make_spec("t", updater=name)
    assert str(caught.value) == f"no updater {name!r}; built in: add, sub, mul, max, min, assign.{hint}"


def test_tables_that_differ_are_both_shown():
    ours = make_spec("t", 5, init=("normal", 0.1), updater=optim.sgd(0.1))
    theirs = make_spec("t", 6, init=2, updater=function_wire("m:f"))
    with pytest.raises(TableError) as caught:
        ours.check_same(theirs)
    text = str(caught.value)
    assert "table 't' exists with size=5, init=('normal', 0.1), updater=" in text
    assert "it was asked for with size=6, init=2, updater=m:f" in text
    assert "seed" not in text
