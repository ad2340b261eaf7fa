import subprocess

from paracel.launch import ssh


def test_the_remote_command_survives_a_shell_whatever_its_words_hold(tmp_path):
    directory = tmp_path / 'it\'s "here" $HOME ü'
    directory.mkdir()
    words = ["printf", r"%s\n", "a b", "$(id)", "'", "ü", ""]
    program = ["sh", "-c", 'pwd; echo "$V"; "$@"', "sh", *words]
    *_, host, text = ssh.command("host", str(directory), program, {"V": "x y"})
    assert host == "host"
    answer = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert answer.splitlines() == [str(directory), "x y", *words[2:]]


def test_ssh_never_asks_and_does_not_wait_for_ever():
    command = ssh.command("host", "/", ["true"], {})
    assert "BatchMode=yes" in command
    assert f"ConnectTimeout={ssh.CONNECT_SECONDS}" in command
    assert any(word.startswith("ServerAliveInterval=") for word in command)


def test_a_directory_that_is_missing_there_ends_the_command(tmp_path):
    *_, text = ssh.command("host", str(tmp_path / "none"), ["echo", "ran"], {})
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert not done.stdout
