import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracel.errors import ConfigError
from paracel.partition import ByteRange, split


def test_one_file_is_cut_evenly():
    assert split([("a", 10)], 3) == [
        (ByteRange("a", 0, 3),),
        (ByteRange("a", 3, 6),),
        (ByteRange("a", 6, 10),),
    ]


def test_a_share_may_span_files_and_a_file_several_shares():
    assert split([("a", 2), ("b", 6)], 2) == [
        (ByteRange("a", 0, 2), ByteRange("b", 0, 2)),
        (ByteRange("b", 2, 6),),
    ]


def test_empty_files_are_in_no_share():
    assert split([("a", 0), ("b", 1), ("c", 0)], 1) == [(ByteRange("b", 0, 1),)]
    assert split([("a", 0)], 2) == [(), ()]
    assert split([], 2) == [(), ()]


def test_no_parts_is_refused():
    with pytest.raises(ConfigError, match="into 0 parts; give 1 or more"):
        split([("a", 1)], 0)


@given(sizes=st.lists(st.integers(0, 40), max_size=8), parts=st.integers(1, 12))
def test_every_byte_is_in_one_share_and_shares_are_level(sizes, parts):
    files = [(f"file{number}", size) for number, size in enumerate(sizes)]
    shares = split(files, parts)
    covered = [(cut.path, byte) for share in shares for cut in share for byte in range(cut.begin, cut.end)]
    assert covered == [(path, byte) for path, size in files for byte in range(size)]
    assert all(cut.begin < cut.end for share in shares for cut in share)
    lengths = [sum(cut.end - cut.begin for cut in share) for share in shares]
    assert len(lengths) == parts
    assert max(lengths) - min(lengths) <= 1


def test_a_whole_file_is_where_its_middle_is():
    assert split([("a", 4), ("b.gz", 6), ("c", 4)], 2, {"b.gz"}) == [
        (ByteRange("a", 0, 4), ByteRange("b.gz", 0, 6, whole=True)),
        (ByteRange("c", 0, 4),),
    ]
    assert split([("a", 6), ("b.gz", 6)], 2, {"b.gz"})[1] == (ByteRange("b.gz", 0, 6, whole=True),)


@given(sizes=st.lists(st.integers(0, 40), max_size=8), chosen=st.sets(st.integers(0, 7)), parts=st.integers(1, 12))
def test_whole_files_are_never_cut_and_nothing_is_lost_beside_them(sizes, chosen, parts):
    files = [(f"file{number}", size) for number, size in enumerate(sizes)]
    whole = {f"file{number}" for number in chosen}
    shares = split(files, parts, whole)
    covered = [(cut.path, byte) for share in shares for cut in share for byte in range(cut.begin, cut.end)]
    assert covered == [(path, byte) for path, size in files for byte in range(size)]
    for cut in (cut for share in shares for cut in share):
        assert cut.whole == (cut.path in whole)
        assert not cut.whole or (cut.begin, cut.end) == (0, dict(files)[cut.path])
