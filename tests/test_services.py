"""Services: how long the answers of each server took, over all its connections."""

from __future__ import annotations

import random
import statistics

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.core.services import MOST, Services
from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels import services as compiled
from tcptrace_fsm.views.summary import facts, service_text, summary_dict
from tests.kernels import Watched, uncompiled
from tests.strategies import SECOND, run

OPEN = """
    0.000 > S  0:0(0)          win 65535 <mss 1460>
    0.010 < S. 0:0(0)   ack 1  win 65535 <mss 1460>
    0.010 > .  1:1(0)   ack 1  win 65535
"""


def asked(times):
    """A conversation of requests that are answered after these times, s; the server is 10 ms away."""
    lines, at, request, answer = [OPEN], 0.1, 1, 1
    for took in times:
        lines.append(f"{at:.6f} > P. {request}:{request + 10}(10) ack {answer} win 65535")
        at += 0.010 + took
        request += 10
        lines.append(f"{at:.6f} < P. {answer}:{answer + 20}(20) ack {request} win 65535")
        answer += 20
        at += 0.001
    return "\n".join(lines)


def services_of(*texts, merged=False):
    services = Services()
    for text in texts:
        part = Services()
        connection = run(text).connections[0]
        (part if merged else services).take(connection.words, 1)
        services.merge(part)
    return services.rows()


def test_a_few_answers_are_what_they_were():
    (service,) = services_of(asked([0.2, 3.0, 0.4]))
    assert (service.connections, service.requests, service.responses) == (1, 3, 3)
    assert service.response_median == pytest.approx(0.4 * SECOND, rel=0.04)
    assert service.response_max == pytest.approx(3 * SECOND, abs=2)
    assert service.rtt == pytest.approx(10_000_000, abs=2)
    assert service.service.startswith(service.server_ip)


@pytest.mark.parametrize("outliers", [0, 3, 40])
def test_quantiles_of_many_answers_of_one_connection(outliers):
    """One in a hundred that takes 8 s says nothing of the 95th percentile; forty in two hundred say all of it."""
    lot = random.Random(5)
    times = [lot.lognormvariate(-4, 0.4) for _ in range(200 - outliers)] + [8.0] * outliers
    lot.shuffle(times)
    (service,) = services_of(asked(times))
    ordered = sorted(times)
    assert service.responses == 200
    assert service.response_median == pytest.approx(statistics.median(times) * SECOND, rel=0.1)
    assert service.response_p95 == pytest.approx(ordered[189] * SECOND, rel=0.3)
    assert service.response_max == pytest.approx(max(times) * SECOND, rel=0.001)


def test_connections_add_up_in_whatever_order_and_parts():
    texts = [asked([0.01 * i, 0.5]) for i in range(1, 8)]
    whole = services_of(*texts)
    assert whole == services_of(*reversed(texts)) == services_of(*texts, merged=True)
    assert whole[0].responses == 14
    assert whole[0].response_p95 == pytest.approx(0.5 * SECOND, rel=0.04)


def block_of(words, *, low, port, answers=()):
    """A finished connection of another server, with these answers, ns."""
    made = words[:]
    made[k.C_SERVER_LO], made[k.C_PORTS] = low, 50_000 << 16 | port
    made[k.C_RESPONSES] = len(answers)
    made[k.C_RESPONSE_MARKER : k.C_RESPONSE_MARKER + len(answers)] = type(made)("q", answers)
    made[k.C_RESPONSE_MAX] = max(answers, default=0)
    return made


def test_services_beyond_a_thousand_are_only_counted():
    words = run(asked([0.2])).connections[0].words
    services = Services()
    for low in range(MOST + 30):
        services.take(block_of(words, low=low, port=80, answers=[low + 1]), 1)
    assert len(services.rows()) == MOST
    assert services.left_out == 30
    other = Services()
    other.take(block_of(words, low=5, port=443, answers=[7]), 1)
    services.merge(other)
    assert services.left_out == 31


def test_ports_and_families_are_different_services():
    words = run(asked([0.2])).connections[0].words
    services = Services()
    for port in (80, 443):
        services.take(block_of(words, low=9, port=port, answers=[1000]), 1)
    assert [s.server_port for s in services.rows()] in ([80, 443], [443, 80])


def test_one_direction_alone_or_crossing_talk_counts_for_nothing():
    assert services_of("0.1 > P. 1:11(10) ack 1 win 65535\n5.1 > P. 11:21(10) ack 51 win 65535") == []


def test_the_uncompiled_twin_adds_up_the_same():
    words = run(asked([0.003 * i for i in range(1, 60)])).connections[0].words
    tables = []
    for add in (compiled.add_services, uncompiled("services").add_services):
        services = Services()
        services.take(words, 1)
        table = services._table[:]
        table[k.SV_USED] = 0
        for e in range(k.SV_HEAD, len(table), k.SERVICE_SIZE):
            table[e : e + k.SERVICE_SIZE] = type(table)("q", [-1] + [0] * (k.SERVICE_SIZE - 1))
        watched = add is not compiled.add_services
        assert add(0, 1, MOST, *(map(Watched, (words, table)) if watched else (words, table))) == 1
        tables.append(table)
    assert tables[0] == tables[1]


def test_counters_that_are_full_are_halved_and_keep_their_shares():
    kernel = uncompiled("services")
    row = type(run(OPEN).connections[0].words)("q", bytes(8 * k.CONNECTION_SIZE))
    for _ in range(33_000):
        kernel.count_half(0, 100_000, row)
        kernel.count_half(0, 2_000_000_000, row)
    counts = [kernel.halves(0, half, row) for half in range(32)]
    short, long = kernel.half_of(100_000), kernel.half_of(2_000_000_000)
    assert kernel.half_bound(short) <= 100_000 < kernel.half_bound(short + 1)
    assert kernel.half_bound(long) <= 2_000_000_000 < kernel.half_bound(long + 1)
    assert counts[short] == pytest.approx(counts[long], rel=0.01)
    assert sum(counts) == counts[short] + counts[long]


# --- what is said of them ---------------------------------------------------------------------------------------------
def summary_of(text):
    tally = Tally()
    tally.services.take(run(text).connections[0].words, 1)
    return summary_dict([], tally, {})


def test_the_first_screen_names_a_slow_service_and_the_networks_share():
    (service,) = summary_of(asked([0.012, 8.2, 0.012]))["services"]
    said = service_text(service)
    assert "answered 3 requests, median 11.9 ms" in said
    assert "worst 8.2 s (connection 0); the network's share 10 ms" in said


def test_quick_services_are_not_on_the_first_screen():
    for times, shown in (([0.012, 0.3], False), ([0.012, 1.3], True)):
        summary = {**summary_of(asked(times)), "captures": [{"name": "x", "format": "pcap", "compression": None,
                   "link_types": [], "frames": 1, "truncated": None}]}  # fmt: skip
        assert ("slow" in dict(facts(summary, (None, None)))) is shown


def test_a_trace_has_them_as_a_frame(tmp_path):
    frame = tf.analyze("sample_pcaps").services()
    assert list(frame.columns) == [
        *("service", "server_ip", "server_port", "connections", "requests", "responses", "response_median"),
        *("response_p95", "response_max", "slowest_conn_id", "rtt"),
    ]
    assert frame["response_max"].is_monotonic_decreasing
    assert frame["response_max"].dtype.kind == "m"
    connections = tf.analyze("sample_pcaps").connections
    told = connections[connections["requests"].notna() & (connections["requests"] > 0)]
    assert frame["requests"].sum() == told["requests"].sum()
