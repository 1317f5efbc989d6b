"""Run a filter program over the frames of a batch.

The program is libpcap's: its compiler makes it of an expression (:mod:`tcptrace_fsm.capture.filters`), in the
instructions of
the BSD packet filter (McCanne and Jacobson, "The BSD Packet Filter", USENIX 1993). libpcap runs one frame at each call;
here a batch is run at once, where the frames lie.

An instruction is four words: code, jump if true, jump if false, constant. Numbers are 32 bits, unsigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["select"]


def load(data: Buffer, at: int, length: int, offset: int, size: int) -> int:
    """The big-endian number of ``size`` bytes at ``offset`` in a frame; -1 where the frame does not hold it."""
    if offset < 0 or offset + size > length:
        return -1
    value = 0
    i = at + offset
    while size:
        value = value << 8 | data[i]
        i += 1
        size -= 1
    return value


def arithmetic(code: int, a: int, b: int) -> int:
    """One operation on the accumulator; -1 for a division by zero."""
    code = code & 240
    if code == 0:
        return low32(a + b)
    if code == 16:
        return low32(a - b)
    if code == 32:
        # in two steps: the product of two 32-bit numbers need not fit 64 signed bits
        return low32((a & 65535) * b + (low32((a >> 16) * b) << 16))
    if code == 48:
        return a // b if b else -1
    if code == 64:
        return a | b
    if code == 80:
        return a & b
    if code == 96:
        return (a & (bit(32 - b) - 1)) << b if b < 32 else 0
    if code == 112:
        return a >> b if b < 32 else 0
    if code == 128:
        return low32(-a)
    if code == 144:
        return a % b if b else -1
    if code == 160:
        return a ^ b
    return -1


def matches(data: Buffer, at: int, captured: int, original: int, program: Words, count: int, memory: Words) -> int:
    """Whether the program of ``count`` instructions keeps a frame: 1 or 0."""
    a = 0
    x = 0
    pc = 0
    steps = 0
    while 0 <= pc < count:
        code = program[4 * pc]
        k = program[4 * pc + 3]
        kind = code & 7
        pc += 1
        steps += 1
        if steps > 65536:
            return 0  # a loop of protochain that a frame has made endless
        if kind == 0:  # LD
            mode = code & 224
            size = 4
            if code & 24 == 8:
                size = 2
            elif code & 24 == 16:
                size = 1
            if mode == 0:
                a = k
            elif mode == 32:
                a = load(data, at, captured, k, size)
            elif mode == 64:
                a = load(data, at, captured, low32(k + x), size)
            elif mode == 96:
                a = memory[k & 15]
            else:
                a = original
            if a < 0:
                return 0
        elif kind == 1:  # LDX
            mode = code & 224
            if mode == 0:
                x = k
            elif mode == 96:
                x = memory[k & 15]
            elif mode == 160:
                x = load(data, at, captured, k, 1)
                if x < 0:
                    return 0
                x = (x & 15) << 2
            else:
                x = original
        elif kind == 2:  # ST
            memory[k & 15] = a
        elif kind == 3:  # STX
            memory[k & 15] = x
        elif kind == 4:  # ALU
            a = arithmetic(code, a, x if code & 8 else k)
            if a < 0:
                return 0
        elif kind == 5:  # JMP
            other = x if code & 8 else k
            test = code & 240
            if test == 0:
                pc += k - (k >> 31 << 32)  # protochain jumps back
            elif (
                (test == 16 and a == other)
                or (test == 32 and a > other)
                or (test == 48 and a >= other)
                or (test == 64 and a & other)
            ):
                pc += program[4 * pc - 3]
            else:
                pc += program[4 * pc - 2]
        elif kind == 6:  # RET
            return 1 if (a if code & 24 == 16 else k) else 0
        elif code & 248:  # TXA
            a = x
        else:  # TAX
            x = a
    return 0


def select(data: Buffer, frames: Words, count: int, link: int, program: Words, instructions: int, memory: Words) -> int:
    """Mark the frames of one link type that a program does not keep: their ``F_LINK`` becomes ``-1 - link``.

    Parameters
    ----------
    data : bytes-like
        What ``F_OFFSET`` counts in.
    frames : int64[count * FRAME_SIZE]
        Frame records.
    count : int
        How many.
    link : int
        ``LINKTYPE_`` number of the frames that the program is for.
    program : int64[4 * instructions]
        As libpcap compiled it.
    instructions : int
        How many.
    memory : int64[16]
        The program's scratch memory.

    Returns
    -------
    int
        How many frames were marked.

    """
    marked = 0
    i = 0
    while i < count:
        f = i * FRAME_SIZE
        if frames[f + F_LINK] == link and not matches(
            data, frames[f + F_OFFSET], frames[f + F_CAPTURED], frames[f + F_ORIGINAL], program, instructions, memory
        ):
            frames[f + F_LINK] = -1 - link
            marked += 1
        i += 1
    return marked
