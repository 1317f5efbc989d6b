"""What the shell offers for options that take a name: names that do not depend on any capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["causes", "columns", "formats", "kinds", "profiles", "severities", "states", "tables"]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def severities(incomplete: str) -> list[str]:
    """Severities of findings."""
    from tcptrace_fsm.core.words import SEVERITIES

    return _beginning(SEVERITIES, incomplete)


def states(incomplete: str) -> list[str]:
    """States of an endpoint."""
    from tcptrace_fsm.core.words import STATES

    return _beginning(STATES, incomplete)


def profiles(incomplete: str) -> list[str]:
    """Whose timers hosts may have."""
    from tcptrace_fsm.tcp.profiles import PROFILES

    return _beginning(PROFILES, incomplete)


def kinds(incomplete: str) -> list[tuple[str, str]]:
    """Kinds of finding, each with its summary."""
    from tcptrace_fsm.findings import CATALOGUE

    return [(name, CATALOGUE[name].summary) for name in _beginning(CATALOGUE, incomplete)]


def causes(incomplete: str) -> list[tuple[str, str]]:
    """Causes that diagnoses name, each with its summary."""
    from tcptrace_fsm.causes import CAUSES

    return [(name, CAUSES[name].summary) for name in _beginning(CAUSES, incomplete)]


def columns(incomplete: str) -> list[str]:
    """Columns that connections can be sorted by."""
    from tcptrace_fsm.tables.schema import TABLES
    from tcptrace_fsm.views.connections import OWN

    return _beginning([*OWN, *(column.name for column in TABLES["connections"])], incomplete)


def formats(incomplete: str) -> list[str]:
    """Formats of tables."""
    from tcptrace_fsm.tables.writers import FORMATS

    return _beginning(FORMATS, incomplete)


def tables(incomplete: str) -> list[str]:
    """Tables, behind those that are named already."""
    from tcptrace_fsm.tables.names import TABLE_NAMES

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in _beginning(TABLE_NAMES, last)]
