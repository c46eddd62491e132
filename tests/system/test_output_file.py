import pytest

from jointrain.errors import InvalidInputError
from jointrain.system.output_file import check_new_file, write_whole


def test_what_is_written_replaces_the_file_and_what_was_made_is_returned(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    assert write_whole(path, lambda part: part.write_text("after")) == 5
    assert path.read_text() == "after"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_the_file_as_it_was_and_names_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def write(part):
        part.write_text("half of")
        raise OSError(28, "No space left on device")

    with pytest.raises(InvalidInputError, match=r"a\.txt can't be written: No space left"):
        write_whole(path, write)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_there_is_refused_before_any_work_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "a.txt"
    check_new_file(path)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match=r"a\.txt exists; choose another --out or replace"):
        check_new_file(path)
    with pytest.raises(InvalidInputError, match="choose another --report or replace it with"):
        check_new_file(path, flag="--report")
    check_new_file(path, force=True)


@pytest.mark.parametrize("name", ["x" * 300, "no/a.txt"])
def test_a_name_that_can_not_be_is_refused_in_words(tmp_path, name):
    with pytest.raises(InvalidInputError, match="can't be written"):
        write_whole(tmp_path / name, lambda part: part.write_text("x"))
