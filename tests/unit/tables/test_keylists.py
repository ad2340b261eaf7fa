from support.table_rules import uint64

from paracel.tables.keylists import KeyLists


def test_the_least_recently_used_lists_go():
    lists = KeyLists(100)
    for name in (b"a", b"b", b"c"):
        lists.put(name, uint64(range(4)))
    assert lists.get(b"a").tolist() == [0, 1, 2, 3]
    lists.put(b"d", uint64([1]))
    assert [name in lists for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert lists.nbytes == 72
    assert lists.get(b"b") is None


def test_a_list_that_comes_again_counts_once_and_as_used():
    lists = KeyLists(64)
    lists.put(b"a", uint64(range(4)))
    lists.put(b"b", uint64(range(4)))
    lists.put(b"a", uint64(range(4)))
    assert lists.nbytes == 64
    lists.put(b"c", uint64([1]))
    assert [name in lists for name in (b"a", b"b", b"c")] == [True, False, True]


def test_the_newest_is_kept_however_large():
    lists = KeyLists(8)
    lists.put(b"a", uint64([1]))
    lists.put(b"b", uint64(range(100)))
    assert (b"a" in lists, b"b" in lists, lists.nbytes) == (False, True, 800)
    lists.put(b"none", uint64([]))
    lists.put(b"c", uint64([1]))
    assert lists.nbytes == 8
