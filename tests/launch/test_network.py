"""Addresses of this host."""

import pytest

from paracel.launch import job
from paracel.launch.network import in_url


@pytest.mark.parametrize(
    ("address", "shown"), [("10.0.0.1", "10.0.0.1"), ("::1", "[::1]"), ("fe80::1%eth0", "[fe80::1%eth0]")]
)
def test_an_address_in_an_endpoint(address, shown):
    assert in_url(address) == shown


@pytest.mark.parametrize(("address", "endpoint"), [("::1", "tcp://[::1]:*"), ("10.0.0.1", "tcp://10.0.0.1:*")])
def test_rank_0_listens_for_the_other_hosts(monkeypatch, address, endpoint):
    started = []
    monkeypatch.setattr(job, "Cluster", lambda *counts, **options: started.append((counts, options)))
    monkeypatch.setattr(job, "address_towards", {"other": address}.__getitem__)
    job._cluster(2, 3, ["other"])
    job._cluster(2, 3, [])
    assert started == [((2, 3), {"endpoint": endpoint}), ((2, 3), {})]
