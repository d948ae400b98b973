"""Settings of the guestbook with its database, cache and broker on servers of their own.

DATABASE_URL, CACHE_URL and REDIS_URL come from the tiers of the environment.
"""

import environ

from config.settings import *  # noqa: F403

env = environ.Env()

DATABASES = {"default": env.db_url()}
CACHES = {"default": env.cache_url()}

CELERY_BROKER_URL = env("REDIS_URL")
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULE = {"count": {"task": "guestbook.tasks.count", "schedule": 5.0}}
CELERY_TIMEZONE = "UTC"
