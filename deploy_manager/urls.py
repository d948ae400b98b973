"""The addresses for programs: `path("deploy/", include("deploy_manager.urls"))`."""

from django.urls import path

from deploy_manager.api.main import urls
from deploy_manager.webhooks.views import receive

app_name = "deploy_manager"
urlpatterns = [
    path("api/v1/", urls()),
    path("webhooks/<uuid:key>/", receive, name="webhook"),
]
