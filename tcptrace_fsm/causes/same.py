"""Connections that are the same one: what the capture shows twice, and what goes on under another name.

A capture may hold a connection in two VLANs, or on both sides of a router or of a translation of addresses: it has the
same numbers there, at nearly the same time. And a translation may begin, or end, in its midst: then one connection
stops without a word, and another, whose beginning nobody saw, has its numbers. Nothing but the numbers tells either.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, compress, permutations, product
from typing import TYPE_CHECKING, TypeAlias

from tcptrace_fsm.causes.briefs import (
    CLIENT_BYTES,
    CLIENT_PORT,
    NEARLY,
    SERVER_BYTES,
    SERVER_PORT,
    Briefs,
    end_word,
    kept,
)
from tcptrace_fsm.core.grouping import Order
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_CLOSING,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_OPENING,
    C_SERVER_HI,
    C_SERVER_LO,
    CLIENT,
    CLOSING_HALF_CLOSED,
    CLOSING_NONE,
    CLOSING_TIMED_OUT,
    E_BASE,
    E_BASE_KNOWN,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_UNANSWERED,
    SERVER,
)
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from tcptrace_fsm.findings.survey import Name

    Named: TypeAlias = tuple[tuple[Name, Name], tuple[int, ...]]
    Place: TypeAlias = tuple[Name, int, int]

__all__ = ["answered", "continued", "copies"]

BASES = tuple(end_word(side, E_BASE) for side in (CLIENT, SERVER))
KNOWN = tuple(end_word(side, E_BASE_KNOWN) for side in (CLIENT, SERVER))
CLIENT_SOCKET, SERVER_SOCKET = (C_CLIENT_HI, C_CLIENT_LO, CLIENT_PORT), (C_SERVER_HI, C_SERVER_LO, SERVER_PORT)
OPEN = (CLOSING_NONE, CLOSING_HALF_CLOSED, CLOSING_TIMED_OUT)
ASKED = (OPENING_UNANSWERED, OPENING_INCOMPLETE)
COMPARED = (C_ID, C_FIRST_TIME, C_LAST_TIME, C_OPENING, C_CLOSING, *BASES, *KNOWN, CLIENT_BYTES, SERVER_BYTES)
SLACK = 1 << 18  # bytes by which the counts of two halves of a connection may miss each other: what was in flight
PART = 1 << 20  # numbers that are near each other lie in the same part, or in neighbouring ones
PARTS = (1 << 32) // PART
NEIGHBOURS = (-1, 0, 1)
AGAIN = 130 * SECOND  # a SYN is repeated within this: the longest wait of a timer that doubles
UNKNOWN = -1  # the part of a number that nobody saw
MOST = 10_000  # connections that begin inside: of more nobody asks what they were before


def copies(everyone: Briefs) -> dict[int, int]:
    """Which connections are others once more: the number of each copy, and that of the one that came first.

    Under another name the numbers of both ends have to be the same, under the same one that of a SYN is enough; of SYNs
    that nobody answered the last has to come with that of the other, too, and no third may have their number.
    """
    chosen = bytearray(len(everyone))
    for i in chain.from_iterable(Order(everyone.picked(kept(BASES)), len(BASES), len(BASES)).parted()[1]):
        chosen[i] = 1
    everyone = everyone.those(chosen)
    asked = number_of_syns(everyone, (OPENING_UNANSWERED,))
    found: dict[int, int] = {}
    began: dict[Name, list[tuple[int, int, int, Name, Name]]] = {}
    words = (C_ID, C_FIRST_TIME, C_LAST_TIME, C_OPENING, *BASES, *KNOWN)
    sockets = zip(everyone.names(*CLIENT_SOCKET), everyone.names(*SERVER_SOCKET), strict=True)
    for (client, server), row in zip(sockets, zip(*map(everyone.column, words), strict=True), strict=True):
        number, time, last, opening, *bases, client_known, server_known = row
        if not client_known:
            continue
        # A scanner may give all its SYNs one number, and all that refuse them answer with 0.
        numbered = client_known == server_known == BASE_SYN
        inside = opening == OPENING_MIDSTREAM and server_known
        repeated = opening == OPENING_UNANSWERED and last - time > NEARLY and asked[bases[CLIENT]] == 2
        some = began.setdefault((*bases, client_known, server_known), [])
        for original, then, lasted, *name in some:
            alike = (client == name[0]) + (server == name[1])
            again = inside or (repeated and abs(last - lasted) < NEARLY)
            if time - then < NEARLY and (alike == 2 or numbered or (alike and again)):
                found[number] = original
                break
        else:
            if some and time - some[-1][1] >= NEARLY:
                some.clear()  # they come in order of time
            some.append((number, time, last, client, server))
    return found


def continued(everyone: Briefs, twice: dict[int, int]) -> dict[int, int]:
    """Connections that go on under another name: the number of each, and that of the connection that it becomes.

    One end keeps its name. The second begins inside, near the numbers at which the first stopped, after it began; or
    its SYN is the first one's again. Nothing goes on in a copy (``twice``).
    """
    doubled = {*twice, *twice.values()}
    # Of a flood each SYN has a number of its own. Or somebody gives all his SYNs one number.
    asked = number_of_syns(everyone, ASKED)
    opened = zip(everyone.column(C_OPENING), everyone.column(BASES[CLIENT]), strict=True)
    may = [(how == OPENING_MIDSTREAM and asked[isn] < 3) or (how in ASKED and asked[isn] == 2) for how, isn in opened]
    begun = [(names, row) for names, row in named(everyone.those(may)) if row[7] > 0 and row[0] not in doubled]
    if not 0 < len(begun) <= MOST:
        return {}
    stopped: dict[Place, list[Named]] = {place: [] for names, new in begun for place in places(names, new)}
    for names, row in named(everyone.those([how in OPEN for how in everyone.column(C_CLOSING)])):
        if row[7] and row[0] not in doubled:
            client, server = ends(row)
            known = {server // PART if row[8] else UNKNOWN, UNKNOWN if row[3] in ASKED else server // PART}
            for name, part in product(names, known):
                some = stopped.get((name, client // PART, part))
                if some is not None:
                    some.append((names, row))
    found: dict[int, int] = {}
    for names, new in begun:
        for others, old in chain.from_iterable(map(stopped.__getitem__, places(names, new))):
            if others != names and old[0] not in found and goes_on(old, new):
                found[old[0]] = new[0]
                break
    return found


def answered(everyone: Briefs) -> dict[int, int]:
    """SYNs whose handshake was never completed here, and was under another name: the number of each, and of that one.

    Both sides of a translation are there, and what came back to the one was not passed on to the other, or not here; or
    the translation began while they were repeated, and the other may have no SYN of its own.
    """
    chosen = bytearray(len(everyone))
    for alike in Order(everyone.picked(kept((BASES[CLIENT],))), 1, 1).parted()[1]:
        for i in alike if len(alike) == 2 else ():
            chosen[i] = 1
    begun: dict[int, list[Named]] = {}
    for names, row in named(everyone.those(chosen)):
        if row[7]:
            begun.setdefault(row[5], []).append((names, row))
    found: dict[int, int] = {}
    for pair in begun.values():
        for one, other in permutations(pair, 2):
            old, new = one[1], other[1]
            in_common = (one[0][0] == other[0][0]) + (one[0][1] == other[0][1])
            at_once, later = abs(old[1] - new[1]) < NEARLY, 0 <= new[1] - old[2] < AGAIN
            further = new[3] not in ASKED or old[3] == OPENING_UNANSWERED != new[3]
            further = further and (new[7] == BASE_SYN or new[9] > 0)  # an answer from elsewhere alone is no connection
            same = new[8] and (not old[8] or old[6] == new[6])
            if old[7] == BASE_SYN and old[3] in ASKED and further and same and in_common == 1 and (at_once or later):
                found[old[0]] = new[0]
    return found


def number_of_syns(everyone: Briefs, openings: Container[int]) -> Counter[int]:
    """How many connections that opened in some ways, or did not, have each first number."""
    return Counter(compress(everyone.column(BASES[CLIENT]), [how in openings for how in everyone.column(C_OPENING)]))


def named(some: Briefs) -> Iterator[Named]:
    """The names of both ends of each, and what the numbers of one are compared by."""
    names = zip(some.names(*CLIENT_SOCKET), some.names(*SERVER_SOCKET), strict=True)
    return zip(names, zip(*map(some.column, COMPARED), strict=True), strict=True)


def ends(row: tuple[int, ...]) -> tuple[int, int]:
    """How far the numbers on the wire of both ends had come."""
    return (row[5] + row[9]) % (1 << 32), (row[6] + row[10]) % (1 << 32)


def places(names: tuple[Name, Name], row: tuple[int, ...]) -> Iterator[Place]:
    """Where that may be which goes on in this: one of the names, and both numbers; whose which is may be wrong."""
    for name in names:
        for client in NEIGHBOURS:
            yield name, (row[5] // PART + client) % PARTS, UNKNOWN
        for turned, client, server in product((0, 1), NEIGHBOURS, NEIGHBOURS) if row[8] else ():
            yield name, (row[5 + turned] // PART + client) % PARTS, (row[6 - turned] // PART + server) % PARTS


def goes_on(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether the numbers of one connection go on in another; who of them is the client may be mistaken for one."""
    if new[1] <= old[1] or new[1] + NEARLY < old[2]:
        return False
    if new[3] in ASKED and new[7] == BASE_SYN:  # a SYN once more, which nobody answered
        return old[3] in ASKED and old[7] == BASE_SYN and old[5] == new[5] and new[1] >= old[2]
    if not old[8]:  # a SYN, of which only the answer knows the number
        return old[3] in ASKED and old[7] == BASE_SYN and bool(new[8]) and old[5] == new[5]
    if not new[8]:
        return False
    return any(near(new[5 + turned], ends(old)[0]) and near(new[6 - turned], ends(old)[1]) for turned in (0, 1))


def near(number: int, other: int) -> bool:
    """Whether two numbers on the wire lie close to each other."""
    return (number - other + SLACK) % (1 << 32) <= 2 * SLACK
