"""Secrets are sealed by a key that can't open them, and opened only with the file of keys."""

from pathlib import Path

import pytest
from django.test import override_settings

from deploy_manager.exceptions import ConfigurationError, SecretUnreadable
from deploy_manager.models.secret_field import SecretField
from deploy_manager.sealing import Sealed, Secret, add_key, private_keys, public_text, seal

VALUE = "correct horse\n日本"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    add_key(tmp_path / "keys")
    return tmp_path / "keys"


def with_keys(keys: Path | None, public: str = "") -> override_settings:
    return override_settings(
        DEPLOY_MANAGER={"SECRETS_KEY_FILE": keys, "SECRETS_PUBLIC_KEY": public}
    )


def test_who_has_the_public_key_only_seals_and_opens_nothing(keys: Path) -> None:
    with with_keys(keys):
        public = public_text(private_keys()[0].public_key)
    with with_keys(None, public):
        sealed = seal(Secret(VALUE))
        assert VALUE not in f"{sealed!r} {sealed.text}"
        with pytest.raises(ConfigurationError, match="No key for secrets"):
            sealed.open()
    with with_keys(keys):
        assert Sealed.read(sealed.text).open().value == VALUE


def test_an_older_key_opens_until_all_is_sealed_anew(keys: Path) -> None:
    with with_keys(keys):
        sealed = seal(Secret(VALUE))
        add_key(keys)
        assert not sealed.is_current
        anew = sealed.sealed_anew()
        assert anew.is_current
        assert anew.open() == sealed.open() == Secret(VALUE)
        assert anew.fingerprint == sealed.fingerprint
    assert keys.stat().st_mode & 0o777 == 0o600


def test_a_wrong_or_missing_key_is_named(keys: Path, tmp_path: Path) -> None:
    with with_keys(keys):
        sealed = seal(Secret(VALUE))
    add_key(tmp_path / "others")
    with with_keys(tmp_path / "others"), pytest.raises(SecretUnreadable, match=sealed.key_id):
        sealed.open()
    with with_keys(tmp_path / "none"), pytest.raises(ConfigurationError, match="can't be read"):
        sealed.open()


@pytest.mark.parametrize("text", ["hunter2", "sealed1:::", "sealed1:a:b", "sealed2:a:b:c"])
def test_what_is_not_sealed_is_never_stored(text: str) -> None:
    with pytest.raises(SecretUnreadable) as refused:
        SecretField().get_prep_value(text)
    assert text not in str(refused.value)
    shown = SecretField().from_db_value(text)
    with pytest.raises(SecretUnreadable, match="Enter it again"):
        SecretField().get_prep_value(shown)
    assert shown is not None
    with pytest.raises(SecretUnreadable, match="Enter it again"):
        shown.open()


def test_a_damaged_value_is_said_to_be(keys: Path) -> None:
    with with_keys(keys):
        sealed = seal(Secret(VALUE))
        for box in ("AAAA", "%", sealed.box[::-1]):
            with pytest.raises(SecretUnreadable, match="damaged"):
                Sealed(sealed.key_id, sealed.fingerprint, box).open()
