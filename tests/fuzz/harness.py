"""Coverage-guided fuzzing of the uncompiled kernels, where Python checks what the compiled ones take for granted.

Two targets. ``segments``: the input is read as segment records on a handful of four-tuples, and goes through tracker,
replay and rules. ``capture``: the input is a capture file, and goes the whole way from its first byte. Both watch every
index of every array, and hold each result to the invariants of :mod:`tests.strategies`.

    pip install atheris
    python -m tests.fuzz.harness segments tests/fuzz/corpus/segments -max_total_time=20 -timeout=10
    python -m tests.fuzz.harness capture tests/fuzz/corpus/capture -max_total_time=20 -timeout=10

New inputs that reach new code are added to the folder named first; an input that breaks something is written to a file
named ``crash-...``. Without atheris the targets are still functions: tests/fuzz/test_corpus.py plays them the corpus.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from array import array
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

from tcptrace_fsm.capture import containers as installed_capture
from tcptrace_fsm.capture import peeling as installed_peeling
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import CaptureError
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.notation import BEGIN
from tests.invariants import check, check_counted
from tests.kernels import uncompiled, uncompiled_with
from tests.strategies import (
    HOSTS,
    NUMBERS,
    SEED,
    STEPS,
    USUAL_FLAGS,
    Batch,
    Outcome,
    collect,
    find_profile,
    record,
    watch,
    watched_engine,
)

BYTES = 12  # of input that make one segment record
LENGTHS = (0, 0, 0, 1, 2, 100, 1460, 262144)
PROFILES = ("linux", "rfc9293", "bsd", "windows")


def segments_of(data: bytes) -> array:
    """Read any bytes as segment records: most numbers follow from what the four-tuple has sent, some do not."""
    out = array("q")
    time = BEGIN
    following: dict[tuple[int, int], int] = {}
    for frame in range(1, min(len(data) // BYTES, 64) + 1):
        b = data[(frame - 1) * BYTES : frame * BYTES]
        side, tuple_number = b[0] & 1, b[0] >> 1 & 3
        time = min(max(time + STEPS[b[1] % len(STEPS)], 0), 2**62)
        ports = ((40000, 80), (40001, 80), (33000, 34000), (80, 80))[tuple_number]
        hosts = HOSTS if tuple_number < 3 else (HOSTS[0], HOSTS[0])
        if side:
            hosts, ports = hosts[::-1], ports[::-1]
        own, peer = following.get((tuple_number, side), 1000), following.get((tuple_number, 1 - side), 5000)
        flags = USUAL_FLAGS[b[2] & 15] if b[2] < 240 else b[3] | (b[2] & 1) << 8
        seq = own + b[4] - 256 * (b[4] >> 7) if b[5] < 192 else NUMBERS[b[4] % len(NUMBERS)]
        ack = peer + b[6] - 256 * (b[6] >> 7) if b[5] & 31 else NUMBERS[b[6] % len(NUMBERS)]
        length = LENGTHS[b[7] & 7]
        following[tuple_number, side] = seq + length + (1 if flags & 3 else 0)
        more = {"LEN": length, "IP_ID": b[9] % 8 - 1, "CHECKSUM": b[7] >> 6, "WINDOW": (0, 1, 100, 65535)[b[8] & 3]}
        if b[8] & 4:
            more["OPTIONS"] = b[10] << 3 | b[10] >> 5
            more["TSVAL"], more["TSECR"] = b[11], NUMBERS[b[11] % len(NUMBERS)]
            more["SHIFT"], more["MSS"] = b[11], b[11] << 8
            if b[10] & 1:
                more["SACKS"], more["SACK"] = b[9] % 5, (peer + b[11]) % 2**32
        out.extend(record(frame, time, hosts, ports, seq, ack, flags, **more))
    return out


def play(batches, profile: str = "linux", kind=None) -> Outcome:
    """Batches through tracker, replay and rules; ``kind`` is the engine's class, the watched one if None."""
    from tcptrace_fsm.findings import runner

    chosen = find_profile(profile)
    engine = (kind or watched_engine())(Settings(chosen), judges=[runner(chosen)], seed=SEED)
    connections: list = []
    findings: list = []
    labelled = array("q")
    for batch in batches:
        engine.feed(batch)
        labelled += batch.segments[: batch.count * at.SEGMENT_SIZE]
        while (done := engine.take()) is not None:
            collect(done, connections)
            findings += done.findings
    engine.finish()
    while (done := engine.take()) is not None:
        collect(done, connections)
        findings += done.findings
    connections.sort(key=lambda c: c["C_ID"])
    return Outcome(connections, labelled, findings, engine)


def hold(outcome: Outcome) -> None:
    """Hold a result to the invariants."""
    check(outcome)
    check_counted(outcome)
    for finding in outcome.findings:
        assert finding.message
        assert all(frame >= 1 for frame in finding.frames)


@cache
def plain_capture() -> ModuleType:
    """The reader on plain-Python kernels whose every index is watched."""
    reader = copied("uncompiled_capture", installed_capture)
    reader.Peeler = plain_peeling().Peeler
    for name in ("decode", "walk"):
        kernel = uncompiled(name)
        for function in kernel.__all__:
            setattr(reader, function, watch(getattr(kernel, function)))
    return reader


@cache
def plain_peeling() -> ModuleType:
    """The slow path on the same."""
    module = copied("uncompiled_peeling", installed_peeling)
    module.decode = watch(uncompiled("decode").decode)
    module.decode_tunnels = watch(uncompiled_with("tunnels", "decode", "paths").decode_tunnels)
    return module


def copied(name: str, module: ModuleType) -> ModuleType:
    """A module once more, under another name."""
    spec = importlib.util.spec_from_file_location(name, Path(module.__file__))
    copy = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = copy
    spec.loader.exec_module(copy)
    return copy


class Targets:
    """What is fuzzed, on one engine and one reader: as installed, or watched.

    Parameters
    ----------
    engine : type or None
        The engine's class; None for the watched one, made when it is needed.
    reader : callable
        Opens a capture.

    """

    def __init__(self, engine, reader) -> None:
        self.engine = engine
        self.reader = reader

    def segments(self, data: bytes) -> None:
        """One input: its first byte chooses the profile and how the rest is cut into batches."""
        if len(data) <= BYTES:
            return
        records = segments_of(data[1:])
        step = (1, 3, 64, 64)[data[0] & 3] * at.SEGMENT_SIZE
        parts = (records[i : i + step] for i in range(0, len(records), step))
        batches = (Batch(part, len(part) // at.SEGMENT_SIZE) for part in parts)
        hold(play(batches, PROFILES[data[0] >> 2 & 3], self.engine))

    def capture(self, data: bytes) -> None:
        """One input: a capture file, read in small chunks. Whatever it is, it gives tables or a CaptureError."""
        try:
            capture = self.reader(io.BytesIO(data), chunk_size=512, broken=True)
        except CaptureError as reason:
            assert str(reason)  # noqa: PT017 - a target, not a test: not being a capture is fine, saying nothing is not
            return
        hold(play(capture.segments(), kind=self.engine))
        assert sum(capture.outcomes) == capture.frames


WATCHED = Targets(None, lambda *given, **more: plain_capture().open_capture(*given, **more))
segments_target, capture_target = WATCHED.segments, WATCHED.capture
TARGETS = {"segments": segments_target, "capture": capture_target}


def instrument(atheris) -> int:
    """Let atheris see which branches of the kernels and of the slow path are taken. Returns how many functions."""
    from tcptrace_fsm import findings as anomalies
    from tcptrace_fsm.capture import batches, chunks, fragments, headers, pcapng, streams
    from tcptrace_fsm.capture.layers import layers

    functions: set[FunctionType] = set()
    watched_engine()
    layers()  # loads them all
    families = [m for name, m in sys.modules.items() if name.startswith(f"{layers.__module__}.")]
    readers = (plain_capture(), plain_peeling(), batches, chunks, fragments, headers, pcapng, streams)
    for module in (*readers, *families, *anomalies.FAMILIES):
        functions.update(
            f for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__
        )
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                functions.update(f for f in vars(kind).values() if isinstance(f, FunctionType))
    for holder in (vars(sys.modules[watched_engine().__module__]), vars(plain_capture()), vars(plain_peeling())):
        for watched in holder.values():
            for cell in getattr(watched, "__closure__", None) or ():
                kernel = cell.cell_contents
                if isinstance(kernel, FunctionType) and kernel.__module__.startswith("uncompiled_"):
                    functions.update(
                        f
                        for f in kernel.__globals__.values()
                        if isinstance(f, FunctionType) and f.__module__.startswith("uncompiled_")
                    )
    for function in functions:
        atheris.instrument_func(function)
    return len(functions)


def main() -> None:
    import atheris

    target = TARGETS[sys.argv.pop(1)]
    print(f"{instrument(atheris)} functions instrumented", file=sys.stderr)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
