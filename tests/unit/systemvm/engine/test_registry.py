"""Services are found without importing them, and put in order."""

from graphlib import CycleError

import pytest

from systemvm.engine.registry import SECTIONS, ServicePackage, in_order, sections_of, with_dependents
from systemvm.spec import codec
from systemvm.spec.state import State
from tests.unit.systemvm.engine.tiny import Tiny, document

pytestmark = pytest.mark.unit


def test_sections_are_those_of_the_document() -> None:
    assert "interfaces" in SECTIONS
    assert "storage" in SECTIONS
    assert not {"version", "generation", "machine", "role", "hostname"} & set(SECTIONS)


def test_sections_of() -> None:
    assert sections_of(None) == ()
    assert sections_of(codec.decode(document(1, dnsmasq={}), State)) == ("interfaces", "dnsmasq")


def test_order() -> None:
    third, second, first = Tiny("c", after=("b", "elsewhere")), Tiny("b", after=("a",)), Tiny("a")
    ordered = in_order([third.service, second.service, first.service])
    assert [service.name for service in ordered] == ["a", "b", "c"]
    assert with_dependents(["b"], ordered) == {"b", "c"}


def test_a_cycle_is_an_error() -> None:
    with pytest.raises(CycleError):
        in_order([Tiny("a", after=("b",)).service, Tiny("b", after=("a",)).service])


def test_unknown_service() -> None:
    with pytest.raises(LookupError, match="there is no service zork"):
        ServicePackage("systemvm.services").load("zork")


def test_what_is_no_service() -> None:
    with pytest.raises((TypeError, AttributeError)):
        ServicePackage("systemvm").load("spec")
