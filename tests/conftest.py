"""What holds for every test."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
from hypothesis import is_hypothesis_test, settings

# For the coverage, all of a test's first cases are watched, and then one in so many.
ALL_WATCHED, ONE_IN = 12, 4

# What runs tests side by side tells its workers how wide its own terminal is; commands would fill that.
os.environ.pop("COLUMNS", None)

# How long an example takes says nothing here: tests run compiled and not, with coverage, on machines with other work.
settings.register_profile("tcptrace-fsm", deadline=None, print_blob=True)
settings.load_profile("tcptrace-fsm")
# The second of two runs: what is drawn anew there adds little, and takes minutes in plain Python under coverage.
settings.register_profile("again", settings.get_profile("tcptrace-fsm"), max_examples=25)
settings.register_profile("few", settings.get_profile("tcptrace-fsm"), max_examples=10)


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also the tests marked slow, and all drawn examples")


def pytest_configure(config):
    """Who names files, tests or marks wants all of them; who names none, those that take less than two minutes."""
    option = config.option
    if hasattr(config, "workerinput"):
        pass  # a worker of xdist has its options from whom it works for
    elif config.args_source is pytest.Config.ArgsSource.ARGS or option.markexpr or option.keyword:
        option.all = True
    if not option.all and not config.getoption("--hypothesis-profile", None):
        settings.load_profile("few")


def pytest_collection_modifyitems(config, items):
    """Leave out what takes long, unless all is wanted; and watch some tests only for the coverage.

    Watched line by line, tests take twice as long, and drawn examples on kernels in plain Python three times. Of a test
    with many cases a few reach what the others do; and what is not watched can only be missing from the coverage.
    """
    cases: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        cases[name] += 1
        if is_hypothesis_test(getattr(item, "obj", None)) or (cases[name] > ALL_WATCHED and cases[name] % ONE_IN):
            item.add_marker("no_cover")
    if not config.option.all:
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


def pytest_report_header(config):
    return None if config.option.all else "without the tests marked slow: --all runs them too"


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
