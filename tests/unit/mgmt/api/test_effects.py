"""Every parameter does something, or says in its description that it does not, and why."""

import inspect
import re
import sys

import pytest

from mgmt.api.app import load_commands
from mgmt.api.lists import AllAre, Equals
from mgmt.api.ownership import OWNER
from mgmt.api.params import Form, NoEffect, Parameter, Unsupported, parse_hint, read_parameter
from mgmt.api.registry import REGISTRY, Registered
from mgmt.model.errors import ParameterError

pytestmark = pytest.mark.unit
load_commands()
OF_OWNERS = {"account", "domainid", "projectid"}


def source_of(registered: Registered) -> str:
    """The code that may read the command's fields: its classes', and that of their modules."""
    modules = {each.__module__ for each in registered.command.__mro__ if each.__module__.startswith("mgmt.")}
    return "\n".join(inspect.getsource(sys.modules[name]) for name in sorted(modules))


def does_something(registered: Registered, parameter: Parameter, source: str) -> bool:
    if any(isinstance(mark, AllAre | Equals | NoEffect | Unsupported) for mark in parameter.marks):
        return True
    if re.search(rf"\.{parameter.name}\b(?!\s*=[^=])|\"{parameter.name}\"", source):
        return True
    is_owner = any(OWNER in each.marks for each in registered.parameters)
    return is_owner and parameter.name in OF_OWNERS and "call.owner" in source + called(registered)


def called(registered: Registered) -> str:
    """The code of the functions of other modules that the command's module uses."""
    used = vars(sys.modules[registered.command.__module__]).values()
    mine = (each for each in used if inspect.isfunction(each) and each.__module__.startswith("mgmt.api"))
    return "\n".join(inspect.getsource(each) for each in mine)


def test_every_parameter_is_read_or_says_why_not() -> None:
    silent = []
    for registered in REGISTRY.all():
        source = source_of(registered)
        silent += [
            f"{registered.name} {parameter.name}"
            for parameter in registered.parameters
            if not does_something(registered, parameter, source)
        ]
    assert silent == [], "use these, or mark them as NoEffect or Unsupported"


def test_a_parameter_that_nobody_reads_is_found() -> None:
    """The test above can fail."""
    deploy = REGISTRY.find("deployVirtualMachine")
    assert deploy is not None
    unread = parse_hint("unheardof", str | None, required=False)
    assert not does_something(deploy, unread, source_of(deploy))


@pytest.mark.parametrize(
    ("text", "is_refused"), [("true", True), ("false", False), ("", False), (None, False)]
)
def test_what_is_not_supported_is_refused_when_somebody_wants_it(text: str | None, is_refused: bool) -> None:
    deploy = REGISTRY.find("deployVirtualMachine")
    assert deploy is not None
    (parameter,) = (each for each in deploy.parameters if each.name == "bootintosetup")
    form = Form({} if text is None else {"bootintosetup": text})
    assert parameter.description == "not supported: a VM starts from its disk"
    if is_refused:
        with pytest.raises(ParameterError, match="bootintosetup is not supported: a VM starts from its disk"):
            read_parameter("deployVirtualMachine", parameter, form)
    else:
        assert not read_parameter("deployVirtualMachine", parameter, form)


def test_what_has_no_effect_says_so_in_the_reference() -> None:
    found = {each.description for each in REGISTRY.find("deployVirtualMachine").parameters}  # type: ignore[union-attr]
    assert "no effect: a VM is its owner's to see" in found
