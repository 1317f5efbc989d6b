"""What findings say as columns of numbers, in the order of the table; their messages are put together all at once.

Most findings of a flood never were objects: they come as columns (:class:`tcptrace_fsm.core.columns.Columns`).
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tcptrace_fsm.core.columns import Alike, Piece, filled
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.sentences import find_odd_names, write_sentences
from tcptrace_fsm.tables.arrow import ascii_texts, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.core.columns import Columns
    from tcptrace_fsm.core.finished import Finding, Findings

    Words = NDArray[np.int64]

__all__ = ["Told", "told"]


class Pool:
    """The pieces that messages are put together from: each kind of message once.

    Attributes
    ----------
    letters : bytearray
        Of all texts.
    """

    def __init__(self) -> None:
        self.letters = bytearray()
        self._pieces: list[Words] = []
        self._rooms: list[Words] = []
        self._known: dict[tuple[Piece, ...], int] = {}
        self._count = 0

    def add(self, pieces: tuple[Piece, ...]) -> int:
        """Add a kind of message; returns where its pieces begin."""
        begin = self._known.get(pieces)
        if begin is None:
            begin, words, room = self._count, [len(pieces)], 0
            for what, text in pieces:
                letters = text.encode()
                words += (what, len(self.letters), len(letters))
                room += len(letters) or k.LONGEST_NAME
                self.letters += letters
            self._known[pieces] = begin
            self._append(np.array([words], dtype=np.int64), np.array([room]))
        return begin

    def add_messages(self, messages: Sequence[str]) -> Words:
        """Add messages as they are, of which few are alike; returns where the pieces of each begin."""
        each = [message.encode() for message in messages]
        words = np.empty((len(each), 1 + k.PIECE_SIZE), dtype=np.int64)
        lengths = np.fromiter(map(len, each), np.int64, len(each))
        words[:, 0], words[:, 1 + k.PI_WHAT], words[:, 1 + k.PI_LETTERS] = 1, k.PIECE_TEXT, lengths
        words[:, 1 + k.PI_BEGIN] = len(self.letters) + np.cumsum(lengths) - lengths
        self.letters += b"".join(each)
        begin = self._count
        self._append(words, lengths)
        return begin + np.arange(len(each)) * (1 + k.PIECE_SIZE)

    def _append(self, words: Words, rooms: Words) -> None:
        """Add the pieces of messages, which have as many each, and how many letters each needs at most."""
        room = np.zeros_like(words)
        room[:, 0] = rooms
        self._pieces.append(words.reshape(-1))
        self._rooms.append(room.reshape(-1))
        self._count += words.size

    @property
    def pieces(self) -> Words:
        """Of each kind of message how many pieces it has, and these."""
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    @property
    def room(self) -> Words:
        """Where the pieces of a message begin: how many letters it needs at most."""
        self._rooms = [np.concatenate(self._rooms)]
        return self._rooms[0]

    def at(self, begin: int) -> list[Piece]:
        """The pieces of a kind of message."""
        words = self.pieces
        some = words[begin + 1 : begin + 1 + words[begin] * k.PIECE_SIZE].reshape(-1, k.PIECE_SIZE).tolist()
        return [Piece(what, self.letters[at : at + n].decode()) for what, at, n in some]


class Told(NamedTuple):
    """Findings in columns.

    Attributes
    ----------
    numbers, times, frames : int64[n]
        Of connections, or -1; ns; from 1, or -1.
    codes : int64[n]
        Which of ``alike`` each is.
    alike : list of Alike
    sentences : int64[n, SENTENCE_SIZE]
    pool : Pool
    counts, evidence : int64[...]
        How many frames of evidence each has, and all of them.
    """

    numbers: Words
    times: Words
    frames: Words
    codes: Words
    alike: list[Alike]
    sentences: Words
    pool: Pool
    counts: Words
    evidence: Words

    def message(self, i: int) -> str:
        """What one of them says: the readable twin of :meth:`messages`."""
        words = self.sentences[i].tolist()
        return filled(self.pool.at(words[k.SE_PIECES]), words[k.SE_SIX :])

    def messages(self) -> Any:
        """What each of them says, as an array of strings."""
        count = len(self.numbers)
        if not count or not self.pool.letters.isascii():
            return texts([self.message(i) for i in range(count)])
        odd = np.empty(count, dtype=np.int64)
        sentences = np.ascontiguousarray(self.sentences).reshape(-1)
        if n := find_odd_names(count, sentences, odd):
            places = odd[:n]
            sentences = sentences.copy()
            sentences[places * k.SENTENCE_SIZE] = self.pool.add_messages([self.message(i) for i in places])
        room = int(self.pool.room[sentences[k.SE_PIECES :: k.SENTENCE_SIZE]].sum())
        letters = np.frombuffer(self.pool.letters + bytes(8 + -len(self.pool.letters) % 8), dtype="<i8")
        out, lengths = np.zeros(room // 8 + 2, dtype=np.int64), np.empty(count, dtype=np.int64)
        n = write_sentences(count, sentences, self.pool.pieces, letters.astype(np.int64), out, lengths)
        return ascii_texts(lengths.astype(np.int32), out.astype("<i8", copy=False).view(np.uint8)[:n])

    def in_order(self) -> Told:
        """The same by connection, time, kind, side and message."""
        numbers = self.numbers
        if (numbers[1:] > numbers[:-1]).all():
            return self
        kinds, sides = _ranks([a.kind for a in self.alike]), _ranks([a.side or "" for a in self.alike])
        keys = (numbers, self.times, kinds[self.codes], sides[self.codes])
        order = np.lexsort(keys[::-1])
        same = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
        edges = np.diff(np.concatenate(([False], same, [False])).astype(np.int8))
        for begin, end in zip(np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist(), strict=True):
            order[begin : end + 1] = sorted(order[begin : end + 1].tolist(), key=self.message)
        begins = np.cumsum(self.counts) - self.counts
        counts = self.counts[order]
        places = np.repeat(begins[order] - np.cumsum(counts) + counts, counts) + np.arange(len(self.evidence))
        return self._replace(
            numbers=numbers[order],
            times=self.times[order],
            frames=self.frames[order],
            codes=self.codes[order],
            sentences=self.sentences[order],
            counts=counts,
            evidence=self.evidence[places],
        )


def _ranks(words: list[str]) -> Words:
    """Where each of some words stands among those that there are, in order."""
    ranks = {text: rank for rank, text in enumerate(sorted(set(words)))}
    return np.array([ranks[text] for text in words], dtype=np.int64)


def told(findings: Findings) -> Told:
    """What findings say, in no order."""
    pool, known = Pool(), dict[Alike, int]()
    lazy = chain.from_iterable(part.columns() for part in findings.lazy)
    parts = [
        _of_objects(list(findings.made), pool, known),
        *(_of_columns(columns, pool, known) for columns in lazy),
    ]
    joined = (np.concatenate(of) for of in zip(*parts, strict=True))
    numbers, times, frames, codes, sentences, counts, evidence = joined
    return Told(numbers, times, frames, codes, list(known), sentences, pool, counts, evidence)


def _of_columns(columns: Columns, pool: Pool, known: dict[Alike, int]) -> tuple[Words, ...]:
    groups = _words(columns.groups)
    codes = np.array([known.setdefault(alike, len(known)) for alike in columns.alike], dtype=np.int64)
    kinds = np.array([pool.add(pieces) for pieces in columns.pieces], dtype=np.int64)
    sentences = np.empty((len(groups), k.SENTENCE_SIZE), dtype=np.int64)
    sentences[:, k.SE_PIECES] = kinds[groups]
    sentences[:, k.SE_SIX :] = _words(columns.names).reshape(len(groups), -1)
    numbers, times, frames = map(_words, columns[:3])
    return numbers, times, frames, codes[groups], sentences, _words(columns.counts), _words(columns.evidence)


def _of_objects(findings: list[Finding], pool: Pool, known: dict[Alike, int]) -> tuple[Words, ...]:
    """The same of findings that are made already."""
    codes = [
        known.setdefault(Alike(f.side, f.kind, f.category, f.severity, f.basis, f.rfc, f.possible_artefact), len(known))
        for f in findings
    ]
    sentences = np.zeros((len(findings), k.SENTENCE_SIZE), dtype=np.int64)
    sentences[:, k.SE_PIECES] = pool.add_messages([f.message for f in findings])
    numbers = [-1 if f.conn_id is None else f.conn_id for f in findings]
    frames = [-1 if f.frame is None else f.frame for f in findings]
    counts = [len(f.frames) for f in findings]
    columns = (numbers, [f.time for f in findings], frames, codes)
    evidence = list(chain.from_iterable(f.frames for f in findings))
    return *map(_array, columns), sentences, _array(counts), _array(evidence)


def _array(numbers: list[int]) -> Words:
    return np.array(numbers, dtype=np.int64)


def _words(numbers: Any) -> Words:
    return np.frombuffer(numbers, dtype=np.int64) if numbers else _array([])
