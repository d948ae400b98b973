from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeployManagerConfig(AppConfig):
    name = "deploy_manager"
    verbose_name = _("Sites and deployments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from deploy_manager import auditing, checks  # noqa: F401, PLC0415  registers the checks

        auditing.connect()
