import sys
from importlib.util import find_spec
from types import ModuleType

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

LIBRARIES = (
    *("ninja", "fabric", "paramiko", "cryptography", "nacl", "celery", "kombu", "redis"),
    *("virtualenv", "packaging", "pip_requirements_parser", "tomli_w", "requests", "urllib3"),
    *("truststore", "pypi_simple", "uv", "ansi2html", "rich", "cronsim", "apprise"),
)
"""The modules of the extra `manager`: the distribution alone depends on nothing."""


class DeployManagerConfig(AppConfig):
    name = "deploy_manager"
    verbose_name = _("Sites and deployments")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        """Raises ImproperlyConfigured if libraries are missing: before any model imports one."""
        # Some that are imported already replace themselves by an object that has no spec.
        wanted = [name for name in LIBRARIES if name not in sys.modules]
        if missing := [name for name in wanted if find_spec(name) is None]:
            raise ImproperlyConfigured(
                f"deploy_manager lacks {', '.join(missing)}. Install what a Django project needs of"
                " it: pip install 'deploy-manager[manager]'."
            )
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        from deploy_manager import auditing, checks  # noqa: F401, PLC0415  registers the checks

        auditing.connect()
