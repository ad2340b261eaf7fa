import pytest

from paracel.errors import ConfigError
from paracel.launch.hostfile import Host, Placement, parse_hosts, read_hostfile, spread


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("node1", Host("node1")),
        ("  node1\t", Host("node1")),
        ("node1:4", Host("node1", 4)),
        ("node1 slots=4", Host("node1", 4)),
        ("node1\tslots=4  # the big one", Host("node1", 4)),
        ("node1:2# no space", Host("node1", 2)),
        ("n-1.example.org:16", Host("n-1.example.org", 16)),
        ("10.0.0.1:2", Host("10.0.0.1", 2)),
        ("fe80::1", Host("fe80::1")),
        ("::1 slots=2", Host("::1", 2)),
        ("[fe80::1]", Host("fe80::1")),
        ("[fe80::1]:3", Host("fe80::1", 3)),
        ("[fe80::1%eth0]:3", Host("fe80::1%eth0", 3)),
    ],
)
def test_a_line_is_read(line: str, host: Host):
    assert parse_hosts(line, "hosts") == (host,)


def test_comments_and_blank_lines_are_skipped_and_order_is_kept():
    text = "# ours\n\nb:2\r\n   \n  # no\na\n"
    assert parse_hosts(text, "hosts") == (Host("b", 2), Host("a"))


def test_a_host_named_again_gets_the_slots_of_both_lines():
    assert parse_hosts("a\nb:2\na\nb slots=3\na\n", "hosts") == (Host("a", 3), Host("b", 5))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("node1:0", "'0' is not a number of slots"),
        ("node1:", "'' is not a number of slots"),
        ("node1:-1", "'-1' is not a number of slots"),
        ("node1:two", "'two' is not a number of slots"),
        ("node1:²", "'²' is not a number of slots"),
        ("node1 slots=", "'' is not a number of slots"),
        ("node1 slots = 2", "'slots = 2' is not understood"),
        ("node1 max_slots=2", "'max_slots=2' is not understood"),
        ("node1 node2", "'node2' is not understood"),
        ("node1:2 slots=2", "given twice"),
        ("-oProxyCommand=x", "is not a host's name"),
        ("user@node1", "is not a host's name"),
        ("[node1]x", "is not a host's name"),
        ("[fe80::1", "is not a host's name"),
        ("a,b", "is not a host's name"),
        (":4", "'' is not a host's name"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(line: str, said: str):
    with pytest.raises(ConfigError) as caught:
        parse_hosts(f"good\n{line}\n", "my hosts")
    assert str(caught.value).startswith("my hosts:2: ")
    assert said in str(caught.value)
    assert "`host slots=n`" in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_file_without_hosts_is_refused(text: str):
    with pytest.raises(ConfigError, match="'hosts' names no host"):
        parse_hosts(text, "hosts")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"hostfile '.*nowhere' cannot be read"):
        read_hostfile(str(tmp_path / "nowhere"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"hostfile '.*binary' cannot be read"):
        read_hostfile(str(tmp_path / "binary"))


def test_read_hostfile_reads(tmp_path):
    (tmp_path / "hosts").write_text("a:2\nb\n")
    assert read_hostfile(str(tmp_path / "hosts")) == (Host("a", 2), Host("b"))


@pytest.mark.parametrize(
    ("count", "hosts", "per_host", "expected"),
    [
        (1, "a b", None, {"a": 1}),
        (5, "a b", None, {"a": 3, "b": 2}),
        (3, "a:2 b:2", None, {"a": 2, "b": 1}),
        (5, "a:1 b:9", None, {"a": 1, "b": 4}),
        (4, "a:4 b:4", 2, {"a": 2, "b": 2}),
        (4, "a b:1", None, {"a": 3, "b": 1}),
        (4, "a:2 b:2", None, {"a": 2, "b": 2}),
    ],
)
def test_processes_are_dealt_one_by_one_within_the_bounds(count, hosts, per_host, expected):
    placed = spread(count, parse_hosts(hosts.replace(" ", "\n"), "hosts"), per_host, "workers")
    assert placed == tuple(Placement(host, number) for host, number in expected.items())


@pytest.mark.parametrize(("hosts", "per_host", "fits"), [("a:2 b:1", None, 3), ("a b", 2, 4), ("a:9 b:1", 3, 4)])
def test_processes_fit_if_and_only_if_the_bounds_allow(hosts, per_host, fits):
    parsed = parse_hosts(hosts.replace(" ", "\n"), "hosts")
    assert sum(placed.count for placed in spread(fits, parsed, per_host, "workers")) == fits
    with pytest.raises(ConfigError, match=rf"{fits + 1} workers do not fit: there is room for {fits} \(a"):
        spread(fits + 1, parsed, per_host, "workers")
