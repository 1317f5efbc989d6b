"""The timers of operating systems, as data: what only the clock moves, and between which bounds.

A capture does not show a timer. What it shows is bounded by what the host's system does, so each timer is an interval
and a best estimate. ``--time-wait`` and ``--fin-timeout`` narrow them where the user knows better, ``--learn-timers``
where a host itself shows more (:mod:`tcptrace_fsm.runs.timers`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AUTO", "PROFILES", "STACKS", "Host", "Interval", "Profile", "Timers", "profile"]

AUTO = "auto"
"""The profile that takes each host for what its own segments bespeak."""

STACKS = ("unknown", "linux", "bsd", "windows", "lwip", "gvisor")
"""What a SYN may bespeak, in the order of the kernel's STACK_ numbers (:mod:`tcptrace_fsm.kernels.stack`)."""

Host = tuple[int, int, int]
"""An address as the records have it: 1 for IPv6, upper word, lower word."""


class Interval(NamedTuple):
    """Seconds: the least, the usual and the most that a timer takes."""

    least: float
    usual: float
    most: float


class Timers(NamedTuple):
    """What one host has shown of its own timers; None where the profile's hold for it too."""

    time_wait: Interval | None
    fin_wait_2: Interval | None


@dataclass(frozen=True)
class Profile:
    """How one family of systems times its connections.

    Attributes
    ----------
    name : str
    time_wait : Interval
        2MSL, from the last segment that (re)started it, seconds.
    fin_wait_2 : Interval
        How long FIN_WAIT_2 lasts once the application has let go of the socket, seconds. While it holds the socket
        there is no limit, so this timer is only ever applied on evidence.
    sockets : bool
        Whether a listener is a socket of its own; see :class:`tcptrace_fsm.tcp.machine.Transition`.
    source : str
        Where the figures come from.
    patience : float
        After how long at the latest, beyond the round trip, it first repeats what nobody acknowledges, seconds.
    fin_starts_again : bool
        Whether it calls itself FIN_WAIT_1 once it has repeated its FIN, in LAST_ACK and CLOSING too.
    keeps_time_wait : bool
        Whether TIME_WAIT stays when an RST comes (RFC 1337).
    straight : bool
        Whether it answers each FIN at once, and tells that an earlier copy came by no duplicate SACK; and whether a FIN
        that acknowledges its own takes it to TIME_WAIT with no FIN_WAIT_2 in between, as Linux has it.
    refuses_syn : bool
        Whether TIME_WAIT answers a SYN by an RST, and stays.
    obeys_rst_inside : bool
        Whether an RST anywhere inside the window ends the connection, as RFC 793 had it before RFC 5961.
    hosts : mapping of Host to Timers
        Those hosts that have taught their own.
    given : frozenset of str
        Those timers that the user has given: there is nothing to learn of them.
    """

    name: str
    time_wait: Interval
    fin_wait_2: Interval
    sockets: bool
    source: str
    patience: float = 0.25
    keeps_time_wait: bool = False
    fin_starts_again: bool = False
    straight: bool = False
    refuses_syn: bool = False
    obeys_rst_inside: bool = False
    hosts: Mapping[Host, Timers] = field(default_factory=dict, hash=False)
    given: frozenset[str] = frozenset()

    @property
    def longest(self) -> float:
        """The longest that any host may keep TIME_WAIT, seconds; of what a SYN only bespeaks, what is usual."""
        taught = [own.time_wait.most for own in self.hosts.values() if own.time_wait]
        return max([self.time_wait.most, *taught, *(other.time_wait.usual + 2 for other in self.stacks())])

    def stacks(self) -> tuple[Profile, ...]:
        """With ``auto``, the profiles that hosts may turn out to have, in the order of :data:`STACKS`; else none."""
        return tuple(self.of_stack(name) for name in STACKS) if self.name == AUTO else ()

    def of_stack(self, name: str) -> Profile:
        """The profile as it holds for a host that bespeaks a system: itself, unless it is ``auto``."""
        if self.name != AUTO or name not in PROFILES:
            return self
        other = PROFILES[name]
        return replace(
            other,
            time_wait=self.time_wait if "time_wait" in self.given else other.time_wait,
            fin_wait_2=self.fin_wait_2 if "fin_wait_2" in self.given else other.fin_wait_2,
            hosts=self.hosts,
            given=self.given,
        )

    def of(self, host: Host) -> Profile:
        """The profile as it holds for one host."""
        own = self.hosts.get(host)
        if own is None:
            return self
        return replace(self, time_wait=own.time_wait or self.time_wait, fin_wait_2=own.fin_wait_2 or self.fin_wait_2)


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        # TCP_TIMEWAIT_LEN is 60 s; the timer wheel lets it run up to one slot (2 s) longer.
        Profile(
            "linux", Interval(60.0, 61.0, 62.1), Interval(60.0, 61.0, 62.1), True, "TCP_TIMEWAIT_LEN, tcp_fin_timeout"
        ),
        # MSL is two minutes (section 3.4.2); there is no FIN_WAIT_2 timer.
        Profile("rfc9293", Interval(240.0, 240.0, 240.0), Interval(1e9, 1e9, 1e9), False, "RFC 9293 3.4.2, MUST-13"),
        # net.inet.tcp.msl is 30 s on FreeBSD and 15 s on macOS; finwait2_timeout is 60 s.
        Profile(
            "bsd",
            Interval(30.0, 60.0, 61.0),
            Interval(60.0, 60.0, 61.0),
            True,
            "net.inet.tcp.msl, net.inet.tcp.finwait2_timeout, TCPTV_MIN",
            patience=1.6,
            straight=True,
        ),
        # TcpTimedWaitDelay may be 30 to 300 s, 120 s where it was not set; TcpFinWait2Delay 120 s.
        Profile(
            "windows",
            Interval(30.0, 120.0, 240.0),
            Interval(120.0, 120.0, 240.0),
            True,
            "TcpTimedWaitDelay, TcpFinWait2Delay",
        ),
        # Twice TCP_MSL of 60 s; TCP_FIN_WAIT_TIMEOUT is 20 s; tcp_slowtmr looks every half second. TIME_WAIT takes no
        # RST, and answers a SYN in its window by one (tcp_timewait_input).
        Profile(
            "lwip",
            Interval(119.0, 120.0, 121.0),
            Interval(19.0, 20.0, 21.0),
            True,
            "TCP_MSL, TCP_FIN_WAIT_TIMEOUT, LWIP_TCP_RTO_TIME",
            patience=3.5,
            keeps_time_wait=True,
            straight=True,
            refuses_syn=True,
        ),
        # DefaultTCPTimeWaitTimeout and DefaultTCPLingerTimeout; TIME_WAIT drops each RST (handleTimeWaitSegments), the
        # other states obey each that is acceptable (handleReset).
        Profile(
            "gvisor",
            Interval(60.0, 60.0, 61.0),
            Interval(60.0, 60.0, 61.0),
            True,
            "DefaultTCPTimeWaitTimeout, DefaultTCPLingerTimeout",
            fin_starts_again=True,
            keeps_time_wait=True,
            straight=True,
            obeys_rst_inside=True,
        ),
        # Each host by what its SYN bespeaks; Linux where that is not known.
        Profile(AUTO, Interval(60.0, 61.0, 62.1), Interval(60.0, 61.0, 62.1), True, "what each host's SYN bespeaks"),
    )
}


def profile(name: str = "linux", *, time_wait: float | None = None, fin_timeout: float | None = None) -> Profile:
    """A profile by name, with the timers that the user knows better.

    Parameters
    ----------
    name : str
        One of :data:`PROFILES`.
    time_wait, fin_timeout : float or None
        Seconds; replaces the whole interval.

    Raises
    ------
    UsageError
        For an unknown name or a negative time.
    """
    if name not in PROFILES:
        raise UsageError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    chosen = PROFILES[name]
    for option, seconds in (("--time-wait", time_wait), ("--fin-timeout", fin_timeout)):
        if seconds is not None and not 0 <= seconds <= 1e9:
            raise UsageError(f"{option} takes seconds, 0 or more, not {seconds}")
    if time_wait is not None:
        given = Interval(time_wait, time_wait, time_wait)
        chosen = replace(chosen, time_wait=given, given=chosen.given | {"time_wait"})
    if fin_timeout is not None:
        given = Interval(fin_timeout, fin_timeout, fin_timeout)
        chosen = replace(chosen, fin_wait_2=given, given=chosen.given | {"fin_wait_2"})
    return chosen
