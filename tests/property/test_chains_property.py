"""However servers come and go: every shard has its copies, evenly spread, and few are moved for it."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paracel.chains import Chain, first_chains, wanted_chains

CHANGES = st.lists(st.tuples(st.sampled_from(["join", "leave", "lose"]), st.integers(0, 99)), max_size=8)


def fewest_moves(chains: list[Chain], servers: set[int], replicas: int) -> int:
    """How many copies must be made so that all have an even share, whatever else is asked."""
    length = min(replicas, len(servers))
    held = Counter(server for chain in chains for server in [s for s in chain if s in servers][:length])
    share, extra = divmod(length * len(chains), len(servers))
    richest = sorted(servers, key=lambda server: -held[server])
    return sum(max(0, share + (at < extra) - held[server]) for at, server in enumerate(richest))


def check(before: list[Chain], after: list[Chain], servers: set[int], replicas: int) -> None:
    """All that is promised of one step."""
    assert all(len(chain) == len(set(chain)) == min(replicas, len(servers)) for chain in after)
    assert all(set(chain) <= servers for chain in after)
    load = Counter(dict.fromkeys(servers, 0)) | Counter(server for chain in after for server in chain)
    counts = [load[server] for server in servers]
    assert max(counts) - min(counts) <= 1
    primaries = Counter(chain[0] for chain in after)
    assert all(primaries[chain[0]] - primaries[server] <= 1 for chain in after for server in chain)
    for old, new in zip(before, after, strict=True):
        stayed = [server for server in old if server in new]
        rest = [server for server in new if server in old]
        assert rest == stayed or rest[1:] == [server for server in stayed if server != new[0]], "the order is kept"
    made = sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))
    assert made <= fewest_moves(before, servers, replicas) + 1 + len(before) // 8


@given(count=st.integers(1, 8), per_server=st.sampled_from([1, 2, 4, 7]), replicas=st.integers(1, 4), changes=CHANGES)
def test_copies_are_even_and_few_move_whoever_comes_and_goes(count, per_server, replicas, changes):
    servers = set(range(count))
    chains = first_chains(count * per_server, sorted(servers), replicas)
    for what, which in changes:
        before = chains
        if what == "join":
            servers |= {max(servers) + 1}
        elif len(servers) > 1:
            gone = sorted(servers)[which % len(servers)]
            servers -= {gone}
            if what == "lose":
                before = [tuple(server for server in chain if server != gone) for chain in chains]
        chains = wanted_chains(before, servers, replicas)
        check(before, chains, servers, replicas)
        assert wanted_chains(chains, servers, replicas) == chains, "and then nothing more"


@given(count=st.integers(2, 8), replicas=st.integers(1, 3), per_server=st.sampled_from([1, 4, 16]))
def test_a_server_that_joins_gets_its_share_from_the_others_alone(count, replicas, per_server):
    chains = first_chains(count * per_server, range(count), replicas)
    wanted = wanted_chains(chains, range(count + 1), replicas)
    made = [server for old, new in zip(chains, wanted, strict=True) for server in set(new) - set(old)]
    if replicas <= count:  # else all need one copy more, and the new server has them all
        share = count * per_server * replicas / (count + 1)
        assert set(made) <= {count}
        assert abs(len(made) - share) < 1
