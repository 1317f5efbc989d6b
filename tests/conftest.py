"""What holds for every test."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import is_hypothesis_test, settings

# What runs tests side by side tells its workers how wide its own terminal is; commands would fill that.
os.environ.pop("COLUMNS", None)

# How long an example takes says nothing here: tests run compiled and not, with coverage, on machines with other work.
settings.register_profile("tcptrace-fsm", deadline=None, print_blob=True)
settings.load_profile("tcptrace-fsm")
# The second of two runs: what is drawn anew there adds little, and takes minutes in plain Python under coverage.
settings.register_profile("again", settings.get_profile("tcptrace-fsm"), max_examples=25)


def pytest_collection_modifyitems(items):
    """Leave tests with drawn examples out of the coverage.

    The same kernels in plain Python a hundred times over take three times as long when each line is watched, and the
    lines that count are reached by the tests whose examples are written down.
    """
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    """See to it that what is left out of the coverage is: in the workers of xdist, pytest-cov goes on watching."""
    watching = sys.gettrace()
    if item.get_closest_marker("no_cover"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(watching)
