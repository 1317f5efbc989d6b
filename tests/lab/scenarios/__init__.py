"""What the lab plays, by subject. Importing a module registers its scenarios."""

from __future__ import annotations

import importlib

from tests.lab.scenario import Spec

MODULES = ("handshake", "closing", "waiting", "resets", "timers", "capturing", "mass", "scripted")


def load() -> None:
    """Register all of them."""
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")


def random_spec(seed: int) -> Spec:
    """The scenario of this seed: many connections, random patterns, random loss, every other one delayed."""
    from tests.lab.scenarios.mass import random_traffic

    wire: dict[str, object] = {"family": 4 if seed % 3 else 6, "offload": seed % 4 == 0}
    if seed % 2:
        near, jitter = 0.002 * (seed % 5), 0.004 * (seed % 3)
        wire |= {"mode": "forwarder", "near": near, "far": 0.015, "jitter": jitter, "seed": seed, "offload": False}
    return Spec(f"random_{seed}", random_traffic, {"seed": seed}, wire, {"client": {}, "server": {}}, 20)
