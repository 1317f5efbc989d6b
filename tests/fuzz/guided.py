"""Coverage-guided fuzzing of the compiled kernels, under the address sanitizer and that for undefined behaviour.

    apt-get install clang; pip install atheris Cython
    python -m tests.fuzz.guided BUILD segments CORPUS -max_total_time=3600 -timeout=20
    python -m tests.fuzz.guided BUILD capture CORPUS -max_total_time=3600 -timeout=20

The targets are those of :mod:`tests.fuzz.harness`, on the extension that :mod:`tests.fuzz.checked` builds into the
folder BUILD. All arrays end where the kernels may no longer go, so that one step further is an error. Captures are
changed by :mod:`tests.fuzz.mutate` and by libFuzzer in turn.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from array import array
from importlib import metadata
from pathlib import Path

from tests.fuzz import checked

RUNTIME = "asan_with_fuzzer.so"


def under_the_sanitizer() -> Path:
    """The checked extension, built in a process of its own; then this one again, under the sanitizer's runtime."""
    if RUNTIME in os.environ.get("LD_PRELOAD", ""):
        return Path(sys.argv.pop(1))
    command = [sys.executable, "-m", "tests.fuzz.checked", sys.argv.pop(1), "clang"]
    extension = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    runtime = Path(str(metadata.distribution("atheris").locate_file(RUNTIME)))
    os.environ["LD_PRELOAD"] = str(runtime)
    os.environ["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
    os.environ["PYTHONMALLOC"] = "malloc"
    return os.execv(sys.executable, [sys.executable, "-m", "tests.fuzz.guided", extension, *sys.argv[1:]])


def exact_room() -> None:
    """Let the engine's arrays end where they are said to end, in memory that the sanitizer guards."""
    from tcptrace_fsm.core import engine

    def room(n: int):
        return memoryview(array("q", bytes(8 * max(n, 1))))

    def grown(words, n: int):
        if len(words) >= n:
            return words
        larger = memoryview(array("q", bytes(8 * n)))
        larger[: len(words)] = words
        return larger

    engine.room, engine.grown = room, grown


def exact_content() -> None:
    """Let the bytes that are decoded end where what was read ends."""
    from tcptrace_fsm.capture import containers, peeling
    from tcptrace_fsm.kernels import layout as at

    def wrapped_walk(walk):
        return lambda data, frames, *rest: walk(bytes(data[: rest[-1][at.WALK_END]]) or b"\0", frames, *rest)

    def wrapped_decode(decode):
        def exactly(data, frames, count, *rest):
            ends = [
                frames[f + at.F_OFFSET] + frames[f + at.F_CAPTURED]
                for f in range(0, count * at.FRAME_SIZE, at.FRAME_SIZE)
            ]
            return decode(bytes(data[: max(ends, default=0)]) or b"\0", frames, count, *rest)

        return exactly

    for name in ("walk_pcap", "walk_pcapng", "walk_snoop"):
        setattr(containers, name, wrapped_walk(getattr(containers, name)))
    containers.decode = wrapped_decode(containers.decode)
    peeling.decode = wrapped_decode(peeling.decode)
    peeling.decode_tunnels = wrapped_decode(peeling.decode_tunnels)


def main() -> None:
    checked.load(under_the_sanitizer())
    import atheris

    from tcptrace_fsm.capture.containers import open_capture
    from tcptrace_fsm.core.engine import Engine
    from tests.fuzz.harness import Targets
    from tests.fuzz.mutate import mutated
    from tests.fuzz.seeds import seeds

    exact_room()
    exact_content()
    target = sys.argv.pop(1)
    found = seeds()

    def change(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, most)
        return mutated(data, chance, chance.choice(found))[:most]

    more = {"custom_mutator": change} if target == "capture" else {}
    if target == "capture" and len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        corpus = Path(sys.argv[1])
        for n, data in enumerate(found):
            (corpus / f"seed-{n}").write_bytes(data)
    atheris.Setup([*sys.argv, "-max_len=20000"], getattr(Targets(Engine, open_capture), target), **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
