"""How rules are chosen for a connection: what many connections have in common is looked at once.

A key holds a few words of a connection's record, and facts: what a kernel found in its log. Rules and surveys say by it
whether a connection can concern them (``when``); the answer is remembered for all connections with the same key. What
cannot be decided holds: where ``when`` says no, there is nothing to be found.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Places, groups_of
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.kernels.facts import classify
from tcptrace_fsm.kernels.layout import (
    ALL_FACTS,
    C_CLIENT_STATE,
    C_CLOSING,
    C_ENDPOINTS,
    C_FLAGS,
    C_INCARNATION,
    C_MARKS,
    C_OPENING,
    C_SERVER_STATE,
    C_TAKEN_OVER,
    E_STAGE,
    ENDPOINT_SIZE,
    ES_ACKS_FIN,
    KEY_SIZE,
    KEY_STATES,
    MARK_ACKS_FIN,
    MARK_ACKS_SYN,
    MARK_FIRST_PLAIN,
    MARK_SENT_BEFORE,
    MARK_WINDOW_OPENED,
    MARK_WINDOW_UPDATE,
    OPENING_INCOMPLETE,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
)
from tcptrace_fsm.kernels.records import Classes
from tcptrace_fsm.kernels.replay import interesting

if TYPE_CHECKING:
    from array import array

    from tcptrace_fsm.core.finished import Block

__all__ = ["NEVER_OPENED", "Key", "alike", "key_of", "mask", "notable"]

NEVER_OPENED = (OPENING_REFUSED, OPENING_UNANSWERED, OPENING_INCOMPLETE)


@cache
def mask(*marks: int) -> int:
    """The mask of some ``MARK_`` numbers."""
    return sum(1 << m for m in set(marks))


# A connection that opened by handshake, closed normally and bears none but these marks concerns no rule.
BORING = mask(
    *(MARK_FIRST_PLAIN, MARK_ACKS_SYN, MARK_ACKS_FIN, MARK_WINDOW_UPDATE, MARK_WINDOW_OPENED, MARK_SENT_BEFORE)
)


class Key(NamedTuple):
    """The words of a row by which rules are chosen."""

    marks: int
    flags: int
    opening: int
    closing: int
    client_state: int
    server_state: int
    reused: bool
    taken_over: bool
    acknowledged: bool
    """Whether each end acknowledged the other's FIN."""
    facts: int = ALL_FACTS
    """``FACT_`` bits: what its log shows."""

    def shows(self, fact: int) -> bool:
        """Whether a fact holds, one of the ``FACT_`` numbers: what cannot be decided holds."""
        return bool(self.facts >> fact & 1)


def notable(block: Block) -> list[tuple[int, int, Key]]:
    """The finished connections that any rule or survey may have something to say about.

    Returns
    -------
    list of (int, int, Key)
        Where the record begins in ``block.words``; where its transitions begin; by what rules are chosen.

    """
    return sorted((c, t, key) for key, places in alike(block).items() for c, t in places)


def alike(block: Block) -> dict[Key, Places]:
    """The same by key: where records and transitions begin."""
    return block.once("alike by key", _alike)


class Keys:
    """The distinct keys of connections that were met so far: a kernel tells which of them a connection has.

    Attributes
    ----------
    words : array('q')
        ``KEY_`` words of each class.
    """

    slots = 8192

    def __init__(self) -> None:
        self.words = zeros(KEY_SIZE * self.slots)
        self._made: dict[int, Key] = {}

    def of(self, number: int, words: array[int], c: int) -> Key:
        """The key of class ``number``, to which the connection at ``c`` belongs; -1 where there is no more room."""
        key = self._made.get(number)
        if key is None:
            facts = ALL_FACTS if number < 0 else self.words[number * KEY_SIZE + KEY_STATES] >> 32 & ALL_FACTS
            key = key_of(words, c, facts)
            if number >= 0:
                self._made[number] = key
        return key


def key_of(words: array[int], c: int, facts: int = ALL_FACTS) -> Key:
    """By what rules are chosen for the connection whose record begins at ``c``."""
    stages = words[c + C_ENDPOINTS + E_STAGE] & words[c + C_ENDPOINTS + ENDPOINT_SIZE + E_STAGE]
    return Key(
        words[c + C_MARKS],
        words[c + C_FLAGS],
        words[c + C_OPENING],
        words[c + C_CLOSING],
        words[c + C_CLIENT_STATE],
        words[c + C_SERVER_STATE],
        words[c + C_INCARNATION] > 0,
        words[c + C_TAKEN_OVER] >= 0,
        stages & ES_ACKS_FIN > 0,
        facts,
    )


def _alike(block: Block) -> dict[Key, Places]:
    words, log = block.words, block.log
    chosen = zeros(2 * block.count)
    n = interesting(block.count, BORING, words, chosen)
    if not n:
        return {}
    if "keys" not in block.kept:
        block.kept["keys"] = Keys()
    keys: Keys = block.kept["keys"]
    classes = zeros(n)
    changes = block.done.transitions or chosen
    given = Classes(chosen=chosen, block=words, changes=changes, known=keys.words, slots=keys.slots, of=classes)
    if log is not None:
        given.log, given.logged = log, 1
    classify(n, given)
    noted = Places(chosen[: 2 * n : 2], chosen[1 : 2 * n : 2])
    groups: dict[Key, Places] = {}
    for members in groups_of(classes, 1, 1):
        number = classes[members[0]]
        # those for whose key there was no more room are looked at one by one
        for some in [members] if number >= 0 else [members[i : i + 1] for i in range(len(members))]:
            key = keys.of(number, words, noted.starts[some[0]])
            groups.setdefault(key, Places()).extend(noted.some(some))
    return groups
