import logging

from paracel import strangers, wire
from paracel.messages import Failure
from paracel.strangers import Strangers


def test_each_is_named_once_and_answered_always(caplog):
    met = Strangers("server 3")
    for sender in (b"\x01", b"\x02", b"\x01"):
        assert wire.decode(met.refuse(sender, "no message")).message == Failure("WireError", "no message")
    assert [record.getMessage() for record in caplog.records] == [
        "server 3: 01 sent what is no message",
        "server 3: 02 sent what is no message",
    ]


def test_the_log_has_an_end(caplog, monkeypatch):
    monkeypatch.setattr(strangers, "NAMED", 2)
    met = Strangers("the coordinator")
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            assert met.refuse(bytes([number]), "no message")
    assert [record.getMessage() for record in caplog.records] == [
        "the coordinator: 00 sent what is no message",
        "the coordinator: 01 sent what is no message; others will not be named",
    ]
