"""The names of the tables: for the command line, which is to know them without their columns."""

from __future__ import annotations

__all__ = ["DEFAULT_TABLES", "TABLE_NAMES"]

TABLE_NAMES = ("connections", "transitions", "anomalies", "diagnoses", "waits", "segments")
"""In the order in which they are listed."""
DEFAULT_TABLES = TABLE_NAMES[:-1]
"""What is written where nobody chooses: segments take as much room as the capture."""
