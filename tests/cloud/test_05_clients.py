"""Other stock clients than `cs` on the real cloud; they live their day while other tests run."""

import pytest

from tests.cloud.beside import Beside

pytestmark = pytest.mark.cloud


@pytest.mark.parametrize("client", ["libcloud", "cloudmonkey"])
def test_the_main_lifecycle(stories: dict[str, str], beside: Beside, client: str) -> None:
    if client in stories:
        pytest.skip(stories[client])
    (address,) = beside.result(client)
    assert address.startswith("10.9.9.")
