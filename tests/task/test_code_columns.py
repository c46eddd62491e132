"""Columns of codes: which inputs they are, and what can't be one."""

import pytest

from jointrain import InvalidInputError
from jointrain.task import CodeColumns


def test_places():
    assert list(CodeColumns("tags", 3, 9, 2).places) == [3, 4]


@pytest.mark.parametrize("given", [("a", 0, 2**24 + 1), ("a", 0, 1), ("a", -1, 9), ("a", 0, 9, 0)])
def test_what_can_be_no_codes(given):
    with pytest.raises(InvalidInputError, match="codes of 'a' must be from 2 to"):
        CodeColumns(*given)
