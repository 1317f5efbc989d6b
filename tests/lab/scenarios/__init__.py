"""What the lab plays, by subject. Importing a module registers its scenarios."""

from __future__ import annotations

import importlib

from tests.lab.scenario import Spec

MODULES = ("handshake", "closing", "waiting", "resets", "timers", "capturing", "mass", "scripted", "applications")


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


def application_specs(seed: int, each: int = 4) -> list[Spec]:
    """Applications that wait, over five wires: at hand, with loss, far away, both, and with ACKs held back for long."""
    from tests.lab.scenarios.applications import applications

    far = {"mode": "forwarder", "near": 0.010, "far": 0.010}
    further = {"mode": "forwarder", "near": 0.030, "far": 0.070}
    none: dict[str, dict[str, object]] = {"client": {}, "server": {}}
    wires: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "at_hand": ({"family": 4}, {}),
        "loss": ({"family": 6}, {"loss": 0.02}),
        "far": ({"family": 6, **far}, {"rtt": 0.04}),
        "far_loss": ({"family": 4, **far}, {"rtt": 0.04, "loss": 0.02}),
        "further": ({"family": 4, **further}, {"rtt": 0.2}),
        "unscaled": ({"family": 4, **far}, {"rtt": 0.04, "kinds": ("unscaled",)}),
        "held": ({"family": 4, "mode": "forwarder"}, {"kinds": ("nagle",), "acks_held": 0.16}),
    }
    unscaled: dict[str, dict[str, object]] = {side: {"tcp_window_scaling": 0} for side in ("client", "server")}
    return [
        Spec(
            f"applications_{name}_{seed}",
            applications,
            {"seed": seed, "each": each, **more},
            wire,
            unscaled if name == "unscaled" else none,
            30,
        )
        for name, (wire, more) in wires.items()
    ]
