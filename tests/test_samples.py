"""The samples are what their manifest says: their states, what is found above low, what is diagnosed, and no more."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import tcptrace_fsm as tf
from tests.lab.samples import SAMPLES as RECORDED

pytestmark = pytest.mark.plain

FOLDER = Path(__file__).parents[1] / "sample_pcaps"
SAMPLES = {one["file"]: one for one in tomllib.loads((FOLDER / "MANIFEST.toml").read_text(encoding="utf-8"))["sample"]}


def test_each_file_stands_in_the_manifest():
    assert sorted(SAMPLES) == sorted(path.name for path in FOLDER.glob("*.pcap*"))
    assert sorted(SAMPLES) == sorted(one.file for one in RECORDED)


@pytest.fixture(scope="module")
def traces():
    return {name: tf.analyze(FOLDER / name) for name in SAMPLES}


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: one.file)
def test_the_manifest_says_what_its_source_says(one):
    entry = SAMPLES[one.file]
    assert [(f["kind"], f.get("side", "")) for f in entry.get("finding", [])] == list(one.findings)
    assert [(d["cause"], d.get("truly", "")) for d in entry.get("diagnosis", [])] == list(one.diagnoses)
    assert (entry["title"], entry["shows"], entry["scenario"]) == (one.title, one.shows, one.scenario)


@pytest.mark.parametrize("name", SAMPLES)
def test_its_frames_are_counted(name, traces):
    assert sum(capture["frames"] for capture in traces[name].summary["captures"]) == SAMPLES[name]["frames"]


@pytest.mark.parametrize("name", SAMPLES)
def test_endpoints_go_the_way_of_the_kernels(name, traces):
    trace = traces[name]
    wanted = SAMPLES[name]["connection"]
    assert len(trace.connections) == len(wanted) > 0
    for row, one in zip(trace.connections.to_dict("records"), wanted, strict=True):
        for side in ("client", "server"):
            assert f"{row[f'{side}_ip']} {row[f'{side}_port']}" == one[side]
            changes = trace.transitions.query("conn_id == @row['conn_id'] and side == @side")
            went = list(changes["to_state"])
            if one.get(f"{side}_silent_end") and went[-1:] == ["CLOSED"] != one[f"{side}_path"][-1:]:
                went.pop()  # no segment shows it, and a timer may tell it
            assert went == one[f"{side}_path"], (row["conn_id"], side)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_found_above_low_is_listed_and_what_is_listed_is_found(name, traces):
    anomalies = traces[name].anomalies
    found = {
        (kind, side) for kind, side in zip(anomalies["kind"], anomalies["side"].astype(object).fillna(""), strict=True)
    }
    loud = anomalies[anomalies["severity"].isin(["medium", "high"])]
    listed = {(f["kind"], f.get("side", "")) for f in SAMPLES[name].get("finding", [])}
    assert listed <= found
    assert set(zip(loud["kind"], loud["side"].astype(object).fillna(""), strict=True)) <= listed


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_diagnosed_is_listed(name, traces):
    """Where the capture cannot tell the true cause from another, it stands among the alternatives."""
    diagnoses = traces[name].diagnoses.to_dict("records")
    listed = SAMPLES[name].get("diagnosis", [])
    assert [d["cause"] for d in diagnoses] == [one["cause"] for one in listed]
    for row, one in zip(diagnoses, listed, strict=True):
        assert one.get("truly", row["cause"]) in {row["cause"], *row["alternatives"]}
