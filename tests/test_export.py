"""Files: whole or not at all, the same content in every format, nothing stale beside them."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.export import Export
from tcptrace_fsm.tables.writers import FORMATS, check_tables
from tcptrace_fsm.tcp.machine import State

from . import fakes
from .fakes import START

pytestmark = pytest.mark.plain

ALL = tuple(schema.TABLES)


def something():
    records = [
        fakes.connection(1, words={k.C_RESET_BY: k.WHO_SERVER}),
        fakes.connection(
            0,
            "2001:db8::1",
            "2001:db8::2",
            words={k.C_SYN_TIME: 5, k.C_SYN_ACK_TIME: 6, k.C_HANDSHAKE_ACK_TIME: 1_500_000_005},
        ),
    ]
    changes = [
        fakes.transition(1, 0, START, State.CLOSED, State.SYN_SENT),
        fakes.transition(0, 1, START, State.TIME_WAIT, State.CLOSED, frame=-1),
    ]
    return fakes.finished(
        records, changes, [fakes.finding(0, message='He said "no",\nand went.'), fakes.finding(1, frames=())]
    )


def written(directory, form="parquet", tables=None):
    with Export(directory, form, tables) as export:
        export.take_segments(fakes.batch([fakes.segment(1), fakes.segment(2, conn_id=1, side=1)]))
        export.take(something())
        export.commit({"captures": []})
    return sorted(p.name for p in directory.iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_writes_every_table_asked_for(tmp_path, form):
    suffix = FORMATS[form].suffix
    assert written(tmp_path / "new" / "deep", form, ALL) == sorted([*(t + suffix for t in ALL), "summary.json"])


def test_the_usual_tables_are_all_but_segments(tmp_path):
    usual = ["anomalies.parquet", "connections.parquet", "diagnoses.parquet", "summary.json", "transitions.parquet"]
    assert written(tmp_path) == [*usual, "waits.parquet"]


@pytest.mark.parametrize("table", ALL)
def test_parquet_gives_plain_strings_and_declared_types(tmp_path, table):
    import pyarrow.parquet as pq

    from tcptrace_fsm.tables.columns import arrow_schema

    written(tmp_path, "parquet", ALL)
    assert pq.read_schema(tmp_path / f"{table}.parquet").equals(arrow_schema(table, seconds=True))
    frame = pd.read_parquet(tmp_path / f"{table}.parquet")
    assert list(frame.columns) == [c.name for c in (*schema.TABLES[table], *schema.seconds(table))]
    for column in schema.TABLES[table]:
        if column.type == "int64":
            assert str(frame[column.name].dtype) == ("Int64" if column.nullable else "int64")


@pytest.mark.parametrize("table", ["connections", "transitions", "anomalies", "segments"])
def test_csv_says_what_parquet_says(tmp_path, table):
    written(tmp_path / "p", "parquet", ALL)
    written(tmp_path / "c", "csv", ALL)
    exact = pd.read_parquet(tmp_path / "p" / f"{table}.parquet")
    with (tmp_path / "c" / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(exact) == 2
    for column in (*schema.TABLES[table], *schema.seconds(table)):
        for text, value in zip([r[column.name] for r in rows], exact[column.name], strict=True):
            if column.type == "list<int64>":
                assert text == ("" if value is None else " ".join(map(str, value)))
            elif pd.isna(value):
                assert text == ""
            elif column.type == "timestamp":
                assert text == value.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{value.nanosecond:03d}Z"
            elif column.type == "duration":
                assert text == f"{value.value // 10**9}.{value.value % 10**9:09d}"
            elif column.type == "float64":
                assert text == f"{value:.9f}"
            else:
                assert text == str(value)


def test_csv_quotes_only_what_needs_it(tmp_path):
    written(tmp_path, "csv")
    text = (tmp_path / "anomalies.csv").read_text(encoding="utf-8")
    assert '"He said ""no"",\nand went."' in text
    assert '"zero_window"' not in text


def test_a_failure_leaves_nothing(tmp_path):
    out = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError), Export(out) as export:  # noqa: PT012
        export.take(something())
        raise RuntimeError
    assert not (tmp_path / "a").exists()


def test_a_failure_leaves_the_run_before(tmp_path):
    written(tmp_path, "csv")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), Export(tmp_path, "parquet", ALL) as export:  # noqa: PT012
        export.take(something())
        raise KeyboardInterrupt
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_other_tables_of_an_earlier_run_go(tmp_path):
    written(tmp_path, "csv", ALL)
    (tmp_path / "notes.txt").write_text("mine")
    assert written(tmp_path, "parquet", ["connections"]) == ["connections.parquet", "notes.txt", "summary.json"]


def test_row_groups_are_sorted_and_streamed(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    from tcptrace_fsm.tables import columns as tables

    source = tables.SOURCES["connections"]
    monkeypatch.setitem(tables.SOURCES, "connections", source._replace(group=4))
    with Export(tmp_path, tables=["connections"]) as export:
        for begin in (0, 3, 6, 9):
            export.take(fakes.finished([fakes.connection(i) for i in (begin + 2, begin, begin + 1)]))
        export.commit({})
    file = pq.ParquetFile(tmp_path / "connections.parquet")
    groups = [file.read_row_group(i)["conn_id"].to_pylist() for i in range(file.num_row_groups)]
    assert groups == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], []]


def test_nothing_found_is_tables_without_rows(tmp_path):
    for form in FORMATS:
        with Export(tmp_path / form, form, ALL) as export:
            export.commit({})
    for table in ALL:
        assert len(pd.read_parquet(tmp_path / "parquet" / f"{table}.parquet")) == 0
        assert len(pd.read_csv(tmp_path / "csv" / f"{table}.csv")) == 0


def test_summary_json_is_readable_text(tmp_path):
    with Export(tmp_path, tables=["anomalies"]) as export:
        export.commit({"captures": [{"name": "Übung.pcap"}]})
    assert "Übung" in (tmp_path / "summary.json").read_text(encoding="utf-8")
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["captures"] == [{"name": "Übung.pcap"}]
    assert summary["options"] == {"tables": ["anomalies"], "format": "parquet"}  # what a later run may replace


def test_wrong_names_list_the_right_ones():
    with pytest.raises(UsageError, match="parquet, csv"):
        Export("x", "xml")
    with pytest.raises(UsageError, match="connections, transitions, anomalies, diagnoses, waits, segments"):
        check_tables("connections,bogus")
    assert check_tables("segments, connections") == ("connections", "segments")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), Export(tmp_path / "file" / "out"):
        pass


def test_short_and_negative_durations_have_nine_decimals_too():
    import pyarrow as pa

    from tcptrace_fsm.tables.writers import csv_text

    given = pa.array([0, 6, 12_000_000_001, -5_000_000, None], pa.duration("ns"))
    assert csv_text(given).to_pylist() == ["0.000000000", "0.000000006", "12.000000001", "-0.005000000", None]
