"""Every folder of `systemvm/services` is a service: four verbs, the same signatures, pure renderers."""

import importlib
import inspect
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from systemvm.engine.registry import SECTIONS, ServicePackage, in_order
from systemvm.engine.service import Doors, Rendering, Service
from systemvm.spec import codec
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult, Problem

pytestmark = pytest.mark.contract

PACKAGE = "systemvm.services"
SERVICES = ServicePackage(PACKAGE)
FOLDER = Path(__file__).parents[2] / "systemvm" / "services"
SAMPLE = codec.decode((Path(__file__).parents[1] / "samples" / "router.json").read_bytes(), State)
EMPTY = State(generation=1, machine=SAMPLE.machine, role=SAMPLE.role, hostname=SAMPLE.hostname)

#: Parameter names and types of each verb, and what it returns.
VERBS: dict[str, tuple[dict[str, Any], Any]] = {
    "check": ({"state": State}, list[Problem]),
    "render": ({"state": State}, Rendering),
    "apply": ({"new": Rendering, "old": Rendering, "doors": Doors}, type(None)),
    "probe": ({"state": State, "doors": Doors}, list[ProbeResult]),
}

each_service = pytest.mark.parametrize("name", SERVICES.names())


def test_every_folder_is_found() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(SERVICES.names()) == folders


def test_every_section_has_a_service() -> None:
    assert set(SERVICES.names()) == set(SECTIONS)


def test_order_has_no_cycle_and_names_only_services() -> None:
    loaded = [SERVICES.load(name) for name in SERVICES.names()]
    assert len(in_order(loaded)) == len(loaded)
    for service in loaded:
        assert set(service.after) <= set(SECTIONS), f"{service.name} waits for what is no service"


@each_service
def test_service_object(name: str) -> None:
    service = SERVICES.load(name)
    assert isinstance(service, Service)
    assert service.name == name
    assert name in SECTIONS
    assert 0 < service.deadline <= 60


@each_service
@pytest.mark.parametrize("verb", VERBS)
def test_verb(name: str, verb: str) -> None:
    module = importlib.import_module(f"{PACKAGE}.{name}.{verb}")
    function = getattr(module, verb)
    assert getattr(SERVICES.load(name), verb) is function
    parameters, returned = VERBS[verb]
    hints = get_type_hints(function)
    assert list(inspect.signature(function).parameters) == list(parameters)
    assert hints == {**parameters, "return": returned}
    assert inspect.getdoc(function), f"{name}.{verb} has no docstring"


@each_service
def test_render_is_pure(name: str, closed_doors: None) -> None:
    render = SERVICES.load(name).render
    for state in (SAMPLE, EMPTY):
        assert render(state) == render(state)


@each_service
def test_a_new_generation_alone_changes_nothing(name: str) -> None:
    render = SERVICES.load(name).render
    later = msgspec.structs.replace(SAMPLE, generation=SAMPLE.generation + 1)
    assert render(later) == render(SAMPLE), "a generation in the text would reload every daemon each time"


@each_service
def test_rendered_files_have_plain_absolute_paths(name: str) -> None:
    rendering = SERVICES.load(name).render(SAMPLE)
    paths = [file.path for file in rendering.files]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.startswith("/")
        assert ".." not in Path(path).parts
    for daemon in rendering.daemons:
        assert daemon.name == name or daemon.name.startswith(f"{name}-")


@pytest.mark.parametrize("name", [name for name in SERVICES.names() if name != "interfaces"])
def test_an_absent_section_wants_nothing(name: str, closed_doors: None) -> None:
    service = SERVICES.load(name)
    assert service.render(EMPTY) == Rendering()
    assert service.check(EMPTY) == []


def test_interfaces_are_never_absent(closed_doors: None) -> None:
    service = SERVICES.load("interfaces")
    assert service.check(EMPTY) == []
    assert service.render(EMPTY).files == ()


@each_service
def test_check_finds_nothing_wrong_with_the_sample(name: str, closed_doors: None) -> None:
    assert SERVICES.load(name).check(SAMPLE) == []


@each_service
def test_reads(name: str) -> None:
    """Optional `reads.py`: path after `/v1/<role>/` to a function of the doors."""
    if not (FOLDER / name / "reads.py").exists():
        return
    reads = importlib.import_module(f"{PACKAGE}.{name}.reads").READS
    assert reads
    for path, function in reads.items():
        assert path == path.strip("/")
        assert list(inspect.signature(function).parameters) == ["doors"]
