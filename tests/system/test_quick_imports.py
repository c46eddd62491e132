"""Imports without looks for garbage."""

import gc

import pytest

from jointrain.system.quick_imports import quick_imports


def test_garbage_is_looked_for_again_and_what_was_imported_is_left_alone():
    before = gc.get_freeze_count()
    try:
        with quick_imports():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
        with pytest.raises(ImportError), quick_imports():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
