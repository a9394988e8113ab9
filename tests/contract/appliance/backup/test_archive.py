"""What is no backup, or a damaged one, or one of other software, is refused with words; nothing changes."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from appliance.backup.backup import make_backup
from appliance.backup.manifest import NAME, BackupRefused
from appliance.backup.restore import restore
from appliance.cli.main import main
from mgmt.bootstrap import PASSWORD_FILE, Occupied, occupied, open_store
from mgmt.pki.authority import Authority

pytestmark = pytest.mark.contract
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud's folder, its server not running."""
    made = tmp_path_factory.mktemp("cloud")
    opened = open_store(made)
    opened.database.close()
    Authority(opened.config.pki_dir)
    (made / "pileus.json").write_text('{"host": "4fdc2a42-94d3-4c43-a1f0-1d3e8e0ae0f1"}')
    return made


@pytest.fixture(scope="module")
def backup(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backups") / "cloud.tar.gz"
    make_backup(home, file)
    return file


def changed(backup: Path, target: Path, change: Callable[[Members], None]) -> Path:
    """A copy of a backup with other members."""
    with tarfile.open(backup) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(target, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def manifest_with(**facts: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[NAME] = msgspec.json.encode(msgspec.json.decode(members[NAME]) | facts)

    return change


def add(name: str) -> Callable[[Members], None]:
    return lambda members: members.update({name: b"x"})


def damage(members: Members) -> None:
    members["secrets/seal.key"] = members["secrets/seal.key"][::-1]


def test_a_backup_is_private_and_says_what_is_in_it(backup: Path, home: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in backup.parent.iterdir()] == [backup.name], "nothing half-made is left"
    with tarfile.open(backup) as tar:
        names = tar.getnames()
    assert names[0] == NAME
    assert {"database/mgmt.db", "secrets/seal.key", "secrets/pki/ticket.key", "pileus.json"} <= set(names)
    assert f"files/{PASSWORD_FILE}" in names
    with pytest.raises(BackupRefused, match="exists: name another file"):
        make_backup(home, backup)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage, "secrets/seal.key is not what its manifest says"),
        (lambda members: members.pop("secrets/seal.key"), "secrets/seal.key is not what its manifest says"),
        (lambda members: members.pop(NAME), "it does not begin with manifest.json"),
        (add("secrets/another"), "'secrets/another', which its manifest does not name"),
        (add("../../etc/cron.d/x"), "which its manifest does not name"),
        (manifest_with(format=2), "has format 2, this software reads 1"),
        (manifest_with(revision="0000"), "holds tables of schema 0000 .* unknown to this software"),
        (manifest_with(tables="ab" * 32), "unknown to this software"),
        (manifest_with(surprise=1), "is no backup of Pileus"),
        (manifest_with(database="postgresql"), "holds a postgresql database"),
        (
            manifest_with(items=[{"name": "../x", "size": 1, "sha256": "0" * 64}]),
            "which its manifest does not name",
        ),
    ],
)
def test_what_is_not_a_whole_backup_is_refused(
    backup: Path, tmp_path: Path, change: Callable[[Members], None], words: str
) -> None:
    file = changed(backup, tmp_path / "changed.tar.gz", change)
    with pytest.raises(BackupRefused, match=words):
        restore(tmp_path / "new", file)
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path.parent / "etc").exists()


@pytest.mark.parametrize("length", [0, 100, -100])
def test_a_file_that_was_cut_is_refused(backup: Path, tmp_path: Path, length: int) -> None:
    file = tmp_path / "cut.tar.gz"
    file.write_bytes(backup.read_bytes()[:length])
    with pytest.raises(BackupRefused):
        restore(tmp_path / "new", file)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_cloud_that_is_there_is_replaced_by_force_only_and_kept(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "new"
    restore(home, backup)
    password = (home / "mgmt" / PASSWORD_FILE).read_text()
    (home / "mgmt" / PASSWORD_FILE).write_text("another")
    with pytest.raises(BackupRefused, match=r"there is .*/mgmt, .*--force replaces it"):
        restore(home, backup)
    with occupied(home), pytest.raises(Occupied, match="a management server runs on"):
        restore(home, backup, force=True)
    assert (home / "mgmt" / PASSWORD_FILE).read_text() == "another"
    done = restore(home, backup, force=True)
    assert (home / "mgmt" / PASSWORD_FILE).read_text() == password
    (old,) = [path for path in done.kept if path.name.startswith("mgmt.before-")]
    assert (old / PASSWORD_FILE).read_text() == "another"
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_a_new_home_opens_with_the_old_keys(backup: Path, home: Path, tmp_path: Path) -> None:
    new = tmp_path / "moved"
    restore(new, backup)
    assert (new / "mgmt").stat().st_mode & 0o777 == 0o700
    assert (new / "mgmt/seal.key").stat().st_mode & 0o777 == 0o600
    opened = open_store(new)
    try:
        assert opened.password is None, "the administrator is there already"
        assert opened.config.database_url == f"sqlite:///{new}/mgmt/mgmt.db"
        old, again = Authority(home / "mgmt/pki"), Authority(opened.config.pki_dir)
        assert (again.server_ca, again.ticket_key) == (old.server_ca, old.ticket_key)
    finally:
        opened.database.close()


def test_when_the_last_file_cannot_be_placed_all_is_as_before(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "new"
    restore(home, backup)
    (home / "mgmt" / PASSWORD_FILE).write_text("another")
    (home / "pileus.json").unlink()
    (home / "pileus.json").symlink_to("nowhere/at/all")  # what is not there to `exists`, yet in the way

    def renames_no_settings(old: Path, new: Path, rename: Any = __import__("os").rename) -> None:
        if Path(new).name == "pileus.json":
            raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr("appliance.backup.restore.os.rename", renames_no_settings)
    with pytest.raises(OSError, match="No space left"):
        restore(home, backup, force=True)
    assert (home / "mgmt" / PASSWORD_FILE).read_text() == "another"


def test_the_commands_say_what_they_did(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "b.tar.gz"
    monkeypatch.setenv("PILEUS_HOME", str(home))
    made = CliRunner().invoke(main, ["backup", str(file)])
    assert (made.exit_code, "holds the keys" in made.output) == (0, True), made.output
    monkeypatch.setenv("PILEUS_HOME", str(tmp_path / "new"))
    done = CliRunner().invoke(main, ["restore", str(file)])
    assert (done.exit_code, "Next: `pileus up`" in done.output) == (0, True), done.output
    again = CliRunner().invoke(main, ["restore", str(file)])
    assert again.exit_code == 1
    assert "--force" in again.output
    monkeypatch.setenv("PILEUS_HOME", str(tmp_path / "none"))
    assert "there is no cloud in" in CliRunner().invoke(main, ["backup", str(tmp_path / "c")]).output
