"""What hosts teach of their own timers: a first reading that measures, so that a second can replay by it.

How long a host keeps TIME_WAIT, and FIN_WAIT_2 once its application has let go, shows in what it answers to late
segments: an ACK says that the connection is still there, an RST without ACK that it is gone. What is shown anywhere in
the captures counts everywhere in them; so it is gathered over all of them before anything is replayed by it, and the
outcome depends neither on the order in which connections end nor on who follows which of them.

What is evidence (times as at the capture point, a round trip being allowed for):

* TIME_WAIT lives at age *a*: the host answers a segment of its peer, or the SYN of its next connection, by the same ACK
  as before. The age counts from the latest segment before that which may have restarted the timer: on Linux any with
  ACK does.
* TIME_WAIT is gone at age *a*: the host answers a repetition by an RST whose sequence number is that segment's ACK; or
  takes a SYN at once that no TIME_WAIT gives way to, its sequence number and its timestamp being no higher than those
  before (RFC 6191; Linux, FreeBSD). The age counts from the last segment that the host answered.
* FIN_WAIT_2 is gone at age *a*: the host answers a FIN without data by such an RST. The age counts from the last data
  that it acknowledged, for then its application still had the socket.

What is none:

* Anything after an RST of the peer: that ends a TIME_WAIT (RFC 1337), if it arrives.
* A TIME_WAIT gone within `TOO_SOON`: it was never kept (``tcp_max_tw_buckets``), and a first repetition tells so.
* An end that one connection alone shows. A reset that the capture does not hold, a restart of the host or a full table
  look the same; so it takes two connections, and the later end of the two earliest is what counts.
* An ACK from FIN_WAIT_2: while the application holds the socket there is no timer, and nothing tells whether it does.
  An RST on data there: no orphan takes any, whatever its age.
* The next use of a four-tuple by the host that was in TIME_WAIT itself: Linux does so after a second
  (``tcp_tw_reuse``), and behind one address of a NAT it may be another host.
* Connections during which the capture's clock jumped.

Timers are coarse: Linux's wheel lets one run up to an eighth longer (``kernel/time/timer.c``). Each bound is that much
wider for the host's other connections. What leads to no other bounds than the profile's teaches nothing. Where a host
shows both an end and, much later, signs of life, it contradicts itself, and the profile holds for it.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.replaying import both_hosts
from tcptrace_fsm.findings.evidence import prompt
from tcptrace_fsm.findings.lacking import leap
from tcptrace_fsm.findings.rule import SECOND, View, mask, notable
from tcptrace_fsm.kernels.layout import (
    C_ACCEPTED,
    C_OVER_TIME,
    C_TAKEN_BY,
    C_TAKEN_OVER,
    C_TAKEN_SEQ,
    C_TAKEN_TSVAL,
    CLOSING_ABORTED,
    E_FIN,
    E_RTT_MIN,
    E_TSVAL,
    MARK_ACK_AGAIN,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_NETWORK_DUPLICATE,
    MILLISECOND,
    TCP_ACK,
    TCP_FIN,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import Basis, State
from tcptrace_fsm.tcp.profiles import Host, Interval, Profile, Timers
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator, Mapping

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.findings.rule import End, Key, Segment

__all__ = ["Lesson", "Shown", "merged", "taught"]

WIDEST = Interval(1.0, 60.0, 240.0)
"""Between which bounds any system's timers lie, seconds: Solaris takes 1 s at least, RFC 9293 (MUST-13) has 240 s."""
TOO_SOON = 5 * SECOND
"""A first repetition has come by then: RFC 6298 2.1 waits 1 s, RFC 1122 and old systems 3 s."""
LET_GO_TOO_SOON = SECOND
"""What an orphan cannot have outlived by a timer: Linux's shortest ``tcp_fin_timeout`` and ``TCP_LINGER2``."""
COARSE = 1 / 8
"""By how much a timer may be late, as a part of it."""
COPIES = mask(MARK_BAD_CHECKSUM, MARK_CAPTURE_DUPLICATE, MARK_NETWORK_DUPLICATE)
WITNESSES = 2
"""This many connections must show an end before it counts."""


class Shown(NamedTuple):
    """What one host has shown; ns.

    Attributes
    ----------
    alive : int
        The greatest age at which a TIME_WAIT of its was alive; 0 for none.
    gone : tuple of int
        The least ages at which one was gone, each of another connection, as many as `WITNESSES`.
    let_go : tuple of int
        The same of FIN_WAIT_2.

    """

    alive: int = 0
    gone: tuple[int, ...] = ()
    let_go: tuple[int, ...] = ()


def together(one: Shown, other: Shown) -> Shown:
    """What two parts of the connections have shown of one host, in whatever order they are put together."""
    return Shown(
        max(one.alive, other.alive),
        tuple(sorted(one.gone + other.gone)[:WITNESSES]),
        tuple(sorted(one.let_go + other.let_go)[:WITNESSES]),
    )


def merged(parts: Iterable[Mapping[Host, Shown]]) -> dict[Host, Shown]:
    """What all parts of the connections have shown."""
    found: dict[Host, Shown] = {}
    for part in parts:
        for host, shown in part.items():
            found[host] = together(found.get(host, Shown()), shown)
    return found


# --- the first reading ------------------------------------------------------------------------------------------------
class Lesson:
    """Follows connections, all of a timeline's or some, for what their hosts show; takes what a share takes.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    shown : dict of Host to Shown

    """

    def __init__(self, settings: Settings) -> None:
        # No timer ends anything before the widest of them would: late answers are what this is about.
        longest = Interval(WIDEST.most, WIDEST.most, WIDEST.most)
        patient = replace(settings.profile.of_stack("linux"), time_wait=longest, fin_wait_2=longest)
        watcher = _Watcher(patient)
        self._engine = Engine(replace(settings, profile=patient), judges=[watcher])
        self.shown: dict[Host, Shown] = watcher.shown

    def take(self, batch: Any, order: Any = None) -> None:  # noqa: ARG002 - numbers are of no interest here
        """Take segments in the order of the timeline."""
        self._engine.feed(batch)
        self._drain()

    def finish(self, now: int | None = None) -> None:
        """Judge whatever is still open; ``now`` is the latest time of the timeline, ns, where others saw it."""
        self._engine.finish(now)
        self._drain()

    def _drain(self) -> None:
        while self._engine.take() is not None:
            pass


class _Watcher(Judge):
    """Looks at each connection for what it shows of its hosts' timers."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.shown: dict[Host, Shown] = {}

    def judge(self, block: Block) -> None:
        """Look at connections that are over; there are no findings."""
        words, changes, log = block.words, block.done.transitions, block.log
        assert log is not None
        for c, t, key in notable(block):
            if telling(key):
                view = View(words, c, log, changes, t, words[c + C_OVER_TIME], self.profile)
                self._look(words, c, view)
                view.release()

    def _look(self, words: array[int], c: int, view: View) -> None:
        found = [what_it_shows(end) for end in view.ends]
        if not any(found) or leap(words, c, view.log):
            return
        for host, shown in zip(both_hosts(words, c), found, strict=True):
            if shown:
                self.shown[host] = together(self.shown.get(host, Shown()), shown)


def telling(key: Key) -> bool:
    """Whether such a connection can show anything: a reset, a repeated ACK, or a next use of the four-tuple."""
    return key.closing == CLOSING_ABORTED or key.taken_over or bool(key.marks & mask(MARK_ACK_AGAIN))


def what_it_shows(end: End) -> Shown | None:
    """What one endpoint shows of its host's timers, or None."""
    alive, gone = time_wait(end)
    let_go = fin_wait_2(end)
    if not (alive or gone or let_go):
        return None
    return Shown(alive, (gone,) if gone else (), (let_go,) if let_go else ())


def late(end: End, frame: int | None) -> Iterator[tuple[Segment, Segment | None]]:
    """What passed after a frame, until the peer's first RST: each segment, and for the endpoint's own what it answers.

    That is the peer's segment right before it, where it follows at once; None for a segment of the peer, or where the
    endpoint's answers nothing.
    """
    asked = None
    for s in end.view.segments:
        if frame is None or s.frame <= frame or s.marks & COPIES:
            continue
        if s.side != end.side:
            if s.rst:
                return
            asked = s
            yield s, None
        else:
            yield s, asked if asked and s.time - asked.last_time <= prompt(end) else None
            asked = None


def time_wait(end: End) -> tuple[int, int]:
    """Up to which age a TIME_WAIT of the endpoint was certainly alive, and from which it was gone; 0 for neither."""
    entered = end.entered(State.TIME_WAIT)
    if entered is None or entered.basis is not Basis.ACKED:
        return 0, 0
    allowed = max(end.peer[E_RTT_MIN], 0) + MILLISECOND
    alive = 0
    earliest, latest = entered.earliest, entered.latest  # of what last restarted the timer: surely, and possibly
    before = latest
    for s, asked in late(end, entered.frame):
        if s.side != end.side:
            before, latest = latest, max(latest, s.last_time + allowed)
        elif s.rst:
            if not is_reply(s, asked):
                return alive, 0
            return alive, past(s.time - earliest, TOO_SOON)
        elif s.length or s.flags & (TCP_FIN | TCP_SYN) or s.ack != end.peer[E_FIN]:
            return alive, 0  # it is in no TIME_WAIT
        elif asked:
            alive = max(alive, asked.time - before - allowed)
            earliest = asked.time
        elif 0 <= s.time - syn_of(end.peer) <= prompt(end):
            alive = max(alive, syn_of(end.peer) - latest - allowed)  # a challenge ACK (RFC 5961 section 4.2)
    return alive, past(taken_again(end) - earliest, TOO_SOON)


def fin_wait_2(end: End) -> int:
    """From which age on a FIN_WAIT_2 of the endpoint was gone; 0 for none."""
    entered = end.entered(State.FIN_WAIT_2)
    if entered is None or entered.basis is Basis.INFERRED or end.entered(State.TIME_WAIT):
        return 0
    since = entered.earliest
    acknowledged = max(
        [s.ack for s in end.segments if entered.frame is not None and s.frame < entered.frame], default=-1
    )
    for s, asked in late(end, entered.frame):
        if s.side != end.side:
            continue
        if s.rst:
            bare = asked is not None and asked.fin and not asked.length
            return past(s.time - since, LET_GO_TOO_SOON) if bare and is_reply(s, asked) else 0
        if s.ack > acknowledged and asked:
            since = asked.time
        acknowledged = max(acknowledged, s.ack)
    return 0


def past(age: int, least: int) -> int:
    """The age, or 0 where it is too short to tell anything."""
    return age if age >= least else 0


def is_reply(rst: Segment, asked: Segment | None) -> bool:
    """Whether an RST says to this segment that there is no such connection (RFC 9293 3.5.2, group 1)."""
    return asked is not None and rst.reply_rst and bool(asked.flags & TCP_ACK) and rst.seq == asked.ack


def syn_of(end: End) -> int:
    """When the endpoint sent the first SYN of the next connection, ns; 0 if it sent none."""
    return end.view[C_TAKEN_OVER] if end.view[C_TAKEN_BY] == end.side and end.view[C_TAKEN_OVER] >= 0 else 0


def taken_again(end: End) -> int:
    """When the endpoint took a SYN of its peer's that no TIME_WAIT gives way to, ns; 0 if it did not."""
    c, peer = end.view, end.peer
    if c[C_ACCEPTED] < 0 or not 0 <= c[C_ACCEPTED] - syn_of(peer) <= prompt(end):
        return 0
    if c[C_TAKEN_SEQ] > peer[E_FIN]:
        return 0
    stamps = c[C_TAKEN_TSVAL], peer[E_TSVAL]
    if min(stamps) >= 0 and (stamps[0] - stamps[1]) % (1 << 32) in range(1, 1 << 31):
        return 0
    return c[C_ACCEPTED]


# --- what it comes to -------------------------------------------------------------------------------------------------
def narrowed(usual: Interval, alive: int, gone: tuple[int, ...]) -> Interval | None:
    """A timer's interval by what a host has shown of it; None where that adds nothing, or contradicts itself.

    Where it agrees with the profile's interval, that is cut; where it does not, the widest of any system is. The best
    estimate moves no further from the profile's than it must.
    """
    since, until = alive / SECOND, ended(gone)
    least, most = since / (1 + COARSE), until * (1 + COARSE)
    if contradicts(alive, gone):
        return None
    whole = usual if least <= usual.most and most >= usual.least else WIDEST
    least, most = max(least, whole.least), max(least, min(most, whole.most))
    likely = max(since, min(usual.usual, until))
    found = Interval(least, min(max(likely, least), most), most)
    return None if (found.least, found.most) == (usual.least, usual.most) else found


def contradicts(alive: int, gone: tuple[int, ...]) -> bool:
    """Whether a TIME_WAIT was alive for longer than one that ends so can be."""
    return alive / SECOND > ended(gone) * (1 + COARSE) ** 2


def ended(gone: tuple[int, ...]) -> float:
    """By which age a timer has ended, seconds; infinity where too few connections show it."""
    return gone[WITNESSES - 1] / SECOND if len(gone) >= WITNESSES else inf


def taught(profile: Profile, shown: Mapping[Host, Shown]) -> tuple[Profile, dict[str, Any]]:
    """The profile with what hosts have shown, and what ``summary.json`` says of that."""
    hosts: dict[Host, Timers] = {}
    learned, contradictory = [], []
    for host in sorted(shown):
        seen = shown[host]
        waits = None if "time_wait" in profile.given else narrowed(profile.time_wait, seen.alive, seen.gone)
        lets = None if "fin_wait_2" in profile.given else narrowed(profile.fin_wait_2, 0, seen.let_go)
        name = address_text(host[1], host[2], six=bool(host[0]))
        if contradicts(seen.alive, seen.gone) and "time_wait" not in profile.given:
            ages = {"alive_at": seen.alive / SECOND, "gone_at": ended(seen.gone)}
            contradictory.append({"host": name, **ages})
        if waits or lets:
            hosts[host] = Timers(waits, lets)
            intervals = {"time_wait": waits, "fin_wait_2": lets}
            learned.append(
                {"host": name, **{timer: interval._asdict() for timer, interval in intervals.items() if interval}}
            )
    return replace(profile, hosts=hosts), {"learned": learned, "contradictory": contradictory}
