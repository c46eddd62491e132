"""Folders of results: whole or absent, and nothing of the user's is lost."""

import errno
import json
import os
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from jointrain.errors import InvalidInputError
from jointrain.system.output_folder import check_new_folder, write_new_folder


def bundle(folder: Path) -> None:
    (folder / "bundle.json").write_text(json.dumps({"digests": {"weights.safetensors": "0"}}))
    (folder / "weights.safetensors").write_bytes(b"1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_whole_or_absent(tmp_path):
    target = tmp_path / "deep" / "folder"

    def fail(folder: Path) -> None:
        (folder / "half").write_text("written")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_new_folder(target, fail)
    assert names(tmp_path / "deep") == []
    assert write_new_folder(target, bundle) == target
    assert names(target) == ["bundle.json", "weights.safetensors"]
    with pytest.raises(InvalidInputError, match="exists; choose another"):
        write_new_folder(target, bundle)
    assert write_new_folder(target, lambda folder: (folder / "other").write_text(""), force=True)
    assert names(target) == ["other"]
    assert names(tmp_path / "deep") == ["folder"]


def test_what_appeared_in_the_meantime_is_kept_and_the_result_lies_beside_it(tmp_path, capsys):
    target = tmp_path / "answer"

    def write(folder: Path) -> None:
        bundle(folder)
        target.mkdir()
        (target / "thesis.txt").write_text("mine")

    assert write_new_folder(target, write, elsewhere=True) == tmp_path / "answer-2"
    assert (target / "thesis.txt").read_text() == "mine"
    assert names(tmp_path / "answer-2") == ["bundle.json", "weights.safetensors"]
    assert "exists by now; the result is in" in capsys.readouterr().err
    # the same with --force: it replaces what jointrain wrote, and nothing else
    made = write_new_folder(tmp_path / "two", bundle)
    assert made == tmp_path / "two"

    def write_again(folder: Path) -> None:
        bundle(folder)
        (made / "notes.txt").write_text("mine")

    assert write_new_folder(made, write_again, force=True, elsewhere=True) == tmp_path / "two-2"
    assert (made / "notes.txt").read_text() == "mine"


def test_two_runs_into_one_folder_both_keep_their_result(tmp_path):
    target = tmp_path / "answer"

    def slow(folder: Path) -> None:
        bundle(folder)
        (folder / "report.md").write_text("first")
        write_new_folder(target, bundle, elsewhere=True)

    assert write_new_folder(target, slow, elsewhere=True) == tmp_path / "answer-2"
    assert names(target) == ["bundle.json", "weights.safetensors"]
    assert (tmp_path / "answer-2" / "report.md").read_text() == "first"


@pytest.mark.parametrize("place", ["thesis.txt", "bundle/thesis.txt", "data/table.csv"])
def test_force_refuses_a_folder_with_anything_of_the_users(tmp_path, place):
    target = tmp_path / "answer"

    def answer(folder: Path) -> None:
        (folder / "bundle").mkdir()
        bundle(folder / "bundle")
        (folder / "results.parquet").write_bytes(b"")

    write_new_folder(target, answer)
    check_new_folder(target, force=True)
    (target / place).parent.mkdir(exist_ok=True)
    (target / place).write_text("mine")
    with pytest.raises(InvalidInputError, match=f"holds '{place}', which jointrain did not write"):
        check_new_folder(target, force=True)


def test_a_file_made_in_the_meantime_is_kept(tmp_path):
    target = tmp_path / "answer"

    def write(folder: Path) -> None:
        bundle(folder)
        target.write_text("mine")

    assert write_new_folder(target, write, elsewhere=True) == tmp_path / "answer-2"
    assert target.read_text() == "mine"


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    prefix = ".answer.jointrain-"
    dead, alive = (Path(tempfile.mkdtemp(prefix=prefix, dir=tmp_path)) for _ in range(2))
    (dead / ".lock").write_text("")
    (dead / "half").write_text("")
    young = Path(tempfile.mkdtemp(prefix=prefix, dir=tmp_path))  # not locked yet
    old = Path(tempfile.mkdtemp(prefix=prefix, dir=tmp_path))
    os.utime(old, (0, 0))
    other = tmp_path / ".answer.jointrain-notes"
    other.mkdir()
    with FileLock(alive / ".lock"):
        write_new_folder(tmp_path / "answer", bundle)
        left = names(tmp_path)
    assert left == sorted(["answer", other.name, alive.name, young.name])


def test_a_folder_that_a_killed_process_was_about_to_replace_is_put_back(tmp_path):
    aside = Path(tempfile.mkdtemp(prefix=".answer.jointrain-old-", dir=tmp_path)) / "answer"
    aside.mkdir()
    bundle(aside)
    (aside / "report.md").write_text("of before")
    with pytest.raises(InvalidInputError, match="exists by now"):
        write_new_folder(tmp_path / "answer", bundle)
    assert (tmp_path / "answer" / "report.md").read_text() == "of before"
    assert names(tmp_path) == ["answer"]


def test_where_the_place_is_full_the_result_is_kept_in_another(tmp_path, monkeypatch, capsys):
    full, spare = tmp_path / "full", tmp_path / "spare"
    full.mkdir()
    spare.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(spare))

    def write(folder: Path) -> None:
        if full in folder.parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        bundle(folder)

    assert write_new_folder(full / "answer", write, elsewhere=True) == spare / "answer"
    assert names(full) == []
    assert "No space left on device; trying another place" in capsys.readouterr().err
    with pytest.raises(InvalidInputError, match="No space left on device"):
        write_new_folder(full / "answer", write)


def test_names_and_places_that_can_not_be_used(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    for path, words in [
        (link, "a link to nowhere"),
        (tmp_path / ("a" * 300), "name too long"),
        (tmp_path / "file" / "answer", "is no folder"),
        (tmp_path / "file", "exists"),
    ]:
        with pytest.raises(InvalidInputError, match=f"(?i){words}"):
            check_new_folder(path)
    assert not (tmp_path / "nowhere").exists()


def test_a_name_need_not_be_utf_8(tmp_path):
    target = tmp_path / os.fsdecode(b"en\xe9rgie" * 20)
    assert write_new_folder(target, bundle) == target
    assert write_new_folder(target, bundle, force=True) == target
    assert names(tmp_path) == [target.name]
    with pytest.raises(InvalidInputError, match="no file has such a name"):
        check_new_folder(tmp_path / "\ud800")


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_ctrl_c_in_the_midst_of_a_replacement_leaves_the_former_folder(
    tmp_path, monkeypatch, fault
):
    target = write_new_folder(tmp_path / "answer", bundle)
    (target / "report.md").write_text("of before")
    replace = os.replace

    def stopped(source, place):
        replace(source, place)
        if str(source) == str(target):
            monkeypatch.undo()
            raise fault

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises((InvalidInputError, KeyboardInterrupt)):
        write_new_folder(target, bundle, force=True)
    assert (target / "report.md").read_text() == "of before"
    assert names(tmp_path) == ["answer"]
