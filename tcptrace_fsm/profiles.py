"""The timers of operating systems, as data: what only the clock moves, and between which bounds.

A capture does not show a timer. What it shows is bounded by what the host's system does, so each timer is an interval
and a best estimate. ``--time-wait`` and ``--fin-timeout`` narrow them where the user knows better.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from tcptrace_fsm.errors import UsageError

__all__ = ["PROFILES", "Interval", "Profile", "profile"]


class Interval(NamedTuple):
    """Seconds: the least, the usual and the most that a timer takes."""

    least: float
    usual: float
    most: float


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
        Whether a listener is a socket of its own; see :class:`tcptrace_fsm.machine.Transition`.
    source : str
        Where the figures come from.
    """

    name: str
    time_wait: Interval
    fin_wait_2: Interval
    sockets: bool
    source: str


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
            "net.inet.tcp.msl, net.inet.tcp.finwait2_timeout",
        ),
        # TcpTimedWaitDelay may be 30 to 300 s, 120 s where it was not set; TcpFinWait2Delay 120 s.
        Profile(
            "windows",
            Interval(30.0, 120.0, 240.0),
            Interval(120.0, 120.0, 240.0),
            True,
            "TcpTimedWaitDelay, TcpFinWait2Delay",
        ),
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
        chosen = replace(chosen, time_wait=Interval(time_wait, time_wait, time_wait))
    if fin_timeout is not None:
        chosen = replace(chosen, fin_wait_2=Interval(fin_timeout, fin_timeout, fin_timeout))
    return chosen
