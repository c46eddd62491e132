"""Which Arrow streams are compressed."""

import pyarrow as pa
import pytest
from pyarrow import ipc

from jointrain.errors import InvalidInputError
from jointrain.serving._compressed_arrow import refuse_compressed

TABLE = pa.table({"a": list(range(1000)), "b": pa.array(["x", "y"] * 500).dictionary_encode()})


def stream(compression: str | None, table: pa.Table = TABLE) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(
        sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)
    ) as to:
        to.write_table(table, max_chunksize=300)
    return sink.getvalue().to_pybytes()


def test_plain_streams_pass():
    refuse_compressed(stream(None))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("columns", [["a"], ["b"], ["a", "b"]])
def test_compressed_streams_are_refused(compression, columns):
    with pytest.raises(InvalidInputError, match="compressed"):
        refuse_compressed(stream(compression, TABLE.select(columns)))


def test_anything_else_ends():
    whole = stream(None)
    for cut in range(0, len(whole), 97):
        refuse_compressed(whole[:cut])
        refuse_compressed(whole[cut:])
    refuse_compressed(b"\xff" * 1000)
    refuse_compressed(bytes(1000))
