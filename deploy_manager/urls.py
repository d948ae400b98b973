"""The addresses for programs: `path("deploy/", include("deploy_manager.urls"))`."""

from django.urls import path

from deploy_manager.api.main import urls

app_name = "deploy_manager"
urlpatterns = [
    path("api/v1/", urls()),
]
