"""The checkpoints that servers make by themselves are completed, given up, and removed in time."""

import logging
import os

import pytest
from support.checkpoints import saved_of, small, write

from paracel import checkpoint
from paracel.errors import CheckpointError
from paracel.messages import Saved
from paracel.saves import Saves

TOKEN = "aa"


def folder_at(tmp_path, clock):
    return f"{tmp_path}/clock-{clock:08d}"


def tell(saves, tmp_path, clock, *, value=1, shards=(0, 1), error=""):
    """What the servers of some shards do at a cut."""
    network = small(value)
    for shard in network.shards.values():
        if shard.number in shards:
            told = saved_of(shard, folder_at(tmp_path, clock), TOKEN)
            saves.take(Saved(*[getattr(told, name) for name in told.__slots__[:-1]], error))


@pytest.fixture
def saves(tmp_path):
    return Saves(2, str(tmp_path), 2, TOKEN)


def there(tmp_path):
    return sorted(os.listdir(tmp_path))


def test_a_checkpoint_is_complete_when_all_its_files_are_there(saves, tmp_path):
    tell(saves, tmp_path, 3)
    tell(saves, tmp_path, 6, shards=(1,))
    saves.close()
    assert there(tmp_path) == ["clock-00000003"], "of the other one not even files are left"
    assert checkpoint.load(tmp_path).entries["int"] == 1


def test_the_newest_stay(saves, tmp_path):
    for clock in (3, 6, 9, 12):
        tell(saves, tmp_path, clock)
    saves.close()
    assert there(tmp_path) == ["clock-00000009", "clock-00000012"]


def test_one_that_failed_is_given_up_and_the_next_is_made(saves, tmp_path, caplog):
    tell(saves, tmp_path, 3, value=1)
    tell(saves, tmp_path, 6, value=2, shards=(0,))
    tell(saves, tmp_path, 6, value=2, shards=(1,), error="the disk is full")
    tell(saves, tmp_path, 9, value=3)
    saves.close()
    assert "no checkpoint in " in caplog.text
    assert "clock-00000006: the disk is full" in caplog.text
    assert there(tmp_path) == ["clock-00000003", "clock-00000009"]


def test_one_that_was_begun_and_never_finished_goes_with_the_next(saves, tmp_path):
    tell(saves, tmp_path, 3, shards=(0,))
    tell(saves, tmp_path, 6)
    tell(saves, tmp_path, 9)
    saves.close()
    assert there(tmp_path) == ["clock-00000006", "clock-00000009"]


def test_what_comes_late_does_no_harm(saves, tmp_path):
    """A file of a checkpoint that is complete, from a server whose place another took."""
    tell(saves, tmp_path, 3)
    saves.close()
    again = Saves(2, str(tmp_path), 2, TOKEN)
    tell(again, tmp_path, 3, value=7, shards=(0,))
    tell(again, tmp_path, 6)
    again.close()
    checkpoint.verify(folder_at(tmp_path, 3))
    assert checkpoint.load(folder_at(tmp_path, 3)).entries["int"] == 1
    assert len(os.listdir(folder_at(tmp_path, 3))) == 3


def test_the_same_clock_once_more_takes_the_place_of_the_first(saves, tmp_path):
    """After a restore of an older checkpoint."""
    tell(saves, tmp_path, 3, value=1)
    saves.close()
    again = Saves(2, str(tmp_path), 2, TOKEN)
    tell(again, tmp_path, 3, value=2)
    again.close()
    assert checkpoint.load(tmp_path).entries["int"] == 2
    assert len(os.listdir(folder_at(tmp_path, 3))) == 3


def test_files_of_other_folders_and_shards_are_not_its_own(saves, tmp_path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    tell(saves, elsewhere, 3)
    tell(saves, tmp_path, 3, shards=(0,))
    saves.take(Saved(2, folder_at(tmp_path, 3), "shard-0002-aa-bb.bin", 1, "", 3, {}, ""))
    saves.close()
    assert there(tmp_path) == []
    assert len(os.listdir(folder_at(elsewhere, 3))) == 2, "not touched, not completed"


def test_a_file_that_is_gone_again_fails_the_checkpoint(saves, tmp_path, caplog):
    told = [saved_of(shard, folder_at(tmp_path, 3), TOKEN) for shard in small().shards.values()]
    os.unlink(f"{told[0].folder}/{told[0].name}")
    for each in told:
        saves.take(each)
    saves.close()
    assert f"{told[0].name} is missing" in caplog.text
    assert there(tmp_path) == []


def test_what_earlier_jobs_left_unfinished_is_removed(tmp_path):
    saved_of(small().shards["ipc://0"], folder_at(tmp_path, 3), "bb")
    (tmp_path / "clock-00000006").mkdir()
    (tmp_path / "clock-00000006" / "notes.txt").write_text("mine")
    whole = write(small(), folder_at(tmp_path, 9))
    Saves(2, str(tmp_path), 2, TOKEN).close()
    assert there(tmp_path) == ["clock-00000006", "clock-00000009"]
    assert os.listdir(tmp_path / "clock-00000006") == ["notes.txt"]
    checkpoint.verify(whole)


def test_a_damaged_older_one_is_not_removed_and_does_not_hinder_the_next(saves, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        tell(saves, tmp_path, 3)
        (tmp_path / "clock-00000001").mkdir()
        (tmp_path / "clock-00000001" / "manifest.json").write_text("{}")
        tell(saves, tmp_path, 6)
        tell(saves, tmp_path, 9)
        saves.close()
    for clock in (3, 6, 9):
        checkpoint.verify(folder_at(tmp_path, clock))
    assert "older checkpoints stay" in caplog.text


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=f"{tmp_path}/file/in cannot be made: Not a directory"):
        Saves(2, f"{tmp_path}/file/in", 2, TOKEN)
