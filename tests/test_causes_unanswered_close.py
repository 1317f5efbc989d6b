"""What is sent and closed behind: told, asked of a server that hangs, or met by a server's own close."""

from __future__ import annotations

import pytest

from tests.test_anomalies import findings
from tests.test_causes import diagnoses
from tests.test_causes_leaving import loud

pytestmark = pytest.mark.plain


def sent(sizes, *, port=9100, close=True, answered=()):
    """Clients that each send so many bytes and close behind them; the server acknowledges, and closes or does not."""
    text = ""
    for n, size in enumerate(sizes):
        end = 2 + size
        text += f"""
            port {40001 + n} {port}
            {n}.000 > S  0:0(0)
            {n}.010 < S. 0:0(0) ack 1
            {n}.020 > .  1:1(0) ack 1
            {n}.030 > P. 1:{1 + size}({size}) ack 1
            {n}.031 > F. {1 + size}:{1 + size}(0) ack 1
            {n}.040 < .  1:1(0) ack {end}
        """
        if n in answered:
            text += f"{n}.041 < P. 1:201(200) ack {end}\n{n}.042 < F. 201:201(0) ack {end}\n"
            text += f"{n}.060 > .  {end}:{end}(0) ack 202\n"
        elif close:
            text += f"{n}.041 < F. 1:1(0) ack {end}\n{n}.060 > .  {end}:{end}(0) ack 2\n"
    return text + "end 200\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (sent([300, 300, 300]), ["half_close_unsupported"]),
        (sent([300, 411, 287, 350]), []),  # who asks in vain asks the same
        (sent([300] * 20), []),  # and not for ever
        (sent([300, 300, 300], port=2003), []),  # measurements
        (sent([300, 300, 300], port=514), []),
        (sent([300, 300, 411, 300], answered=[0], port=8080), ["half_close_unsupported"]),
    ],
)
def test_what_is_told_and_closed_needs_no_answer(text, said):
    """Only what looks asked for is said above low."""
    assert [cause for cause, _ in loud(text)] == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (sent([300, 300, 300], close=False), ("request_unanswered", "close_wait_leak")),
        (sent([300], close=False), ("request_unanswered", "close_wait_leak")),
        (sent([300, 411, 287, 350], close=False), ("close_wait_leak", "request_unanswered")),
        (sent([20, 20, 20], close=False), ("close_wait_leak", "request_unanswered")),
    ],
)
def test_an_open_socket_may_follow_from_a_request_that_nobody_works_on(text, said):
    """The request is the first answer then, and the socket another; of what was pushed it is the socket."""
    first = diagnoses(text)[0]
    assert (first.cause, first.confidence) == (said[0], "possible")
    assert said[1] in first.alternatives


IDLE = """
    0.000 > S  0:0(0)
    0.030 < S. 0:0(0)       ack 1
    0.031 > .  1:1(0)       ack 1
    0.032 > P. 1:181(180)   ack 1
    0.064 < P. 1:501(500)   ack 181
    0.065 > .  181:181(0)   ack 501
    {fin:.3f} < F. 501:501(0)   ack 181
    {fin:.3f} > .  181:181(0)   ack 502
    {ask:.3f} > P. 181:361(180) ack 502
    {ask:.3f} > F. 361:361(0)   ack 502
    {end:.3f} < R  502:502(0)
"""


@pytest.mark.parametrize(
    ("fin", "said"), [(5.06, "reused_after_close"), (61.0, "reused_after_close"), (0.4, "closed_with_unread_data")]
)
def test_a_request_right_behind_the_close_of_an_idle_connection(fin, said):
    """It was idle until the server closed, not until the client, which had not noticed, asked a moment later."""
    text = IDLE.format(fin=fin, ask=fin + 0.02, end=fin + 0.05)
    assert [cause for cause, _ in loud(text)] == [said]


@pytest.mark.parametrize(("holder", "seconds", "severity"), [(">", 40, "low"), (">", 200, "high"), ("<", 40, "medium")])
def test_a_pool_closes_what_its_server_has_closed_when_it_looks_at_it_next(holder, seconds, severity):
    """A client may take its time for that; a server that does not close leaks."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0) ack 1
        0.020 > .  1:1(0) ack 1
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
    """
    if holder == ">":
        text += "5.000 < F. 201:201(0) ack 101\n5.010 > . 101:101(0) ack 202\n"
    else:
        text += "5.000 > F. 101:101(0) ack 201\n5.010 < . 201:201(0) ack 102\n"
    found = {f.kind: f.severity for f in findings(text + f"end {5 + seconds}\n") if f.kind.startswith("stuck")}
    assert found == {"stuck_close_wait": severity, "stuck_fin_wait_2": severity}
