import gzip, json
from pathlib import Path
import polars as pl, pytest
from streamflow.testing.operator_kit import *
from streamflow.testing.operator_kit import make_node as make
from streamflow.model.types import *
ORDER = record_of({'id': STRING, 'customer': STRING.optional(), 'amount': DOUBLE, 'qty': INT, 'country': STRING, 'at': TIMESTAMP_MS.optional()})
ROWS = [{'id': 'a', 'customer': 'x', 'amount': 10.0, 'qty': 2, 'country': 'DE', 'at': None},{'id': 'b', 'customer': None, 'amount': 1000.0, 'qty': 2, 'country': 'F"R', 'at': None},{'id': 'c', 'customer': 'z\n', 'amount': 100.0, 'qty': 0, 'country': 'US', 'at': None}]*4

@pytest.mark.parametrize("fmt", ["jsonl", "csv", "avro", "parquet"])
@pytest.mark.parametrize("aborted", [(), (0,), (1,), (0,1,2)])
def test_sink(fmt, aborted, tmp_path):
    node = make("write-file", path=f"out/o.{fmt}", rows_max=5)
    r = run_node(node, ROWS, schema=ORDER, cuts=(2, 7), aborted=aborted, base_folder=str(tmp_path))
    op = node.operator(KitBuild(inputs={"in": ORDER}, base_folder=str(tmp_path)))
    ctx = KitContext(stores=r.stores)
    op.closing(ctx); op.prepare(ctx); r.stores["parts"].commit(); op.committed(ctx)
    print(sorted(p.name for p in (tmp_path/"out").iterdir()))
    src = make("file", path=f"out/o-*.{fmt}")
    b = KitBuild(inputs={}, base_folder=str(tmp_path))
    out = src.output_schemas(b)
    assert not b.findings, b.findings
    b.outputs = out
    for rows_max in (1, 4, 100):
        s = src.source(b); pos = ""; got = []; events=[]
        while True:
            s.open(pos)
            batch = s.read(rows_max=rows_max, timeout_ms=10)
            s.close()
            pos = batch.position
            events.append((batch.begins, batch.ends, batch.frame.height, batch.done)); assert not batch.bad
            got += items_of(Batch(batch.frame, out["out"]))
            if batch.done: break
        assert [g["id"] for g in got] == [x["id"] for x in ROWS], got
        assert [g["customer"] for g in got] == [x["customer"] for x in ROWS], got
        assert sum(bool(e[0]) for e in events) == 3 == sum(e[1] for e in events), events
    print(events)

def test_csv(tmp_path):
    (tmp_path/"a.csv").write_bytes(b'id,zip code,when,v\n1,00501,2020-01-01T00:00:00Z,1.5\n2,x\n3,00502,2020-01-02T00:00:00Z,NA\n\n4,"a\nb",2020-01-02 00:00:00+01:00,7\n5,\xff\xff,x,7\n')
    src = make("file", path="a.csv", null_values=["NA"], time="to_timestamp(when)" if False else "timestamp(when)", key="id")
    b = KitBuild(inputs={}, base_folder=str(tmp_path))
    b.outputs = src.output_schemas(b)
    print(b.outputs, b.findings)
    s = src.source(b); s.open(""); x = s.read(rows_max=100, timeout_ms=1); print(x)
