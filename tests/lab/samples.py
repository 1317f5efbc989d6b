"""Records sample_pcaps/: small captures of the lab's scenarios, and MANIFEST.toml with what must be found in each one.

The endpoint paths in the manifest are the kernel's (truth.csv), reduced to what the capture can show by the same rule
as `score`; the findings are written here by hand.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import pcap, runner, score, trace
from tests.lab.scenario import REGISTRY


@dataclass(frozen=True)
class Sample:
    """One file: which scenario, seen from where, and what a student should see."""

    file: str
    scenario: str
    point: str
    title: str
    shows: str
    findings: tuple[tuple[str, str], ...] = field(default=())
    """Kinds and sides: what must be found, and all that is found above low."""
    diagnoses: tuple[tuple[str, str], ...] = field(default=())
    """Causes; and what it truly was, where the capture alone cannot tell."""


SAMPLES = [
    Sample(
        "normal_close.pcap", "close_by_client_v4", "client",
        "A connection from open to close",
        "Three-way handshake, a request and its answer, then the client closes first. It walks FIN_WAIT_1, "
        "FIN_WAIT_2 and TIME_WAIT, where it is still waiting when the capture ends; the server walks CLOSE_WAIT "
        "and LAST_ACK and is CLOSED by the last ACK.",
    ),
    Sample(
        "straight_to_time_wait.pcapng", "straight_to_time_wait_server_v6", "router",
        "FIN and ACK in one segment (IPv6)",
        "The server closes first and the client's answer is a single segment with FIN and ACK. So the server "
        "goes from FIN_WAIT_1 straight to TIME_WAIT; there is no moment at which it was in FIN_WAIT_2.",
    ),
    Sample(
        "half_close.pcap", "half_close_client_v4", "router",
        "Half-close: finished sending, still listening",
        "The client sends its FIN and means only its own direction. For 0.3 seconds the server, in CLOSE_WAIT, "
        "goes on sending data and the client, in FIN_WAIT_2, acknowledges it. Then the server closes too.",
    ),
    Sample(
        "simultaneous_open.pcap", "simultaneous_open_v4", "router",
        "Both ends connect at once",
        "Two SYNs cross on the wire. Both ends go from SYN_SENT to SYN_RECEIVED and each answers with SYN+ACK; "
        "one connection comes out of it, not two. Neither end ever listened.",
        (("simultaneous_open", ""),),
    ),
    Sample(
        "simultaneous_close.pcap", "simultaneous_close_v4", "router",
        "Both ends close at once",
        "Two FINs cross on the wire. Each end gets a FIN while its own is not acknowledged yet, so both pass "
        "through CLOSING, and both end in TIME_WAIT.",
        (("simultaneous_close", ""),),
    ),
    Sample(
        "last_ack_repaired.pcap", "close_lost_lastack_far_client_v4", "router",
        "The last ACK is lost and repaired",
        "The client's last ACK passes this capture point and is lost behind it. The server, still in LAST_ACK, "
        "sends its FIN again after 0.2 seconds and the client, in TIME_WAIT, acknowledges again. This is what "
        "TIME_WAIT is for.",
        (("last_ack_lost", "client"),),
    ),
    Sample(
        "lost_time_wait.pcap", "time_wait_killed_near_client_v4", "client",
        "TIME_WAIT is gone too early",
        "The last ACK is lost, and the client's TIME_WAIT has been removed (`ss -K`, as a full table or a reboot "
        "would do). The server's FIN comes again 0.2 seconds later and meets a host that knows nothing of it: "
        "RST instead of an ACK. The server's close, which had gone well, ends as an error.",
        (("rst_after_time_wait_loss", "client"),),
        diagnoses=(("time_wait_gone", ""),),
    ),
    Sample(
        "stuck_fin_wait_2.pcap", "stuck_fin_wait_2_for_a_minute_v4", "client",
        "The peer never closes",
        "The client has half-closed and waits in FIN_WAIT_2 for a FIN that does not come: the server's "
        "application forgot to close and sits in CLOSE_WAIT. Keepalives of the server's kernel show for more "
        "than a minute that both hosts are alive and nothing else is wrong.",
        (("stuck_fin_wait_2", "client"), ("stuck_close_wait", "server")),
        diagnoses=(("close_wait_leak", ""),),
    ),
    Sample(
        "same_port_again.pcap", "same_port_again_v4", "client",
        "nc -p 12345, stopped and started again",
        "The client uses port 12345 and closes; the port stays in TIME_WAIT. A second start without SO_REUSEADDR "
        "fails with EADDRINUSE and nothing of it is on the wire (look for it in vain around 0.6 s). A third "
        "start with SO_REUSEADDR opens the same four-tuple anew, long before 2MSL is over.",
        (("time_wait_reopen", "client"),),
    ),
    Sample(
        "time_wait_reopened.pcap", "time_wait_reused_by_server_1_v6", "server",
        "A SYN reopens the server's TIME_WAIT (IPv6)",
        "The server closes first and holds TIME_WAIT; the client connects again from the same port. A newer "
        "timestamp proves that the SYN is new, so the server accepts it. Its initial sequence number lies 65537 "
        "above the old connection's last one: Linux's signature of a reopened TIME_WAIT.",
        (("time_wait_reopen", "server"),),
    ),
    Sample(
        "refused.pcap", "refused_v6", "client",
        "Connection refused (IPv6)",
        "Nobody listens on the port. The SYN is answered by RST+ACK and the client goes from SYN_SENT to CLOSED "
        "at once; twice.",
        (("connection_refused", "client"),),
        diagnoses=(("nothing_listens", ""),),
    ),
    Sample(
        "filtered.pcap", "filtered_near_v4", "client",
        "No answer at all",
        "A filter swallows the SYNs. The client repeats its SYN after 1 and 3 seconds and gives up; the giving "
        "up itself is not on the wire.",
        (("syn_no_response", "client"),),
        diagnoses=(("syn_filtered", ""),),
    ),
    Sample(
        "fin_wait_2_expired.pcap", "orphan_fin_wait_2_for_a_minute_v4", "client",
        "FIN_WAIT_2 has a time limit for orphans",
        "The client's application has closed its socket completely, so its kernel waits in FIN_WAIT_2 for about "
        "a minute only (tcp_fin_timeout). The server closes after 64 seconds; its FIN meets a host that has "
        "forgotten the connection: RST.",
        (("rst_after_fin_wait_2_timeout", "client"),),
        diagnoses=(("orphan_timed_out", ""),),
    ),
    Sample(
        "half_open.pcap", "half_open_syn_v4", "router",
        "Half-open connection discovered by a new SYN",
        "The client died and its RST never left it; the server still believes in the old connection. The "
        "client's new SYN from the same port is answered by an ACK with the old numbers, the client answers that "
        "with a RST, and its repeated SYN is welcome (RFC 9293, figure 9).",
        (("active_connection_reuse", "client"), ("reply_rst", "client")),
    ),
    Sample(
        "half_open_by_data.pcap", "half_open_data_v4", "client",
        "Half-open connection discovered by data",
        "The server aborted and its RST was lost on the way. The client, still in ESTABLISHED, sends data 0.3 "
        "seconds later and learns of it by a RST without ACK (RFC 9293, figure 10).",
        (("reply_rst", "server"),),
    ),
    Sample(
        "time_wait_assassination.pcap", "time_wait_assassination_0_v4", "client",
        "TIME_WAIT assassinated (RFC 1337)",
        "A copy of an old data segment reaches the client in TIME_WAIT. It answers with an ACK, as it must; the "
        "server, long CLOSED, answers that with a RST, and the RST ends TIME_WAIT after 0.2 seconds instead of "
        "60.",
        (("time_wait_assassination", "client"),),
    ),
    Sample(
        "zero_window.pcap", "zero_window_client_v4", "client",
        "The reader does not read",
        "The server's application sleeps, its receive buffer fills and it advertises window 0. The client probes "
        "at growing intervals until the window opens again, then sends the rest and closes.",
        (("zero_window", "server"),),
        diagnoses=(("receiver_slow", ""),),
    ),
    Sample(
        "handshake_ack_lost.pcap", "handshake_lost_ack_far_v4", "router",
        "The handshake's third segment is lost",
        "The client's ACK passes here and is lost behind: the client is ESTABLISHED, the server still "
        "SYN_RECEIVED. A second later the server repeats its SYN+ACK, the client acknowledges again, and only "
        "then is the server ESTABLISHED too.",
        (("third_ack_lost", "client"),),
    ),
    Sample(
        "data_lost.pcapng", "data_lost_client_far_v4", "router",
        "A lost data segment",
        "The client's second request passes here and is lost behind. Its retransmission timer repeats it after "
        "0.2 seconds. The states do not change: loss of data is not a matter of the state machine.",
        (("rto_retransmission", "client"),),
    ),
    Sample(
        "accept_queue_overflow.pcap", "accept_queue_overflow_before_ack_v4", "router",
        "A server too busy to accept",
        "Three clients connect, the backlog has room for two. The third one's handshake ACK is seen here, and "
        "ignored by the server: that client is ESTABLISHED alone. The server repeats its SYN+ACK, and once its "
        "application has begun to accept, the third client's ACK counts.",
        (("accept_queue_overflow_suspected", "server"),),
        diagnoses=(("accept_queue_full", ""),),
    ),
]  # fmt: skip


def record(out: Path, names: list[str]) -> int:
    """Record all samples (or those whose file name begins with one of the names) and write the manifest anew."""
    out.mkdir(exist_ok=True)
    chosen = [s for s in SAMPLES if not names or any(s.file.startswith(n) for n in names)]
    kept = {} if not names else _existing(out / "MANIFEST.toml")
    tracer = trace.Tracer()
    try:
        with tempfile.TemporaryDirectory() as work:
            for sample in chosen:
                meta = runner.record(REGISTRY[sample.scenario], Path(work), tracer, number=0)
                print(runner.summary(meta))
                if not runner.clean_record(meta):
                    raise RuntimeError(f"{sample.scenario} cannot be used: {json.dumps(meta, indent=1)}")
                kept[sample.file] = _publish(sample, Path(work) / sample.scenario, out)
    finally:
        tracer.close()
    head = """\
# Small captures from real Linux kernels, recorded by `python -m tests.lab samples` (docs/lab.md).
#
# point: where it was taken: client and server are the hosts' own interfaces, router is between them.
# *_path: the states that the kernel itself says this end entered, as far as the capture can show them; what the last
#   frames cause belongs to it. An empty path is an end without a connection (refused, filtered).
# *_silent_end: the kernel went on to CLOSED with no segment at that moment; an analyser may tell it or not.
# finding: what must be found (kind and side; no side means both ends). Above low, nothing else may be.
# diagnosis: what must be diagnosed, and nothing else. truly: what it was, where the capture alone cannot tell that.
"""
    texts = [kept[s.file] for s in SAMPLES if s.file in kept]
    (out / "MANIFEST.toml").write_text(head + "".join(texts))
    return 0


def _existing(path: Path) -> dict[str, str]:
    """The manifest's entries as text, by file."""
    if not path.exists():
        return {}
    parts = path.read_text().split("\n[[sample]]\n")[1:]
    return {p.split('"')[1]: "\n[[sample]]\n" + p for p in parts}


def _publish(sample: Sample, folder: Path, out: Path) -> str:
    """Copy the capture, return its entry."""
    source = folder / f"{sample.point}.pcap"
    target = out / sample.file
    if target.suffix == ".pcapng":
        comment = f"{sample.title}. Recorded at the {sample.point} from Linux {platform.release().split('-')[0]}."
        pcap.write_pcapng(target, pcap.read(source), "m1" if sample.point == "router" else f"{sample.point}0", comment)
    else:
        target.write_bytes(source.read_bytes())
    kernel = platform.release().split("-")[0]
    lines = ["", "[[sample]]", f"file = {_toml(sample.file)}", f"title = {_toml(sample.title)}",
             f"shows = {_toml(sample.shows)}", f"scenario = {_toml(sample.scenario)}", f"point = {_toml(sample.point)}",
             f"kernel = {_toml('Linux ' + kernel)}", f"frames = {len(pcap.read(source))}"]  # fmt: skip
    for kind, side in sample.findings:
        lines += ["", "[[sample.finding]]", f"kind = {_toml(kind)}"] + ([f"side = {_toml(side)}"] if side else [])
    for cause, truly in sample.diagnoses:
        lines += ["", "[[sample.diagnosis]]", f"cause = {_toml(cause)}"]
        lines += [f"truly = {_toml(truly)}"] if truly else []
    for ends in _connections(folder, sample.point):
        lines += ["", "[[sample.connection]]"]
        for role in ("client", "server"):
            lines += [f"{role} = {_toml('{} {}'.format(*ends.address[role]))}"]
            lines += [f"{role}_path = {_toml(ends.path.get(role, []))}"]
            lines += [f"{role}_silent_end = true"] if ends.silent.get(role) else []
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass
class Ends:
    """One connection of a capture: who opened it, and what each end went through."""

    address: dict[str, score.Address]
    path: dict[str, list[str]]
    silent: dict[str, bool]


def _connections(folder: Path, point: str) -> list[Ends]:
    """The connections in time order, as far as the capture shows them.

    A change that the last frames cause belongs to the path even if it comes just after them. `silent`: the kernel went
    on to CLOSED with no segment at that moment, which an analyser may or may not tell.
    """
    wire = score.read_wire(folder / f"{point}.pcap")
    assert wire
    by_tuple: dict[frozenset[score.Address], dict[int, list[score.Endpoint]]] = defaultdict(lambda: defaultdict(list))
    count: dict[tuple[score.Address, score.Address], int] = defaultdict(int)
    for e in score.read_truth(folder / "truth.csv"):
        by_tuple[frozenset([e.local, e.remote])][count[e.local, e.remote]].append(e)
        count[e.local, e.remote] += 1
    found = []
    for incarnations in by_tuple.values():
        for i, both in incarnations.items():
            opener = next((e for e in both if e.steps[0].state == "SYN_SENT"), both[0])
            ends = Ends({"client": opener.local, "server": opener.remote}, {}, {})
            for e in both:
                role = "client" if e.local == opener.local else "server"
                after = [x.steps[0].time for x in incarnations.get(i + 1, []) if x.local == e.local]
                end = after[0] - score.NEAR if after else wire.last
                steps = score.knowable(e, wire, end)
                ends.path[role] = score.path_of(steps, end if after else end + score.UNDER_WAY)
                last = e.steps[-1]
                ends.silent[role] = last.state == "CLOSED" and last not in steps and last.time <= max([end, *after])
            found.append((opener.steps[0].time, ends))
    return [ends for _, ends in sorted(found, key=lambda x: x[0])]
