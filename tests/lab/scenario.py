"""The registry: a scenario is a function that plays applications and faults on a `Lab`; a decorator names its variants.

    @scenario(who=SIDES, family=FAMILIES)
    def close_first(lab: Lab, who: str) -> None:
        "One side closes, the other follows."
        a, b = lab.pair(first=who)
        a.close()
        b.drain().close()

makes close_first_client_v4, close_first_client_v6, close_first_server_v4, close_first_server_v6.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import pcap
from tests.lab.sockets import PORT, Conn, Host, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.lab.network import Network

SIDES = ("client", "server")
STAGES = ("near", "far")
FAMILIES = (4, 6)


@dataclass(frozen=True)
class Spec:
    """One variant of a scenario: its name, function, arguments, and the wire that it wants."""

    name: str
    play: Callable[..., None]
    args: dict[str, object]
    wire: dict[str, object]
    sysctls: dict[str, dict[str, object]]
    seconds: float

    @property
    def doc(self) -> str:
        return " ".join((self.play.__doc__ or "").split())


REGISTRY: dict[str, Spec] = {}


def scenario(
    *,
    wire: dict[str, object] | None = None,
    client: dict[str, object] | None = None,
    server: dict[str, object] | None = None,
    family: Sequence[int] = (4,),
    seconds: float = 3,
    **axes: Sequence[object],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register each combination of the axes as a variant.

    wire: options of `Network`. client, server: sysctls under net.ipv4. seconds: how long it takes, so that the long
    ones are started first.
    """

    def register(play: Callable[..., None]) -> Callable[..., None]:
        for values in itertools.product(*axes.values()):
            for v in family:
                args = dict(zip(axes, values, strict=True))
                name = "_".join([play.__name__, *(str(x) for x in values), f"v{v}"])
                assert name not in REGISTRY, name
                sysctls = {"client": client or {}, "server": server or {}}
                REGISTRY[name] = Spec(name, play, args, {**(wire or {}), "family": v}, sysctls, seconds)
        return play

    return register


@dataclass
class Lab:
    """What a scenario plays on."""

    net: Network
    folder: Path
    actions: list[dict[str, object]] = field(default_factory=list)
    expected: list[dict[str, object]] = field(default_factory=list)
    edits: list[tuple[str, object]] = field(default_factory=list)
    waits: dict[str, object] = field(default_factory=dict)  # by client port: who was waited for, and how long

    def __post_init__(self) -> None:
        self.client, self.server = Host(self.net, "client"), Host(self.net, "server")
        self.askers = {"client": self.client.asker, "server": self.server.asker}

    def host(self, side: str) -> Host:
        return self.client if side == "client" else self.server

    def note(self, what: str) -> None:
        """Record what has just been done."""
        self.actions.append({"t": time.time(), "what": what})

    def expect(self, kind: str, side: str | None, note: str = "") -> None:
        """An analyser should report this finding on this side."""
        self.expected.append({"kind": kind, "side": side, "note": note, "at": time.time()})

    def pair(self, *, first: str = "client", port: int = PORT, **options: int) -> tuple[Conn, Conn]:
        """An established connection from the client: both ends, the one on `first` first."""
        listener = self.server.listen(port)
        c, s = self.connect(listener, **options)
        listener.close()
        return (c, s) if first == "client" else (s, c)

    def connect(self, listener: Listener, *, source: int = 0, **options: int) -> tuple[Conn, Conn]:
        """A connection to a listener that stays."""
        port = listener.socket.getsockname()[1]
        c = self.client.connect(port, source=source, **options)
        return c, listener.accept()

    def talk(self, a: Conn, b: Conn, size: int = 200) -> None:
        """A request and an answer."""
        a.send(size)
        b.read(size)
        b.send(size)
        a.read(size)

    def lose(self, segment: str, sender: str, where: str, **how: float) -> None:
        """See Network.lose."""
        self.net.lose(segment, sender, where, **how)  # type: ignore[arg-type]
        self.note(f"from now on lose {segment} of the {sender}, {where} ({how or 'the next one'})")

    def blackhole(self, sender: str, where: str = "near") -> None:
        """Lose everything that this host sends."""
        self.lose("any", sender, where, count=1_000_000)

    def close_both(self, a: Conn, b: Conn, gap: float = 0.1) -> None:
        """a closes and reaches FIN_WAIT_2, b closes some time later."""
        a.close()
        b.drain()
        time.sleep(gap)
        b.close()

    def settle(self, seconds: float = 0.5) -> None:
        """Let the wire and the timers finish."""
        time.sleep(seconds)

    def seen(self, conn: Conn, point: str | None = None) -> tuple[list[pcap.Frame], list[pcap.Segment]]:
        """What this host has sent on this connection so far, as captured at a point (its own, if none is named)."""
        time.sleep(0.06)
        local, remote = conn.pair
        found = []
        for frame in pcap.read(self.folder / f"{point or conn.host.name}.pcap"):
            s = pcap.parse(frame.data)
            if s and ((s.src, s.sport), (s.dst, s.dport)) == (local, remote):
                found.append((frame, s))
        return [f for f, _ in found], [s for _, s in found]

    def forge(self, victim: Conn, peer: Conn, flags: int, shift: int = 0, payload: bytes = b"", at: str = "") -> None:
        """Inject a segment to `victim` that seems to come from `peer`, `shift` bytes beside the expected number."""
        sent = self.seen(peer)[1]
        other = self.seen(victim)[1]
        nxt = max((s.next for s in sent), key=lambda n: (n - sent[0].seq) & 0xFFFFFFFF)
        ack = max((s.next for s in other), key=lambda n: (n - other[0].seq) & 0xFFFFFFFF)
        macs = (self.net.mac[peer.host.name], self.net.mac[victim.host.name])
        frame = pcap.build(macs, peer.pair[0], victim.pair[0], flags, nxt + shift, ack, payload=payload)
        self.net.inject(frame, at or f"to_{victim.host.name}")
        self.note(f"injected to {victim.host.name}: flags {flags:#x}, {shift:+} bytes from what it expects")

    def edit(self, point: str, keep: object) -> None:
        """Afterwards remove from this point's capture the frames that `keep(index, frame, segment)` refuses."""
        self.edits.append((point, keep))

    def close(self) -> None:
        self.client.close()
        self.server.close()
