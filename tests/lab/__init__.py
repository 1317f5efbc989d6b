"""A kernel lab: real Linux hosts in namespaces, real faults, and the kernel's own account of every TCP state.

The analyser reconstructs what state each endpoint was in from packets alone. This lab asks the one witness that knows:
it lets two kernels talk over a wire that it owns, records the wire at three points, and writes down each transition
that the kernels report. `score.py` then compares the two. docs/lab.md tells how the truth is made.

Bottom up: `netns` (a namespace as a context manager), `network` (client, router, server and the faults between them),
`forwarder` (delay, reordering and duplication in user space), `trace` and `diag` (the two sources of truth), `truth`
(from their events to rows), `sockets` (hosts and connections as scenarios drive them), `scenario` (the registry),
`scenarios/` (what is played), `runner` (many at once), `score`, `samples`.
"""
