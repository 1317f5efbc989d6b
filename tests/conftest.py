"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing here: tests run compiled and not, with coverage, on machines with other work.
settings.register_profile("tcptrace-fsm", deadline=None, print_blob=True)
settings.load_profile("tcptrace-fsm")
# The second of two runs: what is drawn anew there adds little, and takes minutes in plain Python under coverage.
settings.register_profile("again", settings.get_profile("tcptrace-fsm"), max_examples=25)
