"""The key that opens secrets, as the worker has it and the web server does not."""

from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.sealing import add_key, private_keys, public_text


@pytest.fixture
def secrets_key(settings: Settings, tmp_path: Path) -> Path:
    """The worker's file of keys, which the settings name."""
    path = tmp_path / "secrets.key"
    add_key(path)
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRETS_KEY_FILE": path}
    return path


def as_web_server(settings: Settings, path: Path) -> None:
    """Take the key file out of the settings; the public key stays."""
    public = public_text(private_keys()[0].public_key)
    others = {k: v for k, v in settings.DEPLOY_MANAGER.items() if k != "SECRETS_KEY_FILE"}
    settings.DEPLOY_MANAGER = {**others, "SECRETS_PUBLIC_KEY": public}
