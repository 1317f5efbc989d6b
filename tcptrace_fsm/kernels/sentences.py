"""What many findings say: sentences put together from texts that are alike, and from the names of hosts.

Letters are written eight to a word, the first one lowest; all of them are ASCII, so that no word is negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["find_odd_names", "find_together", "rising", "same_in_words", "write_said", "write_sentences"]


def in_same_words(span: int) -> int:
    """A length of time that is said in the same words: three digits of it are, or whole us, or whole seconds.

    What is as close to where these change as a sum of floating point may err stays as it is.
    """
    longest = span - span + LONGEST_SPAN  # of 64 bits, which the constant has not
    if span < 1000 or span > longest * 1000000000:
        return span
    half = span - span + 5
    edge = half * 2000
    while span >= edge and half < 500000000:
        half = half * 10
        edge = edge * 10
    rest = span % half
    if rest <= half // 1000 or rest >= half - half // 1000:
        return span
    return span - rest + half // 2


def same_in_words(count: int, spans: Words, out: Words) -> int:
    """Write for each of some lengths of time one that is said in the same words. Returns how many there are."""
    i = 0
    while i < count:
        out[i] = in_same_words(spans[i])
        i += 1
    return count


def write_said(count: int, records: Words, out: Words) -> int:
    """Write for each of some findings what its words depend on, beside names. Returns how many there are."""
    d = 0
    s = 0
    while d < count * DETECTED_SIZE:
        span = records[d + D_SPAN]
        more = records[d + D_MORE]
        if records[d + D_KIND] != DETECT_NO_RESPONSE:
            span = in_same_words(span)
        elif records[d + D_COUNT] == 1 or more >= 1000000000:  # else it says their sum
            span = in_same_words(span)
            more = in_same_words(more)
        out[s + SD_KIND] = records[d + D_KIND]
        out[s + SD_SIDE] = records[d + D_SIDE]
        out[s + SD_COUNT] = records[d + D_COUNT]
        out[s + SD_MORE] = more
        out[s + SD_SPAN] = span
        out[s + SD_GRADE] = records[d + D_GRADE]
        out[s + SD_DOUBT] = records[d + D_DOUBT]
        out[s + SD_LOST] = 0
        d += DETECTED_SIZE
        s += SAID_SIZE
    return count


def find_together(count: int, records: Words, out: Words) -> int:
    """Write the kinds, as bits, that some connection has several of; findings of one follow each other.

    The same kinds are not written twice in a row. Returns how many there are.
    """
    n = 0
    d = 0
    while d < count * DETECTED_SIZE:
        begin = d
        kinds = records[d + D_KIND]
        d += DETECTED_SIZE
        while d < count * DETECTED_SIZE and records[d + D_ASKED] == records[begin + D_ASKED]:
            kinds |= records[d + D_KIND]
            d += DETECTED_SIZE
        if d > begin + DETECTED_SIZE and (n == 0 or out[n - 1] != kinds):
            out[n] = kinds
            n += 1
    return n


def rising(count: int, begins: Words, counts: Words, frames: Words, out: Words, odd: Words) -> int:
    """Copy the frames of each of some findings, and note those whose frames do not rise. Returns how many do not."""
    n = 0
    to = 0
    i = 0
    while i < count:
        at = begins[i]
        end = at + counts[i]
        rises = 1
        begin = at
        while at < end:
            out[to] = frames[at]
            if at > begin and frames[at] <= frames[at - 1]:
                rises = 0
            to += 1
            at += 1
        if not rises:
            odd[n] = i
            n += 1
        i += 1
    return n


def field_of(high: int, low: int, i: int) -> int:
    """One of the eight fields of an IPv6 address."""
    return (high if i < 4 else low) >> (48 - 16 * (i & 3)) & 65535


def shows_four(high: int, low: int) -> int:
    """Whether systems may show an IPv6 address with an IPv4 address at its end, each in its way: 1 or 0."""
    return 1 if not high and not low >> 48 & 65535 else 0


def find_odd_names(count: int, sentences: Words, out: Words) -> int:
    """Write the numbers of the sentences with names that :func:`write_sentences` does not write. Returns how many."""
    n = 0
    i = 0
    s = 0
    while i < count:
        if sentences[s + SE_SIX] and (
            shows_four(sentences[s + SE_CLIENT_HI], sentences[s + SE_CLIENT_LO])
            or shows_four(sentences[s + SE_SERVER_HI], sentences[s + SE_SERVER_LO])
        ):
            out[n] = i
            n += 1
        s += SENTENCE_SIZE
        i += 1
    return n


def write_letters(n: int, letters: int, count: int, out: Words) -> int:
    """Write up to eight letters behind ``n``. Returns how many there are then."""
    k = n & 7
    if k == 0:
        out[n >> 3] = letters
    elif k + count <= 8:
        out[n >> 3] |= letters << 8 * k
    else:
        here = 8 * (8 - k)
        out[n >> 3] |= (letters & ((letters - letters + 1 << here) - 1)) << 8 * k
        out[(n >> 3) + 1] = letters >> here
    return n + count


def write_text(n: int, texts: Words, begin: int, count: int, out: Words) -> int:
    """Write letters of ``texts`` behind ``n``. Returns how many there are then."""
    while count > 0:
        b = begin & 7
        part = 8 - b
        letters = texts[begin >> 3] >> 8 * b
        if part > count:
            part = count
            letters = letters & ((letters - letters + 1 << 8 * part) - 1)
        n = write_letters(n, letters, part, out)
        begin += part
        count -= part
    return n


def write_number(n: int, number: int, out: Words) -> int:
    """Write a number that is not negative. Returns how many letters there are then."""
    unit = number - number + 1
    while number // unit >= 10:
        unit = unit * 10
    while unit:
        n = write_letters(n, 48 + number // unit % 10, 1, out)
        unit = unit // 10
    return n


def write_octet(n: int, octet: int, behind: int, out: Words) -> int:
    """Write a number below 256, and another letter. Returns how many letters there are then."""
    if octet > 99:
        return write_letters(
            n, behind << 24 | 48 + octet % 10 << 16 | 48 + octet // 10 % 10 << 8 | 48 + octet // 100, 4, out
        )
    if octet > 9:
        return write_letters(n, behind << 16 | 48 + octet % 10 << 8 | 48 + octet // 10, 3, out)
    return write_letters(n, behind << 8 | 48 + octet, 2, out)


def write_hex(n: int, number: int, out: Words) -> int:
    """Write a number below 2**16 in hexadecimal digits. Returns how many letters there are then."""
    shift = 12
    while shift > 0 and not number >> shift:
        shift -= 4
    while shift >= 0:
        digit = number >> shift & 15
        n = write_letters(n, digit + (48 if digit < 10 else 87), 1, out)
        shift -= 4
    return n


def zeros_of(high: int, low: int) -> int:
    """Which fields of an IPv6 address are left out: the first one, times 16, plus how many; 0 for none."""
    best = run = 0
    i = 0
    while i < 8:
        run = 0 if field_of(high, low, i) else run + 1
        if run > 1 and run > best & 15:
            best = (i + 1 - run) * 16 + run
        i += 1
    return best


def write_six(n: int, high: int, low: int, out: Words) -> int:
    """Write an IPv6 address as RFC 5952 section 4 has it. Returns how many letters there are then."""
    zeros = zeros_of(high, low)
    begin = zeros >> 4
    end = begin + (zeros & 15)
    i = 0
    while i < 8:
        if i == begin and zeros:
            n = write_letters(n, 58, 1, out)
            if end == 8:
                n = write_letters(n, 58, 1, out)
            i = end
            continue
        if i:
            n = write_letters(n, 58, 1, out)
        n = write_hex(n, field_of(high, low, i), out)
        i += 1
    return n


def write_name(n: int, sentence: Words, s: int, at: int, out: Words) -> int:
    """Write the address, with its port if there is one, whose words begin at ``at`` of the sentence at ``s``."""
    high = sentence[s + at]
    low = sentence[s + at + 1]
    port = sentence[s + at + 2]
    if sentence[s + SE_SIX]:
        if port >= 0:
            n = write_letters(n, 91, 1, out)
        n = write_six(n, high, low, out)
        if port >= 0:
            n = write_letters(n, 93 | 58 << 8, 2, out)
    else:
        n = write_octet(n, low >> 24 & 255, 46, out)
        n = write_octet(n, low >> 16 & 255, 46, out)
        n = write_octet(n, low >> 8 & 255, 46, out)
        n = write_octet(n, low & 255, 58, out)
        if port < 0:
            n -= 1  # the colon: what follows is written over it
            out[n >> 3] &= (low - low + 1 << 8 * (n & 7)) - 1
    return n if port < 0 else write_number(n, port, out)


def write_sentences(
    count: int, sentences_words: Words, pieces_words: Words, texts_words: Words, out_words: Words, lengths_words: Words
) -> int:
    """Write some sentences one after the other.

    Parameters
    ----------
    count : int
    sentences : int64[SENTENCE_SIZE * count]
    pieces : int64[n]
        Of each kind of sentence how many pieces it has, and these.
    texts : int64[n]
        The letters of texts.
    out : int64[n]
        The letters; there is room for one word more.
    lengths : int64[count]
        How many each has.

    Returns
    -------
    int
        How many letters there are.
    """
    sentences = pointer(sentences_words)
    pieces = pointer(pieces_words)
    texts = pointer(texts_words)
    out = pointer(out_words)
    lengths = pointer(lengths_words)
    n = 0
    i = 0
    s = 0
    while i < count:
        begin = n
        p = sentences[s + SE_PIECES]
        end = p + 1 + pieces[p] * PIECE_SIZE
        p += 1
        while p < end:
            what = pieces[p + PI_WHAT]
            if what == PIECE_TEXT:
                n = write_text(n, texts, pieces[p + PI_BEGIN], pieces[p + PI_LETTERS], out)
            elif what == PIECE_CLIENT:
                n = write_name(n, sentences, s, SE_CLIENT_HI, out)
            elif what == PIECE_SERVER:
                n = write_name(n, sentences, s, SE_SERVER_HI, out)
            else:
                n = write_number(n, sentences[s + SE_FRAME], out)
            p += PIECE_SIZE
        lengths[i] = n - begin
        i += 1
        s += SENTENCE_SIZE
    return n
