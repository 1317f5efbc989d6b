"""Connections in short: what is kept of each for comparison, one by one and as groups.

A cause asks how others fared: those to the same service, from the same host. A flood makes groups of a hundred thousand
that each of its cases asks about, so a group works out once what is asked of it, a column at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, TypeVar, overload

from tcptrace_fsm.core.grouping import Field, Order, in_order, multiplied, picked, words_in_common
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_CLOSING,
    C_ENDPOINTS,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_FLAGS,
    C_ID,
    C_LAST_TIME,
    C_NET,
    C_OPENING,
    C_PORTS,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_SERVER_HI,
    C_SERVER_LO,
    C_SYN_ACK_TIME,
    C_VANTAGE,
    CLIENT,
    E_BASE,
    E_BASE_KNOWN,
    E_CHECKSUMS,
    E_LONGEST,
    E_MSS,
    E_OPTIONS,
    E_SEGMENTS,
    E_SYN_FLAGS,
    E_SYN_TSVAL,
    E_SYNS,
    E_TTL,
    E_UNIQUE,
    ENDPOINT_SIZE,
    OPENING_FAST_OPEN,
    OPENING_HANDSHAKE,
    OPENING_SIMULTANEOUS,
    SERVER,
)
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tcptrace_fsm.findings.survey import Name

__all__ = [
    "BRIEF_SIZE",
    "CLIENT_BYTES",
    "CLIENT_PORT",
    "CLIENT_SEGMENTS",
    "CLIENT_SYNS",
    "FIELDS",
    "NEARLY",
    "OPENED",
    "PLACES",
    "SERVER_BYTES",
    "SERVER_PORT",
    "SERVER_SEGMENTS",
    "VERSION",
    "Brief",
    "Briefs",
    "end_word",
    "kept",
]

T = TypeVar("T")
NEARLY = SECOND // 10  # how far apart two captures of one packet may be
CLIENT_PORT, SERVER_PORT = -1, -2  # no words of a record: halves of one
OPENED = (OPENING_HANDSHAKE, OPENING_SIMULTANEOUS, OPENING_FAST_OPEN)


def end_word(side: int, word: int) -> int:
    """A word of an endpoint's record, as one of the connection's."""
    return C_ENDPOINTS + side * ENDPOINT_SIZE + word


_WORDS = (
    *(C_ID, C_FIRST_TIME, C_LAST_TIME, C_FIRST_FRAME, C_NET, C_CLIENT_HI, C_CLIENT_LO, C_SERVER_HI, C_SERVER_LO),
    *(
        C_PORTS,
        C_FLAGS,
        C_OPENING,
        C_CLOSING,
        C_SYN_ACK_TIME,
        end_word(CLIENT, E_SYN_FLAGS),
        end_word(CLIENT, E_SYN_TSVAL),
    ),
    *(end_word(CLIENT, E_OPTIONS), end_word(SERVER, E_OPTIONS), end_word(CLIENT, E_TTL), end_word(SERVER, E_TTL)),
    *(end_word(CLIENT, E_MSS), end_word(SERVER, E_MSS), end_word(CLIENT, E_SEGMENTS), end_word(SERVER, E_SEGMENTS)),
    *(end_word(CLIENT, E_SYNS), end_word(CLIENT, E_UNIQUE), end_word(SERVER, E_UNIQUE), C_VANTAGE),
    *(
        end_word(CLIENT, E_BASE),
        end_word(CLIENT, E_BASE_KNOWN),
        end_word(SERVER, E_BASE),
        end_word(SERVER, E_BASE_KNOWN),
    ),
    *(C_RESPONSES, C_RESPONSE_MAX, end_word(CLIENT, E_CHECKSUMS)),
    *(end_word(CLIENT, E_LONGEST), end_word(SERVER, E_LONGEST)),
)
CLIENT_SEGMENTS, SERVER_SEGMENTS = end_word(CLIENT, E_SEGMENTS), end_word(SERVER, E_SEGMENTS)
CLIENT_BYTES, SERVER_BYTES = end_word(CLIENT, E_UNIQUE), end_word(SERVER, E_UNIQUE)
CLIENT_SYNS = end_word(CLIENT, E_SYNS)
SYN_FLAGS, CLIENT_OPTIONS = end_word(CLIENT, E_SYN_FLAGS), end_word(CLIENT, E_OPTIONS)
PLACES = {word: place for place, word in enumerate(_WORDS)}
FIELDS = tuple(map(Field, _WORDS))
BRIEF_SIZE = len(_WORDS)
VERSION = Field(PLACES[C_NET], 0, 1)
_PORTS = {CLIENT_PORT: Field(PLACES[C_PORTS], 16, 65535), SERVER_PORT: Field(PLACES[C_PORTS], 0, 65535)}


def kept(words: Iterable[int]) -> tuple[Field, ...]:
    """Where the ledger keeps words of a record."""
    return tuple([_PORTS[word] if word in _PORTS else Field(PLACES[word]) for word in words])


class _Word:
    """One word of a connection's record, where the ledger keeps it."""

    def __init__(self, word: int) -> None:
        self.place = PLACES[word]

    def __get__(self, brief: Brief, owner: type) -> int:
        return brief.words[brief.row * BRIEF_SIZE + self.place]


class Brief:
    """A connection in short: a record of the ledger, of which nothing is read before somebody asks for it.

    Attributes
    ----------
    words : array('q')
        The ledger's.
    row : int
        Which of its records.
    """

    __slots__ = ("row", "words")

    def __init__(self, words: array[int], row: int) -> None:
        self.words = words
        self.row = row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Brief) and other.row == self.row

    def __hash__(self) -> int:
        return self.row

    conn_id = _Word(C_ID)
    first_time = _Word(C_FIRST_TIME)
    last_time = _Word(C_LAST_TIME)
    first_frame = _Word(C_FIRST_FRAME)
    flags = _Word(C_FLAGS)
    opening = _Word(C_OPENING)
    closing = _Word(C_CLOSING)
    syn_ack_time = _Word(C_SYN_ACK_TIME)
    """When its SYN was answered, ns; -1 if it was not."""
    syn_flags = _Word(end_word(CLIENT, E_SYN_FLAGS))
    """Of the client's first SYN."""
    syn_tsval = _Word(end_word(CLIENT, E_SYN_TSVAL))
    """Its TSval, -1 for none."""
    client_options = _Word(end_word(CLIENT, E_OPTIONS))
    """``OPT_...`` of the client's SYN."""
    server_options = _Word(end_word(SERVER, E_OPTIONS))
    client_ttl = _Word(end_word(CLIENT, E_TTL))
    server_ttl = _Word(end_word(SERVER, E_TTL))
    client_mss = _Word(end_word(CLIENT, E_MSS))
    server_mss = _Word(end_word(SERVER, E_MSS))
    client_segments = _Word(end_word(CLIENT, E_SEGMENTS))
    server_segments = _Word(end_word(SERVER, E_SEGMENTS))
    client_syns = _Word(end_word(CLIENT, E_SYNS))
    client_checksums = _Word(end_word(CLIENT, E_CHECKSUMS))
    """``SUMS_...`` bits of what the client sent."""
    client_bytes = _Word(end_word(CLIENT, E_UNIQUE))
    server_bytes = _Word(end_word(SERVER, E_UNIQUE))
    responses = _Word(C_RESPONSES)
    response_max = _Word(C_RESPONSE_MAX)
    """The longest time of an answer, ns."""
    client_base = _Word(end_word(CLIENT, E_BASE))
    """Sequence number on the wire that counts as the client's 0; ``client_base_known`` says how well it is known."""
    client_base_known = _Word(end_word(CLIENT, E_BASE_KNOWN))
    server_base = _Word(end_word(SERVER, E_BASE))
    server_base_known = _Word(end_word(SERVER, E_BASE_KNOWN))
    _net, _ports = _Word(C_NET), _Word(C_PORTS)
    _client_hi, _client_lo = _Word(C_CLIENT_HI), _Word(C_CLIENT_LO)
    _server_hi, _server_lo = _Word(C_SERVER_HI), _Word(C_SERVER_LO)

    @property
    def client(self) -> Name:
        """The client's address."""
        return self._net & 1, self._client_hi, self._client_lo

    @property
    def client_port(self) -> int:
        """The client's port."""
        return self._ports >> 16

    @property
    def server(self) -> Name:
        """The server's address."""
        return self._net & 1, self._server_hi, self._server_lo

    @property
    def server_port(self) -> int:
        """The server's port."""
        return self._ports & 65535

    @property
    def service(self) -> Name:
        """The server's address and port."""
        return self._net & 1, self._server_hi, self._server_lo, self._ports & 65535

    @property
    def opened(self) -> bool:
        """Whether it was seen to open."""
        return self.opening in OPENED


class Briefs:
    """Some connections in short, in order of time.

    Attributes
    ----------
    words : array('q')
        The ledger's.
    rows : array('q')
        Which of its records.
    """

    def __init__(self, words: array[int], rows: array[int]) -> None:
        self.words = words
        self.rows = rows
        self._columns: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Brief]:
        words = self.words
        return iter([Brief(words, row) for row in self.rows])

    @overload
    def __getitem__(self, i: int) -> Brief: ...
    @overload
    def __getitem__(self, i: slice) -> Briefs: ...
    def __getitem__(self, i: int | slice) -> Brief | Briefs:
        return Brief(self.words, self.rows[i]) if isinstance(i, int) else Briefs(self.words, self.rows[i])

    def split(self, time: int) -> tuple[Briefs, Briefs]:
        """Those that had begun at that time, and the others."""
        n = bisect_right(self.column(C_FIRST_TIME), time)
        return self[:n], self[n:]

    def picked(self, fields: Sequence[Field]) -> array[int]:
        """Parts of the words that are kept, one connection's after the other's."""
        return picked(self.words, self._starts, fields)

    def column(self, word: int) -> array[int]:
        """One word of each; not to be changed, for others may ask for it too."""
        found = self._columns.get(word)
        if found is None:
            found = self._columns[word] = self.picked(kept((word,)))
        return found

    def names(self, *words: int) -> Iterator[Name]:
        """The IP version bit and other words of each: who they are between."""
        return zip(self.picked((VERSION,)), *map(self.column, words), strict=True)

    @cached_property
    def _starts(self) -> array[int]:
        return multiplied(self.rows, BRIEF_SIZE)

    def those(self, chosen: Iterable[int]) -> Briefs:
        """Some of them: one number for each, 0 if it is left out."""
        return Briefs(self.words, array("q", compress(self.rows, chosen)))

    def by(self, *words: int) -> Iterator[tuple[Name, Briefs]]:
        """Group by group, by the IP version bit and other words: what they are, and those in which they are so."""
        for name, numbers in words_in_common(self.words, self._starts, (VERSION, *kept(words))):
            yield name, Briefs(self.words, in_order(numbers, self.rows))

    @cached_property
    def opened(self) -> Briefs:
        """Those that were seen to open."""
        return self.those([how in OPENED for how in self.column(C_OPENING)])

    @cached_property
    def answered(self) -> Briefs:
        """Those in which the server said something."""
        return self.those(self.column(SERVER_SEGMENTS))

    def distinct(self, *words: int) -> int:
        """How many there are by the IP version bit and other words."""
        fields = (VERSION, *kept(words))
        return Order(self.picked(fields), len(fields), len(fields)).distinct

    @cached_property
    def ports(self) -> dict[int, int]:
        """The servers' ports, each with the row of the first connection to it."""
        return self._first(self.column(SERVER_PORT))

    @cached_property
    def clients(self) -> dict[Name, int]:
        """The clients, each with the row of its first connection."""
        return self._first(self.names(C_CLIENT_HI, C_CLIENT_LO))

    def _first(self, keys: Iterable[T]) -> dict[T, int]:
        first: dict[T, int] = {}
        for key, row in zip(keys, self.rows, strict=True):
            first.setdefault(key, row)
        return first

    def first_on_port(self, but: int) -> Brief | None:
        """The first to any other port than this."""
        return next((Brief(self.words, row) for port, row in self.ports.items() if port != but), None)

    def first_of_client(self, but: Name) -> Brief | None:
        """The first of any other client than this."""
        return next((Brief(self.words, row) for client, row in self.clients.items() if client != but), None)

    @cached_property
    def both_ways(self) -> bool:
        """Whether both ends of any of them were heard."""
        return any(self.answered.column(CLIENT_SEGMENTS))

    @cached_property
    def went_on_unanswered(self) -> bool:
        """Whether any client went on beyond its SYN, while nothing of its server was heard."""
        columns = [self.column(word) for word in (CLIENT_SEGMENTS, CLIENT_SYNS, SERVER_SEGMENTS)]
        return any(sent > syns and not heard for sent, syns, heard in zip(*columns, strict=True))
