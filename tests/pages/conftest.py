"""One api-server and one browser for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.pages.fixtures import installation
from tests.pages.served import Served, api_server, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Airflow on an installation with everything to look at."""
    with api_server(installation(tmp_path_factory.mktemp("pages") / "home")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, with Debian's binary."""
    binary: Path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(binary), args=["--no-sandbox"])
        yield found
        found.close()
