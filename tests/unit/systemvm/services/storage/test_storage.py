"""Storage: every mistake named, the disk formatted only when blank, templates remembered, probes in words."""

import hashlib
import importlib
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from systemvm.engine.command import Result
from systemvm.engine.errors import ApplyFailed, CommandError
from systemvm.engine.fetch import Cancelled, Fetcher
from systemvm.engine.image_header import ImageRefused
from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedDaemons, RecordedRunner, recorded_doors
from systemvm.services.storage import SERVICE, data_disk
from systemvm.services.storage.intake import ChecksumWrong, Intake
from systemvm.services.storage.library import Library
from systemvm.services.storage.reads import read_capacity, read_templates
from systemvm.services.storage.settings import Face, Layout, Transfers
from systemvm.spec import codec
from systemvm.spec.appliances import ImageFormat, Storage, TemplateSource, TemplateState, TemplateStatus
from systemvm.spec.network import Interfaces, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.pki import Authority
from tests.tickets import Signer

pytestmark = pytest.mark.unit
AUTHORITY, SIGNER = Authority("servers"), Signer()
SERVER = AUTHORITY.issue("storage.pileus.internal")
probing = importlib.import_module("systemvm.services.storage.probe")


def uuid(number: int) -> str:
    return str(UUID(int=number))


def template(number: int, **changes: object) -> TemplateSource:
    plain = TemplateSource(id=uuid(number), url="https://images.example/x", format=ImageFormat.raw)
    return msgspec.structs.replace(plain, **changes)


def state_of(*sources: TemplateSource, **changes: object) -> State:
    nic = Nic(mac="02:00:00:00:00:01", name="eth1", purpose=Purpose.management, addresses=("10.9.0.1/24",))
    storage = Storage(
        address="10.9.0.1",
        certificate=SERVER.certificate,
        key=SERVER.key,
        ticket_key=SIGNER.public,
        templates=sources,
    )
    return State(
        generation=1,
        machine=uuid(1),
        role=Role.storage,
        hostname="s-1-vm",
        interfaces=Interfaces(nics=(nic,)),
        storage=msgspec.structs.replace(storage, **changes),
    )


class TestCheckAndRender:
    def test_a_good_document(self) -> None:
        assert SERVICE.check(state_of(template(2, checksum="md5:" + "0" * 32))) == []

    def test_every_mistake_is_named_at_once(self) -> None:
        other = AUTHORITY.issue("other")
        problems = SERVICE.check(
            state_of(
                template(2, url="ftp://x/y"),
                template(2, checksum="sha256:zz"),
                template(3, checksum="crc:00"),
                template(4, url="http://["),
                address="10.9.0.7",
                key=other.key,
                ticket_key="none",
                allowed_networks=("10.0.0.1/8",),
            )
        )
        assert [problem.path for problem in problems] == [
            "storage.address",
            "storage.certificate",
            "storage.ticket_key",
            "storage.allowed_networks[0]",
            "storage.templates[0].url",
            "storage.templates[1].id",
            "storage.templates[1].checksum",
            "storage.templates[2].checksum",
            "storage.templates[3].url",
        ]
        assert problems[1].message == "the key does not belong to the certificate"

    def test_the_transfer_process_is_told_what_to_have_and_no_argument_is_secret(self) -> None:
        rendering = SERVICE.render(state_of(template(2)))
        files = {file.path.rpartition("/")[2]: file for file in rendering.files}
        assert codec.decode(files["transfers.json"].text.encode(), Transfers).templates == (template(2),)
        assert files["server.key"].mode == 0o400
        assert [daemon.name for daemon in rendering.daemons] == ["storage-transfer", "storage-server"]
        words = " ".join(word for daemon in rendering.daemons for word in daemon.argv)
        assert "PRIVATE" not in words


class TestDataDisk:
    def give(self, root: Path, **serials: str) -> None:
        for name, serial in serials.items():
            folder = root / "sys" / "block" / name
            folder.mkdir(parents=True)
            if serial:
                (folder / "serial").write_text(f"{serial}\n")

    def test_it_is_found_by_serial(self, tmp_path: Path) -> None:
        self.give(tmp_path, vda="", vdb="other", vdc="pileus-data")
        assert data_disk.find_device(recorded_doors(tmp_path)) == tmp_path / "dev" / "vdc"

    def test_none_is_a_failure_in_words(self, tmp_path: Path) -> None:
        with pytest.raises(ApplyFailed, match="no disk with serial pileus-data"):
            data_disk.find_device(recorded_doors(tmp_path))

    @pytest.mark.parametrize(("code", "formats"), [(2, True), (0, False), (8, False)])
    def test_only_a_blank_disk_is_formatted(self, tmp_path: Path, code: int, formats: bool) -> None:
        self.give(tmp_path, vdb="pileus-data")
        doors = recorded_doors(tmp_path)
        assert isinstance(doors.run, RecordedRunner)
        answer = CommandError(("blkid",), code, "", "") if code else Result("TYPE=xfs", "")
        doors.run.answers[("blkid",)] = answer
        data_disk.mount(tmp_path / "data", doors)
        called = [argv[0] for argv in doors.run.calls]
        assert called == ["blkid", *(["mkfs.ext4"] if formats else []), "mount"]

    def test_a_probe_that_fails_otherwise_formats_nothing(self, tmp_path: Path) -> None:
        self.give(tmp_path, vdb="pileus-data")
        doors = recorded_doors(tmp_path)
        assert isinstance(doors.run, RecordedRunner)
        doors.run.answers[("blkid",)] = CommandError(("blkid",), 4, "", "input/output error")
        with pytest.raises(CommandError, match="input/output error"):
            data_disk.mount(tmp_path / "data", doors)
        assert [argv[0] for argv in doors.run.calls] == ["blkid"]

    def test_apply_mounts_then_starts(self, tmp_path: Path) -> None:
        self.give(tmp_path, vdb="pileus-data")
        doors, rendering = recorded_doors(tmp_path), SERVICE.render(state_of())
        assert isinstance(doors.daemons, RecordedDaemons)
        SERVICE.apply(rendering, Rendering(), doors)
        SERVICE.apply(rendering, rendering, doors)
        assert doors.daemons.calls == [
            ("start", "storage-transfer"),
            ("start", "storage-server"),
            ("reload", "storage-transfer"),
        ]


class TestLibrary:
    def test_a_changed_source_begins_anew_and_an_unlisted_one_is_forgotten(self, tmp_path: Path) -> None:
        library = Library(tmp_path / "templates.db")
        assert library.want(template(2))
        library.write(TemplateStatus(id=uuid(2), state=TemplateState.failed, error="why"))
        assert not library.want(template(2))
        status = library.status(uuid(2))
        assert status is not None
        assert (status.state, status.error) == (TemplateState.failed, "why")
        assert library.want(template(2, url="https://images.example/y"))
        status = library.status(uuid(2))
        assert status is not None
        assert (status.state, status.error) == (TemplateState.waiting, "")
        assert library.forget_all_but([]) == [uuid(2)]
        library.write(TemplateStatus(id=uuid(2), state=TemplateState.ready))
        assert library.statuses() == []
        library.close()

    def test_reads_before_anything_is_mounted(self, tmp_path: Path) -> None:
        doors = recorded_doors(tmp_path)
        assert read_templates(doors) == []
        assert read_capacity(doors) == {"bytes": 0, "free": 0}
        assert list(tmp_path.iterdir()) == []


class FileFetcher(Fetcher):
    """Writes what it was given instead of asking the network."""

    content = bytes(1024)

    def fetch(self, url: str, target: Path, **more: object) -> None:
        target.write_bytes(self.content)
        progress = more["progress"]
        assert callable(progress)
        progress(len(self.content), len(self.content))


class TestIntake:
    def intake(self, tmp_path: Path, told: str) -> tuple[Intake, list[TemplateStatus]]:
        layout = Layout(tmp_path)
        layout.templates.mkdir()
        layout.partial.mkdir()
        said: list[TemplateStatus] = []
        runner = RecordedRunner({("prlimit",): Result(told, "")})
        return Intake(layout, FileFetcher(), runner, said.append), said

    def test_a_good_image(self, tmp_path: Path) -> None:
        intake, said = self.intake(tmp_path, '{"format": "raw", "virtual-size": 1024}')
        digest = hashlib.sha256(bytes(1024)).hexdigest()
        status = intake.take(template(2, checksum=f"sha256:{digest}"), lambda: False)
        assert (status.state, status.size, status.sha256) == (TemplateState.ready, 1024, digest)
        assert [step.state.value for step in said] == ["downloading", "downloading", "checking"]
        kept = tmp_path / "templates" / uuid(2)
        assert kept.read_bytes() == bytes(1024)
        assert kept.stat().st_mode & 0o777 == 0o444
        assert list((tmp_path / "partial").iterdir()) == []

    def test_a_cd_is_taken_as_a_raw_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = bytes(16 * 2048) + b"\1CD001\1".ljust(2048, b"\0")
        intake, _ = self.intake(tmp_path, f'{{"format": "raw", "virtual-size": {len(content)}}}')
        monkeypatch.setattr(FileFetcher, "content", content)
        status = intake.take(template(2, format=ImageFormat.iso), lambda: False)
        assert (status.state, status.virtual_size) == (TemplateState.ready, len(content))
        assert isinstance(intake.run, RecordedRunner)
        assert intake.run.calls[0][-3:-1] == ("-f", "raw"), "told, never guessed"

    @pytest.mark.parametrize(
        ("told", "words"),
        [
            ('{"virtual-size": 1024, "backing-filename": "/etc/passwd"}', "outside itself"),
            ('{"virtual-size": 1024, "format-specific": {"data": {"data-file": "x"}}}', "outside itself"),
            ('{"virtual-size": 9999999}', "disagree about its size"),
        ],
    )
    def test_qemu_has_the_last_word(self, tmp_path: Path, told: str, words: str) -> None:
        intake, _ = self.intake(tmp_path, told)
        with pytest.raises(ImageRefused, match=words):
            intake.take(template(2), lambda: False)
        assert list((tmp_path / "partial").iterdir()) == []

    def test_a_wrong_checksum_never_reaches_qemu(self, tmp_path: Path) -> None:
        intake, _ = self.intake(tmp_path, "{}")
        with pytest.raises(ChecksumWrong):
            intake.take(template(2, checksum="md5:" + "0" * 32), lambda: False)
        assert isinstance(intake.run, RecordedRunner)
        assert intake.run.calls == []

    def test_what_is_stopped_stays_to_go_on_with(self, tmp_path: Path) -> None:
        intake, _ = self.intake(tmp_path, "{}")
        with pytest.raises(Cancelled):
            intake.take(template(2), lambda: True)
        assert [path.name for path in (tmp_path / "partial").iterdir()] == [uuid(2)]


class TestProbe:
    def test_everything_missing_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody(face: Face, certificate: str, doors: object) -> str:
            raise ConnectionRefusedError("nobody listens")

        monkeypatch.setattr(probing, "_probe_server", nobody)
        doors = recorded_doors(tmp_path)
        results = {result.name: result for result in SERVICE.probe(state_of(), doors)}
        assert not any(result.healthy for result in results.values())
        assert "not mounted" in results["disk"].message
        assert "does not run" in results["transfer"].message

    def test_a_silent_process_counts_as_dead(self, tmp_path: Path) -> None:
        doors = recorded_doors(tmp_path, now=lambda: 5e9)
        assert isinstance(doors.daemons, RecordedDaemons)
        rendering = SERVICE.render(state_of())
        doors.daemons.ensure(rendering.daemons[0])
        with pytest.raises(probing._Unhealthy, match="not shown a sign of life yet"):
            probing._probe_transfer(doors)
        beat = tmp_path / "run/pileus/storage/heartbeat"
        beat.parent.mkdir(parents=True)
        beat.touch()
        with pytest.raises(probing._Unhealthy, match="no sign of life for"):
            probing._probe_transfer(doors)
