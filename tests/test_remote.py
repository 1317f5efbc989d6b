"""Captures and tables in remote storage: a real S3 server and a real web server, both of this machine."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.capture.sources import sources
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.runs.cluster import Cluster, connect
from tcptrace_fsm.tables.partitioned import PartitionedExport
from tests.many_files import SAMPLES, TABLES, rotated, same, town

pytestmark = pytest.mark.extra

fsspec = pytest.importorskip("fsspec")
FRAMES = town(seed=4, connections=30)


@pytest.fixture(scope="module")
def bucket():
    """The URL of an empty bucket on a server that speaks S3."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("captures")
        yield "s3://captures"
    server.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return rotated(tmp_path_factory.mktemp("local"), FRAMES, [60, 120])


@pytest.fixture(scope="module")
def stored(bucket, local):
    for path in local:
        fsspec.filesystem("s3").put_file(str(path), f"captures/ring/{path.name}")
    return f"{bucket}/ring"


def at_home(table):
    """A table with the names of its captures cut down to the last part, without the seconds that only files have."""
    table = table.drop(columns=[c for c in table.columns if c.endswith("_s") and c[:-2] in table.columns])
    for column in table.columns:
        if column in {"file", "first_file", "last_file", "confirmed_by_file", "file_before", "file_after"}:
            table[column] = table[column].str.rsplit("/", n=1).str[-1]
        elif column == "files":
            table[column] = [[name.rsplit("/", 1)[-1] for name in names] for names in table[column]]
    return table


def check(one, other):
    for table in TABLES:
        same(at_home(one(table)), at_home(getattr(other, table)))


@pytest.mark.parametrize("name", ["", "/*.pcap"])
def test_captures_are_read_from_s3(stored, local, name):
    trace = tf.analyze(stored + name)
    assert [c["name"].startswith("s3://captures/ring/") for c in trace.summary["captures"]] == [True] * 3
    check(lambda table: getattr(trace, table), tf.analyze(local))


def test_tables_are_written_to_s3(bucket, stored, local):
    out = f"{bucket}/out"
    assert cli.run_command(["analyze", stored, "-o", out, "--tables", ",".join(TABLES), "-q"]) == 0
    check(lambda table: pd.read_parquet(f"{out}/{table}.parquet"), tf.analyze(local))
    again = ["analyze", stored, "-o", out, "--tables", "anomalies", "--format", "csv", "-q", "--jobs", "2"]
    assert cli.run_command(again) == 0
    names = sorted(name.rsplit("/", 1)[-1] for name in fsspec.filesystem("s3").ls("captures/out", refresh=True))
    assert names == ["anomalies.csv", "summary.json"]


def test_a_cluster_reads_from_s3_and_writes_to_it(bucket, stored, local):
    with connect("local", workers=1) as client:
        run = Cluster(sources(stored), Settings(segments=True), client=client)
        with PartitionedExport(f"{bucket}/lake", "parquet", TABLES, origins=run.origins) as export:
            run.go([export])
            export.commit(run.summary())
    check(lambda table: pd.read_parquet(f"{bucket}/lake/{table}.parquet"), tf.analyze(local))
    assert fsspec.filesystem("s3").exists("captures/lake/summary.json")


def test_what_is_not_there_is_told(bucket, capsys):
    assert cli.run_command(["analyze", f"{bucket}/none.pcap"]) == 1
    assert "none.pcap: byte 0: " in capsys.readouterr().err
    assert cli.run_command(["analyze", f"{bucket}/none*.pcap"]) == 1
    assert cli.run_command(["analyze", str(SAMPLES / "refused.pcap"), "-o", "s3://nobody-has-this/out", "-q"]) == 2
    assert cli.run_command(["analyze", "nonsense://x/y.pcap"]) == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.fixture
def web(monkeypatch):
    """The URL of a web server that serves the samples."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(SAMPLES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_capture_is_read_from_the_web(web):
    pytest.importorskip("aiohttp")
    trace = tf.analyze(f"{web}/zero_window.pcap")
    check(lambda table: getattr(trace, table), tf.analyze(SAMPLES / "zero_window.pcap"))


def test_a_capture_that_is_not_on_the_web(web, capsys):
    pytest.importorskip("aiohttp")
    assert cli.run_command(["analyze", f"{web}/nothing.pcap"]) == 1
    assert capsys.readouterr().err == f"tcptrace-fsm: {web}/nothing.pcap: byte 0: no such file\n"


def test_without_fsspec_it_is_said_what_to_install(monkeypatch, capsys):
    from tcptrace_fsm.capture import remote

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(remote, "import_module", missing)
    assert cli.run_command(["analyze", "s3://captures/x.pcap"]) == 2
    assert "pip install 'tcptrace-fsm[remote]'" in capsys.readouterr().err


def test_a_local_capture_needs_none_of_it():
    code = (
        "import sys, tcptrace_fsm as tf; "
        f"tf.analyze({str(SAMPLES / 'refused.pcap')!r}); "
        "print({'fsspec', 'dask', 'distributed', 'aiohttp', 's3fs'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"set()\n"
