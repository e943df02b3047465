"""Labels of rows: from a file beside them, and from a column of theirs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nestvec.errors import UserError
from nestvec.jobs.labelled_rows import read_labels, read_rows


def test_labels_of_an_array_and_of_a_column(planted, tmp_path):
    X, y, names = planted(0)
    np.save(tmp_path / "y.npy", y)
    assert read_labels(tmp_path / "y.npy") == [str(each) for each in y]
    np.save(tmp_path / "names.npy", names)
    assert read_labels(tmp_path / "names.npy") == names.tolist()
    vectors = pa.FixedSizeListArray.from_arrays(X.ravel(), 16)
    table = pa.table({"vector": vectors, "topic": names, "other": y})
    pq.write_table(table, tmp_path / "v.parquet")
    rows = read_rows(tmp_path / "v.parquet")
    assert rows.labels == names.tolist()
    assert read_rows(tmp_path / "v.parquet", label_column="other").labels == [str(i) for i in y]
    with pytest.raises(UserError, match="no label column 'kind'"):
        read_rows(tmp_path / "v.parquet", label_column="kind")
