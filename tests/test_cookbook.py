"""The cookbook's questions, each answered by pandas, Polars and DuckDB: every block runs, and the answers agree."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest

import tcptrace_fsm as tf

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^## (\d+\. .*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def trace():
    return tf.analyze(str(ROOT / "sample_pcaps"))


@pytest.fixture(scope="module")
def folder(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("cookbook")
    trace.export(path / "out")
    return path


def blocks(text):
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def value_of(code, names):
    """The value of the last expression of some lines, as a notebook shows it."""
    tree = ast.parse(code)
    last = tree.body.pop()
    exec(compile(tree, "cookbook", "exec"), names)  # the page's own blocks
    return eval(compile(ast.Expression(last.value), "cookbook", "eval"), names)


def plain(value):
    """A cell that is the same whoever made it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def rows(records, *, ordered):
    made = [tuple(map(plain, record)) for record in records]
    return made if ordered else sorted(made, key=repr)


def test_there_are_ten_questions():
    assert [int(title.split(".")[0]) for title, _ in QUESTIONS] == list(range(1, 11))
    for _, text in QUESTIONS:
        assert [language for language, _ in blocks(text)] == ["python", "python", "sql"]


def answers(text, trace, folder, monkeypatch, engine):
    """The columns and rows of a question's answer."""
    monkeypatch.chdir(folder)
    (_, pandas), (_, polars), (_, sql) = blocks(text)
    if engine == "pandas":
        frame = value_of(pandas, {"trace": trace, "tf": tf})
        return list(frame.columns), frame.astype(object).itertuples(index=False)
    if engine == "polars":
        frame = value_of(polars, {"pl": pytest.importorskip("polars", reason="needs '.[test-all]'")})
        return frame.columns, frame.rows()
    module = pytest.importorskip("duckdb", reason="needs '.[test-all]'")
    with module.connect() as connection:
        answer = connection.sql(sql)
        return answer.columns, answer.fetchall()


@pytest.mark.parametrize("title, text", QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_pandas_answers(trace, folder, monkeypatch, title, text):
    _, records = answers(text, trace, folder, monkeypatch, "pandas")
    assert title.startswith("9.") or list(records)


@pytest.mark.extra
@pytest.mark.parametrize("engine", ["polars", "duckdb"])
@pytest.mark.parametrize("title, text", QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_the_others_answer_the_same(trace, folder, monkeypatch, engine, title, text):
    columns, records = answers(text, trace, folder, monkeypatch, engine)
    expected_columns, expected = answers(text, trace, folder, monkeypatch, "pandas")
    assert list(columns) == expected_columns
    ordered = title.split(".")[0] not in {"8", "9"}
    assert rows(records, ordered=ordered) == rows(expected, ordered=ordered)


@pytest.mark.extra
def test_durations_are_durations_or_seconds(trace, folder):
    """Polars knows Arrow's durations; what goes by parquet's own types has a column of seconds beside each."""
    polars = pytest.importorskip("polars", reason="needs '.[test-all]'")
    duckdb = pytest.importorskip("duckdb", reason="needs '.[test-all]'")
    for table in ("connections", "waits"):
        path = folder / "out" / f"{table}.parquet"
        frame = getattr(trace, table)
        names = [name for name in frame.columns if frame[name].dtype.kind == "m"]
        assert names
        read = polars.read_parquet(path)
        with duckdb.connect() as connection:
            kinds = {name: kind for name, kind, *_ in connection.sql(f"describe select * from '{path}'").fetchall()}
            for name in names:
                assert read.schema[name] == polars.Duration("ns")
                assert kinds[f"{name}_s"] == "DOUBLE"
                seconds = [row[0] for row in connection.sql(f"select {name}_s from '{path}'").fetchall()]
                assert rows([seconds], ordered=True) == rows([frame[name].dt.total_seconds()], ordered=True)
