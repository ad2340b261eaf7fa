"""The files of a checkpoint: whole or not there after every crash, and no byte of them believed unseen."""

import builtins
import contextlib
import errno
import json
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import empty_shard, plain, restored, saved_of, small, write

from paracel import checkpoint, folders, wire
from paracel.checkpoint import MANIFEST, Manifest, ShardFile
from paracel.checkpointing import manifest_of
from paracel.errors import CheckpointError
from paracel.folders import Folder


@pytest.fixture
def whole(tmp_path):
    return write(small(), tmp_path / "c")


def files_of(folder):
    return [os.path.join(folder, file.name) for file in checkpoint.read_manifest(folder).files]


def rewritten(folder, shard, pieces):
    """The file of a shard replaced by one of other pieces, with a manifest that agrees."""
    manifest = checkpoint.read_manifest(folder)

    class Given:
        number = shard

        def pieces(self, _most):
            return iter(pieces)

    name = f"shard-{shard:04d}-ee-01.bin"
    files = [*manifest.files]
    files[shard] = checkpoint.write_shard(Given(), folder, name)
    checkpoint.complete(folder, Manifest(tuple(files), manifest.clock, manifest.clocks, manifest.created))
    return os.path.join(folder, name)


# --- what is loaded ---------------------------------------------------------------------------------------------


def test_a_checkpoint_is_loaded_without_servers(whole):
    loaded = checkpoint.load(whole)
    assert loaded.entries["text"] == "täxt"
    assert loaded.entries["array"].tolist() == [0, 1, 2, 3]
    assert loaded.clocks == {0: 1, 1: 0}
    assert loaded.clock == 0
    dense, sparse = loaded.tables["dense"], loaded.tables["sparse"]
    assert dense.keys.tolist() == list(range(12))
    assert dense.rows.dtype == np.float32
    assert list(dense.state) == ["trace"]
    assert dense.state["trace"].shape == (12,)
    assert sparse.keys.tolist() == [3, 1 << 60]
    assert sparse.rows.tolist() == [[1, 1], [1, 1]]


def test_an_empty_job_has_a_checkpoint_too(tmp_path):
    shard = empty_shard()
    checkpoint.complete(str(tmp_path), manifest_of([saved_of(shard, str(tmp_path))]))
    assert plain(checkpoint.load(tmp_path)) == (0, {0: 0, 1: 0}, {}, {})


def test_a_table_without_rows_has_the_right_form(tmp_path):
    network = restored(write(small(), tmp_path / "a"), 2)
    with network.clients():
        network.client().table("none", dim=3, dtype="float64")
    rows = checkpoint.load(write(network, tmp_path / "b")).tables["none"].rows
    assert (rows.shape, rows.dtype) == ((0, 3), np.float64)


def test_a_checkpoint_in_memory(tmp_path):
    where = write(small(), f"memory://{tmp_path.name}")
    assert checkpoint.load(where).entries["int"] == 1
    checkpoint.remove(where)
    assert Folder(where).names() == []


def test_a_new_checkpoint_takes_the_place_of_the_old_one(whole):
    write(small(2), whole, "ff")
    assert checkpoint.load(whole).entries["int"] == 2
    assert len(os.listdir(whole)) == 3, "the old files are gone"


def test_the_latest_is_the_one_that_was_made_last(tmp_path):
    write(small(1), tmp_path / "clock-00000009")
    newer = write(small(2), tmp_path / "clock-00000003")
    (tmp_path / "clock-00000012").mkdir()
    (tmp_path / "other").mkdir()
    assert checkpoint.all_in(tmp_path) == [f"{tmp_path}/clock-00000009", newer]
    assert checkpoint.latest(tmp_path) == newer
    assert checkpoint.latest(newer) == newer
    assert checkpoint.load(tmp_path).entries["int"] == 2


def test_where_no_checkpoint_is(tmp_path):
    for where in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError, match="is not a checkpoint, and there is none in it"):
            checkpoint.load(where)
        with pytest.raises(CheckpointError, match=r"it has no manifest\.json"):
            checkpoint.read_manifest(where)


# --- damage -----------------------------------------------------------------------------------------------------


def error_of_load(folder, expected):
    """What is told of a damaged checkpoint; nothing if it has what is expected."""
    try:
        assert plain(checkpoint.load(folder)) == expected
    except CheckpointError as error:
        return str(error)
    return ""


def test_every_flipped_byte_is_named(tmp_path, whole):
    """Or harmless: of the manifest's text, a space more is none."""
    expected = plain(checkpoint.load(whole))
    for path in (*files_of(whole), os.path.join(whole, MANIFEST)):
        content = Path(path).read_bytes()
        for at in range(len(content)):
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(bytes([content[at] ^ 1 << at % 8]))
            told = error_of_load(whole, expected)
            assert path in told if told else path.endswith(MANIFEST), f"byte {at} of {path}: {told}"
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(content[at : at + 1])
    assert plain(checkpoint.load(whole)) == expected


def test_every_flipped_byte_is_seen_by_who_restores(whole):
    path = files_of(whole)[1]
    content = Path(path).read_bytes()
    shard = empty_shard(1, 2)
    for at in range(0, len(content), 7):
        with open(path, "wb") as file:
            file.write(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        for look in (checkpoint.verify, shard.restore):
            with pytest.raises(CheckpointError, match=path):
                look(whole)
        assert shard.store.entries == {}, "nothing has changed"


def test_a_file_that_is_too_short_or_too_long_is_named(whole):
    path = files_of(whole)[0]
    content = Path(path).read_bytes()
    for changed in (b"", content[:-1], content[: len(content) // 2], content + b"\0", content * 2):
        with open(path, "wb") as file:
            file.write(changed)
        with pytest.raises(CheckpointError, match=f"{path} is damaged: it has {len(changed)} bytes and not"):
            checkpoint.load(whole)


def test_a_file_that_changes_its_length_while_it_is_read_is_named(whole):
    """What is found only behind the look at the sizes."""
    listed = checkpoint.read_manifest(whole).files[0]
    content = Path(os.path.join(whole, listed.name)).read_bytes()
    for size, how in (
        (0, "too early"),
        (5, "too early"),
        (len(content) - 1, "too early"),
        (len(content) + 9, "longer"),
    ):
        with open(os.path.join(whole, listed.name), "wb") as file:
            file.write((content + bytes(9))[:size])
        with pytest.raises(CheckpointError, match=f"{listed.name} is damaged: it .*{how}"):
            list(checkpoint.read_shard(whole, listed))


def test_a_missing_file_is_named(whole):
    path = files_of(whole)[1]
    os.unlink(path)
    for look in (checkpoint.load, checkpoint.verify, empty_shard(0, 2).restore):
        with pytest.raises(CheckpointError, match=f"{path} is missing"):
            look(whole)


def test_files_in_each_others_place_are_named(whole):
    one, other = files_of(whole)
    os.rename(one, one + ".x")
    os.rename(other, one)
    os.rename(one + ".x", other)
    with pytest.raises(CheckpointError, match="shard-000"):
        checkpoint.load(whole)


def test_what_is_not_of_it_does_no_harm(whole):
    for name in ("shard-0009-aa-bb.bin", "notes.txt", ".manifest.json.1234"):
        with open(os.path.join(whole, name), "w") as file:
            file.write("?")
    assert checkpoint.load(whole).entries["int"] == 1
    write(small(2), whole, "ff")
    assert "notes.txt" in os.listdir(whole)
    assert len(os.listdir(whole)) == 4, "what was left of files of checkpoints is gone"


@pytest.mark.parametrize("size", [1 << 31, 1 << 62, (1 << 64) - 1])
def test_huge_lengths_take_no_memory(whole, size):
    listed = checkpoint.read_manifest(whole).files[0]
    path = os.path.join(whole, listed.name)
    content = bytearray(Path(path).read_bytes())
    for at in range(0, len(content) - 8, 3):
        changed = content[:at] + struct.pack("<Q", size) + content[at + 8 :]
        with open(path, "wb") as file:
            file.write(changed)
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match=path):
                list(checkpoint.read_shard(whole, listed))
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff\xfe", b"[]", b"7", b"null", b"{}", b'{"format": 1}', b"[" * 100_000, b'{"format": 1, "digest": 3}',
        b'{"format": [1], "digest": ""}', b"\0" * 100, b'{"format": 1, "digest": "", "files": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_manifest_of_anything_is_named(whole, text):
    path = os.path.join(whole, MANIFEST)
    with open(path, "wb") as file:
        file.write(text)
    with pytest.raises(CheckpointError, match=path):
        checkpoint.load(whole)


GOOD = {"name": "shard-0000-aa-bb.bin", "size": 3, "digest": "00", "shard": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []}, {"files": None}, {"files": [7]}, {"files": [{**GOOD, "name": "../shard-0000-aa-bb.bin"}]},
        {"files": [{**GOOD, "name": "manifest.json"}]}, {"files": [{**GOOD, "name": 7}]},
        {"files": [{**GOOD, "size": -1}]}, {"files": [{**GOOD, "size": "x"}]}, {"files": [{**GOOD, "shard": 1}]},
        {"files": [GOOD, GOOD]}, {"files": [{**GOOD, "more": 1}]}, {"files": [{"name": "x"}]},
        {"clocks": []}, {"clocks": {"x": 1}}, {"clocks": {"0": None}}, {"clock": None}, {"clock": []},
    ],
)  # fmt: skip
def test_a_manifest_of_wrong_values_is_named(whole, changes):
    path = os.path.join(whole, MANIFEST)
    values = {"clock": 0, "clocks": {"0": 0}, "created": "", "files": [GOOD], "format": 1, **changes}
    with open(path, "w") as file:
        json.dump({**values, "digest": checkpoint._digest_of(values)}, file)
    with pytest.raises(CheckpointError, match=f"{path} is damaged"):
        checkpoint.load(whole)


def test_another_format_is_named(whole):
    path = os.path.join(whole, MANIFEST)
    with open(path, "w") as file:
        json.dump({"format": 2, "something": "new"}, file)
    with pytest.raises(CheckpointError, match=f"{path} has format 2; this version reads 1"):
        checkpoint.load(whole)


WRONG = [
    {"entries": [["a", "b"], [1]]},
    {"entries": 7},
    {"tables": {"made": [["x", 1]]}},
    {"tables": {"made": [[{"name": "x"}, 1]]}},
    {"tables": {"rows": {"unknown": {"rows": [[np.arange(2, dtype=np.uint64), {"rows": np.ones(2)}]]}}}},
    {"tables": {"made": 7}},
    {"tables": []},
]


@pytest.mark.parametrize("piece", WRONG, ids=str)
@pytest.mark.parametrize("shards", [2, 3])
def test_pieces_of_wrong_types_are_refused_with_the_name_of_their_file(whole, piece, shards):
    path = rewritten(whole, 0, [piece])
    shard = empty_shard(0, shards)
    shard.store.write(["kept"], [1])
    with pytest.raises(CheckpointError, match=path):
        shard.restore(whole)
    assert dict(shard.store.entries) == {"kept": 1}
    with pytest.raises(CheckpointError, match=path):
        checkpoint.load(whole)


@pytest.mark.parametrize("frames", [wire.pack([1]), [b""], [b"\xc1"], [], wire.pack(np.ones(1 << 17))[:1]])
def test_a_file_of_other_values_is_refused(whole, monkeypatch, frames):
    monkeypatch.setattr(wire, "pack", lambda _piece: frames)
    path = rewritten(whole, 0, [{}])
    with pytest.raises(CheckpointError, match=f"{path} is damaged"):
        checkpoint.load(whole)


def test_a_value_of_no_bytes_is_carried(tmp_path):
    network = small()
    with network.clients():
        network.client().write_multi({"": b"", "empty": np.empty((0, 3)), "none": [], "text": ""})
    entries = checkpoint.load(write(network, tmp_path / "c")).entries
    assert (entries[""], entries["empty"].shape, entries["none"], entries["text"]) == (b"", (0, 3), [], "")


# --- crashes, and disks that refuse -----------------------------------------------------------------------------


class Crash(BaseException):
    """The process is no more: nothing that would happen after it does."""


class Disk:
    """The system's calls on files, of which those of some kinds fail behind the first `last`; a write does half of it.

    After a crash all fail; on a full disk, only those that need room.
    """

    def __init__(self, last, failure):
        self.calls = 0
        self._last, self._failure = last, failure
        self._kinds = ("makedirs", "replace", "fsync")
        if failure is Crash:
            self._kinds += ("unlink", "rmdir", "scandir")

    def step(self):
        self.calls += 1
        if self.calls > self._last:
            raise self._failure

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in self._kinds:
            return function

        def call(*arguments, **options):
            self.step()
            return function(*arguments, **options)

        return call

    def open_file(self, path, mode):
        if mode != "rb" or self._failure is Crash:
            self.step()
        if mode == "rb":
            return builtins.open(path, mode)
        return HalfWritten(self, builtins.open(path, mode, buffering=0))


class HalfWritten:
    def __init__(self, disk, file):
        self._disk, self._file = disk, file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._file.close()

    def write(self, data):
        try:
            self._disk.step()
        except BaseException:
            self._file.write(bytes(data)[: len(data) // 2])
            raise
        return self._file.write(data)


def attempts(monkeypatch, tmp_path, failure, act):
    """`act` on a folder with an older checkpoint, ended at each call in turn; yields the folder after each."""
    older = write(small(1), tmp_path / "older")
    for last in range(1000):
        folder = str(tmp_path / "now")
        shutil.copytree(older, folder)
        disk = Disk(last, failure)
        with monkeypatch.context() as patch:
            patch.setattr(folders, "os", disk)
            patch.setattr(folders, "open", disk.open_file, raising=False)
            with contextlib.suppress(Crash, CheckpointError):
                act(folder)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
        if disk.calls <= last:
            return
    pytest.fail("it never comes to its end")


def test_a_crash_at_any_call_leaves_the_older_checkpoint_or_the_new_one(monkeypatch, tmp_path):
    network, seen = small(2), []
    for folder in attempts(monkeypatch, tmp_path, Crash, lambda folder: write(network, folder, "ff")):
        seen.append(checkpoint.load(folder).entries["int"])
        checkpoint.verify(folder)
        write(small(3), folder, "0a")
        assert len(os.listdir(folder)) == 3, "the next one tidies up"
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_a_disk_that_is_full_from_any_call_on_leaves_the_older_checkpoint(monkeypatch, tmp_path):
    """Or the new one; and once there is room again, nothing of what failed."""
    network, seen = small(2), []

    for folder in attempts(
        monkeypatch, tmp_path, OSError(errno.ENOSPC, "No space left on device"), lambda f: write(network, f, "ff")
    ):
        seen.append(checkpoint.load(folder).entries["int"])
        checkpoint.abandon(folder, "ff")
        assert len(os.listdir(folder)) == 3
    assert set(seen) == {1, 2}


def test_a_crash_while_a_checkpoint_is_removed_leaves_it_whole_or_none(monkeypatch, tmp_path):
    seen = set()
    for folder in attempts(monkeypatch, tmp_path, Crash, checkpoint.remove):
        there = MANIFEST in Folder(folder).names()
        seen.add(there)
        if there:
            checkpoint.verify(folder)
    assert seen == {True, False}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=f"{tmp_path}/file/in/.* cannot be written: Not a directory"):
        write(small(), tmp_path / "file" / "in")


def test_a_checkpoint_is_not_completed_without_its_files(tmp_path):
    older = write(small(1), tmp_path / "c")
    lost = ShardFile("shard-0000-aa-bb.bin", 3, "00", 0)
    with pytest.raises(CheckpointError, match=r"shard-0000-aa-bb\.bin is missing"):
        checkpoint.complete(older, Manifest((lost,), 0, {}))
    assert checkpoint.load(older).entries["int"] == 1


def test_what_is_abandoned_is_no_part_of_a_checkpoint(tmp_path):
    whole = write(small(1), tmp_path / "c", "aa")
    saved_of(empty_shard(), whole, "aa")
    saved_of(empty_shard(), whole, "bb")
    checkpoint.abandon(whole, "aa")
    assert len(os.listdir(whole)) == 4, "the file of another one is being written, perhaps"
    checkpoint.abandon(whole, "bb")
    checkpoint.abandon(str(tmp_path / "absent"), "bb")
    assert checkpoint.load(whole).entries["int"] == 1
    assert len(os.listdir(whole)) == 3
