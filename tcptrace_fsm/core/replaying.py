"""The replay of connections that are over: on the engine's rows, or on copies of them while the engine goes on."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.core.grouping import Records, counting
from tcptrace_fsm.core.room import copied, grown, room, zeros
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels.layout import (
    BASIS_LEARNED,
    BASIS_TIMER,
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_LOCAL,
    C_NET,
    C_SERVER_HI,
    C_SERVER_LO,
    CONNECTION_SIZE,
    CONTROL_SIZE,
    HABIT_FIN_STARTS_AGAIN,
    HABIT_KEEPS_TIME_WAIT,
    HABIT_OBEYS_RST_INSIDE,
    HABIT_REFUSES_SYN,
    HABIT_STRAIGHT,
    K_LINGER,
    K_LINGER_SYN,
    K_WAITS,
    PROFILE_SIZE,
    TRANSITION_SIZE,
    WAIT_SIZE,
    WAITS_PER_SEGMENT,
    WHO_CLIENT,
    WHO_SERVER,
)
from tcptrace_fsm.kernels.records import Replaying, Segment, Tcb
from tcptrace_fsm.kernels.replay import replay_due
from tcptrace_fsm.kernels.waits import end_waits
from tcptrace_fsm.tcp.machine import table
from tcptrace_fsm.tcp.profiles import Timers
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.tcp.profiles import Host, Profile

__all__ = ["CHUNK", "Later", "Replayer", "both_hosts"]
CHUNK = 2048  # finished connections handed out at once


def address_words(address: str) -> tuple[int, int, int]:
    """An address as the records have it: 1 for IPv6, upper word, lower word.

    Raises
    ------
    UsageError
        When it is none.
    """
    from ipaddress import ip_address

    try:
        parsed = ip_address(address)
    except ValueError:
        raise UsageError(f"--taken-at takes an IP address, not {address!r}") from None
    high, low = int(parsed) >> 64, int(parsed) & (1 << 64) - 1
    return int(parsed.version == 6), high - (high >> 63 << 64), low - (low >> 63 << 64)


def both_hosts(rows: Words, c: int) -> tuple[Host, Host]:
    """The addresses of the client and the server of row ``c``."""
    six = rows[c + C_NET] & 1
    return (six, rows[c + C_CLIENT_HI], rows[c + C_CLIENT_LO]), (six, rows[c + C_SERVER_HI], rows[c + C_SERVER_LO])


def timer_words(profile: Profile) -> array[int]:
    """The timers of the profile, of the hosts that have taught theirs, and of the stacks that hosts may have."""
    found = array("q")
    none = Timers(None, None)
    hosts = [(profile, none), *((profile, own) for own in profile.hosts.values())]
    stacks = [(other, none) for other in profile.stacks()]
    for whose, own in hosts + stacks:
        for interval in (own.time_wait or whose.time_wait, own.fin_wait_2 or whose.fin_wait_2):
            found.extend(int(seconds * SECOND) for seconds in interval)
        found.extend(BASIS_LEARNED if interval else BASIS_TIMER for interval in own)
        found.append(int(whose.patience * SECOND))
        found.append(
            (HABIT_KEEPS_TIME_WAIT if whose.keeps_time_wait else 0)
            | (HABIT_FIN_STARTS_AGAIN if whose.fin_starts_again else 0)
            | (HABIT_OBEYS_RST_INSIDE if whose.obeys_rst_inside else 0)
            | (HABIT_STRAIGHT if whose.straight else 0)
            | (HABIT_REFUSES_SYN if whose.refuses_syn else 0)
        )
        found.append(len(hosts) * PROFILE_SIZE if stacks else 0)
    return found


class Replayer:
    """Tells the states of connections that are over.

    Parameters
    ----------
    settings : Settings
        The profile's timers; at whose host the capture was taken.

    Attributes
    ----------
    plain : bool
        Whether all hosts are alike to it.

    Raises
    ------
    UsageError
        When an address is none.
    """

    def __init__(self, settings: Settings) -> None:
        profile = settings.profile
        self._machine = array("q", table(sockets=profile.sockets))
        self._timers = timer_words(profile)
        self._hosts = zeros(2 * CHUNK)
        self._scratch = zeros(Tcb.size)
        self._written = 0
        self._taken_at = frozenset(address_words(address) for address in settings.taken_at)
        self._places = {host: PROFILE_SIZE * n for n, host in enumerate(profile.hosts, 1)}
        self.plain = not (self._taken_at or self._places)
        self._work = room(0)
        self._out = room(0)

    def run(self, start: int, stop: int, longest: int, due: Words, rows: Words, log: Words) -> int:
        """Replay the connections whose rows begin at ``due[start:stop]``, while there is room for their transitions.

        ``longest`` is the greatest number of log records of one of them. Returns the index of the first that was not
        replayed.
        """
        self._work = grown(self._work, longest * Segment.size)
        self._out = grown(self._out, (24 + 2 * longest + 16 * (stop - start)) * TRANSITION_SIZE)
        if self._taken_at:
            self._place(start, stop, due, rows)
        if self._places:
            self._find_timers(start, stop, due, rows)
        tables = Replaying(due=due, rows=rows, log=log, timers=self._timers, hosts=self._hosts, machine=self._machine)
        tables.out, tables.room = self._out, len(self._out)
        tables.work, tables.scratch = self._work, self._scratch
        end = replay_due(start, stop, tables)
        self._written = tables.written
        return end

    @property
    def transitions(self) -> array[int]:
        """What the last run has found, as an array of its own."""
        return copied(self._out, self._written * TRANSITION_SIZE)

    def _place(self, start: int, stop: int, due: Words, rows: Words) -> None:
        """Note at whose host the capture of the due connections was taken."""
        here = self._taken_at
        for i in range(start, stop):
            c = due[i]
            client, server = both_hosts(rows, c)
            if client in here:
                rows[c + C_LOCAL] |= WHO_CLIENT
            if server in here:
                rows[c + C_LOCAL] |= WHO_SERVER

    def _find_timers(self, start: int, stop: int, due: Words, rows: Words) -> None:
        """Look up where the timers of the due connections' hosts begin."""
        place, hosts = self._places.get, self._hosts
        for i in range(stop - start):
            client, server = both_hosts(rows, due[start + i])
            hosts[2 * i], hosts[2 * i + 1] = place(client, 0), place(server, 0)


class Later:
    """Replays connections that an engine has handed out without, in records and logs of their own.

    Parameters
    ----------
    settings : Settings
    control : array of int64
        The engine's, for how long that waits for what may still come.
    """

    def __init__(self, settings: Settings, control: Words) -> None:
        self._replayer = Replayer(settings)
        self._control = zeros(CONTROL_SIZE)
        self._control[K_LINGER], self._control[K_LINGER_SYN] = control[K_LINGER], control[K_LINGER_SYN]
        self._waits = room(0)

    def complete(self, block: Block) -> None:
        """Tell the states and the last waits of the block's connections."""
        done, records = block.done, block.words
        assert block.log is not None
        places, end = counting(done.count, CONNECTION_SIZE), 0
        while end < done.count:
            end = self._replayer.run(end, done.count, block.longest, places, records, block.log)
            done.transitions += self._replayer.transitions
        done.transition_count = len(done.transitions) // TRANSITION_SIZE
        self._control[K_WAITS] = 0
        self._waits = grown(self._waits, 2 * WAITS_PER_SEGMENT * done.count * WAIT_SIZE)
        end_waits(0, done.count, places, records, self._waits, self._control)
        done.waits += copied(self._waits, self._control[K_WAITS])
        done.wait_count = len(done.waits) // WAIT_SIZE
        if isinstance(records, Records):
            records.compare()
