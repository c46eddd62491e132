"""What a terminal can't show, and what it can't take."""

import io
import sys

import pytest

from jointrain._terminal_streams import printing, use_plain_characters
from jointrain.errors import InvalidInputError


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", "RMSE v 1.0 +- 0.1 \\xfc \\u65e5"),
        ("latin-1", "RMSE v 1.0 ± 0.1 ü \\u65e5"),
        ("utf-8", "RMSE ↓ 1.0 ± 0.1 ü 日"),
    ],
)
def test_characters_that_an_encoding_lacks(monkeypatch, encoding, shown):
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding=encoding))
    use_plain_characters()
    print("RMSE ↓ 1.0 ± 0.1 ü 日", flush=True)
    assert data.getvalue().decode(encoding).strip() == shown


def test_a_result_that_can_not_be_printed_says_where_it_is(monkeypatch, tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    words = f"can't be written: No space left on device; .* saved in {tmp_path}"
    with pytest.raises(InvalidInputError, match=words), printing(saved=tmp_path):
        print("long")


def test_without_standard_output_nothing_fails(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    use_plain_characters()
    with printing():
        print("nowhere")
