"""Where `python -m paracel.datagen -o` writes: files, links, packed files, pipes and devices, the standard output."""

import builtins
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from paracel import loading
from paracel.datagen.__main__ import main

ARGUMENTS = ["pagerank", "-n", "300"]


@pytest.fixture
def plain(tmp_path):
    """The bytes of the file that the arguments make."""
    main([*ARGUMENTS, "-o", str(tmp_path / "plain")])
    return (tmp_path / "plain").read_bytes()


def test_standard_output_is_written_to_and_stays_what_it_is(tmp_path, plain):
    """What others have written to it, and write to it later, is around the data."""
    with open(tmp_path / "out", "wb") as out:
        out.write(b"before\n")
        out.flush()
        subprocess.run([sys.executable, "-m", "paracel.datagen", *ARGUMENTS, "-o", "-"], stdout=out, check=True)
        out.seek(0, os.SEEK_END)
        out.write(b"after\n")
    assert (tmp_path / "out").read_bytes() == b"before\n" + plain + b"after\n"


def test_the_name_of_standard_output_is_not_replaced(plain, capfdbinary, monkeypatch):
    """It is a link that all programs use; root could."""
    monkeypatch.setattr("paracel.datagen.destination.replacing", None)
    main([*ARGUMENTS, "-o", "/dev/stdout"])
    assert capfdbinary.readouterr().out == plain


def test_whoever_reads_may_have_enough():
    command = [sys.executable, "-m", "paracel.datagen", "pagerank", "-n", "200000", "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        assert made.stdout.readline().count(b",") == 1
        made.stdout.close()
        assert made.stderr.read() == b""
        assert made.wait() == 1


def test_a_pipe_stays_a_pipe(tmp_path, plain):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    main([*ARGUMENTS, "-o", str(pipe)])
    reader.join()
    assert found == [plain]
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "plain"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_file_is_replaced(tmp_path, plain, there):
    (tmp_path / "below").mkdir()
    file, link = tmp_path / "below" / "file", tmp_path / "link"
    if there:
        file.write_text("old")
    link.symlink_to(file)
    main([*ARGUMENTS, "-o", str(link)])
    assert link.is_symlink()
    assert file.read_bytes() == plain
    assert [path.name for path in file.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_files_are_packed_and_load_as_plain_ones_do(tmp_path, plain, ending):
    if ending == ".zst":
        pytest.importorskip("zstandard")
    packed = tmp_path / f"links{ending}"
    for _ in range(2):
        main([*ARGUMENTS, "-o", str(packed)])
    assert len(packed.read_bytes()) < len(plain)
    for found, expected in zip(*(loading.load_relations(None, path) for path in (packed, tmp_path / "plain"))):
        np.testing.assert_array_equal(found, expected)


def test_what_packs_is_named_where_it_is_missing(tmp_path, capsys, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest):
        if name == "zstandard":
            raise ModuleNotFoundError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit):
        main([*ARGUMENTS, "-o", str(tmp_path / "links.zst")])
    assert "needs zstandard: pip install 'paracel[compress]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*ARGUMENTS, "-o", str(tmp_path)])
    assert "Is a directory" in capsys.readouterr().err
