"""Two captures with a translation of addresses (NAT), or a load balancer, in between: one connection, two names."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli.app import run_command
from tests import two_points
from tests.two_points import BEGIN, HOSTS, MILLISECOND, SECOND, Clock, Network

TABLES = ("connections", "transitions", "anomalies", "diagnoses", "waits", "segments")
NAMES = ["client_ip", "server_ip", "client_port", "server_port", "community_id"]
CLIENT, SERVER = HOSTS


def behind_nat(packet):
    """Clients share a public address; each has a port of its own there."""
    return ("192.0.2.1", 20000 + 7 * (packet.port - 40000)), (SERVER, 80)


def balanced(packet):
    """A virtual address stands for several servers, which listen on another port."""
    return (CLIENT, packet.port), (f"10.1.0.{packet.port % 3 + 1}", 8080)


def masked_and_balanced(packet):
    return behind_nat(packet)[0], balanced(packet)[1]


def merged(folder, points, *, turned=False):
    files = [two_points.write(folder / f"{name}.pcap", taken) for name, taken in zip("ab", points, strict=True)]
    return tf.analyze(files[::-1] if turned else files, merge_vantage=True, tables=["segments"])


def told(trace, table):
    """A table's rows, without what is called by a name."""
    frame = getattr(trace, table)
    frame = frame.drop(columns=[c for c in frame if c in {*NAMES, "message", "service", "host", "next_step"}])
    kept = [c for c in frame if not c.startswith("evidence")]
    return frame[kept].astype(str).to_numpy().tolist()


def conversations(*, stamped=True, seeds=(1,), connections=6):
    """Conversations one after another; the numbers of no two connections begin alike."""
    packets = []
    for n, seed in enumerate(seeds):
        some = two_points.converse(Network(seed=seed, loss=0.1, stamped=stamped), connections)
        for packet in some:
            isn = (packet.port * 7919 + n * 104729) * 65537 % 2**31
            moved = 300 * SECOND * n
            ack = packet.ack + isn if packet.ack else 0
            arrived = None if packet.arrived is None else packet.arrived + moved
            packets.append(
                replace(packet, seq=packet.seq + isn, ack=ack, sent=packet.sent + moved, arrived=arrived,
                        port=packet.port + 100 * n)
            )  # fmt: skip
    return packets


@pytest.mark.no_cover
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("translated", [behind_nat, balanced, masked_and_balanced])
def test_a_translated_connection_is_one(tmp_path, translated, stamped, turned):
    """All that is told is what would be told without a translation, but for the names, which are the first one's."""
    packets = conversations(stamped=stamped)
    one, other = tmp_path / "plain", tmp_path / "translated"
    for folder in (one, other):
        folder.mkdir()
    expected = merged(one, two_points.captures(packets, Clock(5 * SECOND)), turned=turned)
    found = merged(other, two_points.captures(packets, Clock(5 * SECOND), translated=translated), turned=turned)
    grouped = not turned or translated is behind_nat  # by the first one's names: there, the servers are three
    for table in TABLES if grouped else [name for name in TABLES if name != "diagnoses"]:
        ours, theirs = told(found, table), told(expected, table)
        names = str(other), str(one)
        assert [[str(text).replace(*names) for text in row] for row in ours] == [
            [str(text) for text in row] for row in theirs
        ]
    ends = {(row.client_ip, row.client_port, row.server_ip, row.server_port) for row in found.connections.itertuples()}
    first = translated if turned else (lambda packet: ((CLIENT, packet.port), (SERVER, 80)))
    assert ends == {(*client, *server) for client, server in map(first, packets)}
    assert found.summary["vantage"]["translated"]["connections"] == len(ends) == 6


def test_a_public_port_that_is_given_to_another(tmp_path):
    """The same name at the second point is one connection first, another one later."""
    packets = conversations(seeds=(1, 2), connections=2)
    shared = two_points.captures(
        packets, Clock(), translated=lambda p: (("192.0.2.1", 20000 + p.port % 2), (SERVER, 80))
    )
    found, expected = merged(tmp_path, shared), merged(tmp_path, two_points.captures(packets, Clock()))
    assert len(found.connections) == 4
    assert told(found, "connections") == told(expected, "connections")
    assert told(found, "segments") == told(expected, "segments")


def test_where_some_are_translated_the_others_keep_their_names(tmp_path):
    packets = conversations()
    some = two_points.captures(
        packets, Clock(), translated=lambda p: behind_nat(p) if p.port % 2 else ((CLIENT, p.port), (SERVER, 80))
    )
    found = merged(tmp_path, some)
    assert found.summary["vantage"]["translated"]["connections"] == 3
    assert set(found.connections.client_ip) == {CLIENT}
    assert len(found.connections) == 6


def test_a_capture_too_long_to_be_kept_whole(tmp_path, monkeypatch):
    """Of samples the two keep the same segments, and SYNs rather than others."""
    from tcptrace_fsm.runs.vantage import comparison

    packets = conversations(seeds=range(1, 30), connections=4)
    files = [
        two_points.write(tmp_path / f"{name}.pcap", taken)
        for name, taken in zip("ab", two_points.captures(packets, Clock(), translated=behind_nat), strict=True)
    ]
    profile = tf.tcp.profiles.profile("linux")
    found = comparison.compare(*files, profile, limit=400)
    assert found.translation.connections == 29 * 4


def test_the_first_screen_names_one(tmp_path, capsys):
    files = [
        two_points.write(tmp_path / f"{name}.pcap", taken)
        for name, taken in zip("ab", two_points.captures(conversations(), Clock(), translated=behind_nat), strict=True)
    ]
    assert run_command(["analyze", *files, "--merge-vantage"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "10.0.0.1:40000 > 10.0.0.2:80 is 192.0.2.1:20000 > 10.0.0.2:80 at the second point; 5 other" in shown


def test_one_number_in_common_makes_no_connection_one(tmp_path, capsys):
    """Two SYNs without timestamps that begin at the same number may be anybody's."""
    syn = two_points.Packet(0, 1000, 0, "S", 0, BEGIN, 5, 40000, None, arrived=BEGIN + MILLISECOND)
    files = [
        two_points.write(tmp_path / f"{name}.pcap", taken)
        for name, taken in zip("ab", two_points.captures([syn], Clock(), translated=behind_nat), strict=True)
    ]
    assert run_command(["analyze", *files, "--merge-vantage"]) == 2
    assert "no segment in common" in capsys.readouterr().err


def test_a_proxy_has_two_connections(tmp_path, capsys):
    """What begins anew, with numbers of its own, is not the same connection."""
    one, other = conversations(), [replace(p, seq=p.seq + 77, ack=p.ack and p.ack + 99) for p in conversations()]
    taken = two_points.captures(one, Clock())[0], two_points.captures(other, Clock(), translated=behind_nat)[1]
    files = [two_points.write(tmp_path / f"{name}.pcap", some) for name, some in zip("ab", taken, strict=True)]
    assert run_command(["analyze", *files, "--merge-vantage"]) == 2
    assert "no segment in common" in capsys.readouterr().err
