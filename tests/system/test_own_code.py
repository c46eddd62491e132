"""Code of one's own: the same hash for the same code, another for any that does something else."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
import textwrap

import pytest

import jointrain
from jointrain import InvalidInputError
from jointrain.system.own_code import (
    ChangedCodeError,
    CodeReference,
    check_same_code,
    code_digest_of,
    digest_of,
    digests_of_code,
    imported,
    path_of,
)

SOURCE = """
import math

FACTOR = 0.5


def helper(x):
    return x * FACTOR


class Base:
    def twice(self, x):
        return 2 * helper(x)


class Own(Base):
    limit = 3

    def __init__(self, step=0.1):
        self.step = step

    def run(self, x):
        return math.sqrt(self.twice(x)) + self.step
"""
OTHERS = {
    "a constant of the module": ("FACTOR = 0.5", "FACTOR = 0.25"),
    "a function that it calls": ("x * FACTOR", "x / FACTOR"),
    "its base": ("2 * helper", "3 * helper"),
    "its method": ("math.sqrt", "math.exp"),
    "its attribute": ("limit = 3", "limit = 4"),
    "a default": ("step=0.1", "step=0.2"),
}
SAME = {
    "comments and blank lines": ("FACTOR = 0.5", "# a half\n\n\nFACTOR = 0.5"),
    "another part of the script": ("class Own", "seeds = [1, 2, 3]\n\n\nclass Own"),
}


def _digest(source: str, what: str = "Own()", hash_seed: int = 0) -> str:
    """Return the digest in a process of its own."""
    program = "\nfrom jointrain.system.own_code import digest_of\n"
    ran = subprocess.run(
        [sys.executable, "-c", source + program + f"print(digest_of({what}))"],
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "PYTHONHASHSEED": str(hash_seed)},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def _here(source: str, what: str = "Own()") -> str:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(source, names)
    return digest_of(eval(what, names))


@pytest.mark.parametrize("old, new", OTHERS.values(), ids=OTHERS.keys())
def test_code_that_does_something_else_has_another_hash(old, new):
    assert SOURCE.count(old) == 1
    assert _here(SOURCE.replace(old, new)) != _here(SOURCE)


@pytest.mark.parametrize("old, new", SAME.values(), ids=SAME.keys())
def test_what_changes_nothing_does_not_change_the_hash(old, new):
    assert _here(SOURCE.replace(old, new)) == _here(SOURCE)


ATTRIBUTES = """
class Own:
    def __init__(self): self.model = 2
    def use(self):
        class Inner:
            kept = self.model
            def get(self): return self.model
        return [kept.model for kept in (Inner(),)]
"""
GLOBALS = """
def own():
    class Inner:
        kept = model
    return [lambda: model, Inner]
"""


def test_a_global_named_as_an_attribute_does_not_count():
    assert _here(ATTRIBUTES) == _here(ATTRIBUTES + "model = [1]\n")
    assert _here(GLOBALS + "model = 1", "own") != _here(GLOBALS + "model = 2", "own")


def test_what_an_object_holds_counts():
    assert _here(SOURCE, "Own(0.1)") == _here(SOURCE) != _here(SOURCE, "Own(0.3)")


WRAPPERS = """
import functools

def base(x, v): return x * v

class Wrapper:
    factor = 1
    def __init__(self, v):
        functools.update_wrapper(self, base)
        self.v = v
    def __call__(self, x): return self.factor * base(x, self.v)

class Slotted:
    __slots__ = ("v", "__wrapped__")
    def __init__(self, v): self.v, self.__wrapped__ = v, base
    def __call__(self, x): return base(x, self.v)

def wrapped(v):
    @functools.wraps(base)
    def inner(x): return base(x, v)
    return inner
"""


@pytest.mark.parametrize("make", ["Wrapper({})", "Slotted({})", "wrapped({})"])
def test_an_object_that_wraps_a_function_is_the_function_and_what_it_holds(make):
    first = _here(WRAPPERS, make.format(0.1))
    assert first == _here(WRAPPERS, make.format(0.1))
    assert first != _here(WRAPPERS, make.format(0.3))
    assert first != _here(WRAPPERS.replace("x * v", "x / v"), make.format(0.1))


def test_another_process_finds_the_same_hash_of_an_object_that_wraps_a_function():
    assert _digest(WRAPPERS, "Wrapper(0.1)") == _digest(WRAPPERS, "Wrapper(0.1)", hash_seed=7)


def test_the_class_of_an_object_that_wraps_a_function_counts():
    other = WRAPPERS.replace("factor = 1", "factor = 2")
    assert _here(WRAPPERS, "Wrapper(1)") != _here(other, "Wrapper(1)")


def test_the_code_of_an_object_that_wraps_a_function_is_apart_from_what_it_holds():
    names = {"__name__": "__main__"}
    exec(WRAPPERS, names)
    make = names["Wrapper"]
    assert code_digest_of(make(1)) == code_digest_of(make(2)) != code_digest_of(names["base"])
    names["__name__"] = "of_no_package"
    exec(WRAPPERS, names)
    filling = names["Wrapper"]([])
    there = digests_of_code([filling])
    filling.v.append(1)
    check_same_code(there, [filling])
    exec(WRAPPERS.replace("factor = 1", "factor = 2"), names)
    with pytest.raises(ChangedCodeError):
        check_same_code(there, [names["Wrapper"]([])])


def test_a_function_that_is_kept_in_a_cache_is_itself():
    source = "import functools\n@functools.lru_cache\ndef own(x): return {} * x\n"
    assert _here(source.format(2), "own") == _here(source.format(2), "own")
    assert _here(source.format(2), "own") != _here(source.format(3), "own")
    names = {"__name__": "__main__"}
    exec(source.format(2), names)
    own = names["own"]
    before = digest_of(own)
    own(3)
    assert digest_of(own) == before


def test_a_copy_of_an_object_leaves_its_class_as_it_was():
    class Plain:
        pass

    before = digest_of(Plain())
    copy.deepcopy(Plain())  # leaves a list in the class
    assert digest_of(Plain()) == before


def test_another_process_finds_the_same_hash():
    made = SOURCE + "WORDS = {'a', 'b', 'c'}\ndef use(x): return x in WORDS\nOwn.use = use\n"
    assert _digest(made) == _digest(made, hash_seed=7)


def test_arrays_of_a_module_count():
    source = "import torch\nTABLE = torch.tensor([1.0, {}])\ndef own(x): return x @ TABLE\n"
    assert _here(source.format(2), "own") == _here(source.format(2), "own")
    assert _here(source.format(2), "own") != _here(source.format(3), "own")


def test_arguments_given_beforehand_count():
    make = functools.partial(_here, "import functools\ndef own(a, b): return a\n")
    assert make("functools.partial(own, b=1)") != make("functools.partial(own, b=2)")


def test_a_description_tells_where_code_is_and_what_was_made_of_it():
    from jointrain.balancing import CAGrad

    told = CodeReference.of(CAGrad(c=0.25))
    assert told.path == "jointrain.balancing.aggregation._cagrad:CAGrad"
    assert told.text.startswith("CAGrad(c=0.25")
    assert told.version == jointrain.__version__
    assert str(told).endswith("of jointrain.balancing.aggregation._cagrad " + jointrain.__version__)
    assert path_of(functools.partial(textwrap.dedent)) == "textwrap:dedent"


def test_code_is_imported_by_path(tmp_path, monkeypatch):
    (tmp_path / "of_the_folder.py").write_text("class Own:\n    class Inner: pass\n")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert imported("of_the_folder:Own.Inner").__qualname__ == "Own.Inner"
    for path, message in {
        "of_the_folder": "write module:name",
        "of_the_folder:Onw": r"module 'of_the_folder' has no 'Onw' \(did you mean 'Own'\?\)",
        "of_the_folder:Own.Iner": r"no 'Own.Iner' \(did you mean 'Inner'\?\)",
        "no_such_module:Own": "can't be imported: ModuleNotFoundError: No module named",
        "broken_module:Own": "can't be imported: ZeroDivisionError: division by zero",
    }.items():
        with pytest.raises(InvalidInputError, match=message):
            imported(path)


def test_two_versions_of_a_module_in_two_processes_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "changing_module.py"
    file.write_text("def own(x): return x\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    old = imported("changing_module:own")
    there = digests_of_code([old])
    check_same_code(there, [old])
    file.write_text("def own(x): return 2 * x\n")
    monkeypatch.delitem(sys.modules, "changing_module")
    with pytest.raises(ChangedCodeError, match="changing_module:own is not the same code in all"):
        check_same_code(there, [imported("changing_module:own")])


def test_a_cache_that_fills_is_no_change_of_code(tmp_path, monkeypatch):
    """Nor is what a function within another one encloses: it is sent along as it is."""
    text = "SEEN = []\nLIMIT = {}\ndef own(x):\n    SEEN.append(x)\n    return len(SEEN) < LIMIT\n"
    file = tmp_path / "filling_module.py"
    file.write_text(text.format(3))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    own = imported("filling_module:own")
    seen = []

    def inner():
        seen.append(1)

    there = digests_of_code([own, inner])
    own(1)
    inner()
    check_same_code(there, [own, inner])
    file.write_text(text.format(4))
    monkeypatch.delitem(sys.modules, "filling_module")
    with pytest.raises(ChangedCodeError):
        check_same_code(there, [imported("filling_module:own")])


def test_modules_that_import_each_other_are_read_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_layers.py").write_text("import own_models\n\nWIDTH = 8\n")
    (tmp_path / "own_models.py").write_text(
        "import own_layers\n\n\n"
        "def network():\n    return own_layers.own_models, own_layers.WIDTH\n"
    )
    import own_models  # type: ignore[import-not-found]

    before = digest_of(own_models.network)
    assert before == digest_of(own_models.network)
    own_models.own_layers.WIDTH = 16
    assert digest_of(own_models.network) != before
