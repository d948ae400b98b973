"""Every environment and every recipe as a task of fab: `fab production maintenance_up`.

A project's own fabfile.py sets DJANGO_SETTINGS_MODULE and star-imports this module.
"""

import django
from django.core.exceptions import ImproperlyConfigured
from invoke.exceptions import Exit

try:
    django.setup()
except (ImproperlyConfigured, ModuleNotFoundError) as error:
    raise Exit(f"Django can't start: {error}", code=2) from None

# Models cannot be imported before Django is set up.
from deploy_manager.cli.fab.tasks import make_namespace

__all__ = ["namespace"]

namespace = make_namespace()
