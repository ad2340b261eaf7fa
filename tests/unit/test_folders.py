import os

import pytest

from paracel import folders
from paracel.errors import CheckpointError
from paracel.folders import Folder

#: Where a folder may be.
KINDS = ["path", "file", "memory"]


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    where = {"path": f"{tmp_path}/f", "file": f"file://{tmp_path}/f", "memory": f"memory://{tmp_path.name}/f"}
    made = Folder(where[request.param])
    yield made
    for name in made.names():
        made.remove(name)
    made.remove_if_empty()


def content(folder, name):
    with folder.reading(name) as file:
        return file.read()


def test_what_is_written_is_read(folder):
    assert folder.names() == []
    folder.make()
    folder.make()
    with folder.writing("new") as file:
        file.write(b"one")
        file.write(b"two")
    folder.write("whole", b"old")
    folder.write("whole", b"three")
    assert (content(folder, "new"), content(folder, "whole")) == (b"onetwo", b"three")
    assert folder.sizes() == {"new": 6, "whole": 5}
    assert folder.names() == ["new", "whole"]


def test_a_file_whose_writing_fails_is_not_there(folder):
    folder.make()

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError), folder.writing("half") as file:
        fail(file)
    assert folder.names() == []


def test_removing(folder):
    folder.make()
    folder.write("one", b"1")
    folder.remove_if_empty()
    assert folder.names() == ["one"], "it was not empty"
    folder.remove("one")
    folder.remove("one")
    folder.remove_if_empty()
    folder.remove_if_empty()
    assert folder.names() == []


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(CheckpointError, match="/f/absent cannot be read"), folder.reading("absent"):
        pass


def test_no_file_is_written_over(tmp_path):
    where = Folder(tmp_path)
    where.write("taken", b"first")
    with pytest.raises(FileExistsError), where.writing("taken") as file:
        file.write(b"second")
    assert content(where, "taken") == b"first"


def test_a_folder_in_a_folder(tmp_path):
    inner = Folder(tmp_path) / "in"
    inner.make()
    assert inner.where == f"{tmp_path}/in"
    assert Folder(tmp_path).names() == ["in"]


def test_files_of_this_host_are_plain_ones_by_url_too(tmp_path):
    assert Folder(f"local://{tmp_path}/f").where == f"{tmp_path}/f"


def test_a_file_in_the_place_of_a_folder_has_nothing_in_it(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert Folder(tmp_path / "file").names() == []
    with pytest.raises(NotADirectoryError):
        Folder(tmp_path / "file" / "in").make()


def test_an_entry_that_has_gone_meanwhile_is_not_there(tmp_path):
    os.symlink(tmp_path / "nowhere", tmp_path / "gone")
    (tmp_path / "here").write_bytes(b"1")
    assert Folder(tmp_path).sizes() == {"here": 1}


def test_what_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(where):
        raise PermissionError(13, "Permission denied", where)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read: Permission denied"):
        Folder(tmp_path).names()


def test_an_unknown_kind_of_url_is_named():
    with pytest.raises(CheckpointError, match="nosuch://"):
        Folder("nosuch://somewhere")


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    where = Folder(tmp_path)
    where.write("one", b"old")

    def refuse(*_paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        where.write("one", b"new")
    assert (where.names(), content(where, "one")) == (["one"], b"old")
