"""`trace.query`: connections by an address, a pair, a cause, a kind, a state; and categories in the tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.core.words import SEVERITIES, STATES
from tcptrace_fsm.tables import schema

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trace():
    return tf.analyze(str(ROOT / "sample_pcaps"))


def ends(frame):
    return {
        frozenset({(row.client_ip, row.client_port), (row.server_ip, row.server_port)})
        for row in frame.itertuples(index=False)
    }


def test_an_address_with_and_without_port(trace):
    everything = trace.connections
    found = trace.query("10.0.0.2:8080")
    assert 0 < len(found) < len(everything)
    assert all(("10.0.0.2", 8080) in pair for pair in ends(found))
    assert len(found) <= len(trace.query("10.0.0.2")) < len(everything)
    assert len(trace.query(":8080")) >= len(found)
    assert list(found.columns) == list(everything.columns)
    assert trace.query("192.0.2.77").empty


@pytest.mark.parametrize("text", ["10.0.0.1:49412 -> 10.0.0.2:8080", "10.0.0.2 10.0.0.1:49412", ":49412, :8080"])
def test_a_pair_in_either_direction(trace, text):
    (row,) = trace.query(text).to_dict("records")
    assert row["client_port"] == 49412


def test_a_pair_is_two_ends_not_one_end_twice(trace):
    assert trace.query("10.0.0.2 -> 10.0.0.2").empty
    assert trace.query("10.0.0.1:49412 -> 10.0.0.1:8080").empty


def test_causes_kinds_and_states(trace):
    ids = trace.diagnoses.loc[trace.diagnoses["cause"] == "close_wait_leak", "connections"].explode()
    assert list(trace.query("close_wait_leak")["conn_id"]) == sorted(ids)
    kinds = trace.anomalies[trace.anomalies["kind"] == "time_wait_assassination"]
    assert list(trace.query("time_wait_assassination")["conn_id"]) == sorted(set(kinds["conn_id"]))
    waiting = trace.query("close_wait")
    assert ((waiting["client_state"] == "CLOSE_WAIT") | (waiting["server_state"] == "CLOSE_WAIT")).all()
    assert not waiting.empty


def test_several_words_must_all_hold(trace):
    assert len(trace.query("10.0.0.2:8080 close_wait_leak")) == len(trace.query("close_wait_leak"))
    assert trace.query(":49412 close_wait_leak").empty


@pytest.mark.parametrize(
    "text, says",
    [
        ("closewait_leak", "did you mean close_wait_leak"),
        ("10.0.0.2:99999", "a query takes an IP address"),
        ("10.0.0.1 10.0.0.2 10.0.0.3", "a connection has two ends, not 3"),
        ("", "a query names an address"),
        ("->", "a query names an address"),
    ],
)
def test_what_is_no_query_is_refused(trace, text, says):
    with pytest.raises(tf.UsageError, match=says):
        trace.query(text)


@pytest.mark.parametrize("table", ["connections", "transitions", "anomalies", "diagnoses", "waits", "segments"])
def test_columns_of_few_values_are_categories(trace, table):
    frame = getattr(trace, table)
    named = 0
    for column in schema.TABLES[table]:
        kind = frame[column.name].dtype
        if column.choices is None or column.nullable:
            assert not isinstance(kind, pd.CategoricalDtype)
            continue
        named += 1
        assert tuple(kind.categories) == column.choices
        assert kind.ordered is column.ordered
        assert frame[column.name].notna().all(), column.name
    assert named == sum(column.categorical for column in schema.TABLES[table])
    assert named or table == "segments"


def test_what_is_null_can_be_filled(trace):
    """A category would refuse a word that is none of its own."""
    assert set(trace.connections["closed_first"].fillna("nobody")) >= {"nobody", "client"}
    assert len(trace.anomalies.fillna({"side": "both", "possible_artefact": ""})) == len(trace.anomalies)


def test_severities_compare(trace):
    found = trace.anomalies
    assert tuple(found["severity"].cat.categories) == SEVERITIES
    worst = found[found["severity"] >= "medium"]
    assert set(worst["severity"]) <= {"medium", "high"}
    assert len(worst) < len(found)
    assert found["severity"].max() == "high"
    assert set(trace.connections["client_state"].cat.categories) == set(STATES)


def test_a_file_keeps_plain_words(trace, tmp_path):
    """Readers that join tables of several captures need no dictionaries that differ."""
    trace.export(tmp_path)
    assert set(pd.read_parquet(tmp_path / "anomalies.parquet")["severity"]) <= set(SEVERITIES)
    assert not isinstance(pd.read_parquet(tmp_path / "anomalies.parquet")["severity"].dtype, pd.CategoricalDtype)
