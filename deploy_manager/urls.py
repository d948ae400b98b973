"""The addresses of the app beside the admin: a project includes them where it likes."""

from django.urls import path

from deploy_manager.webhooks.views import receive

app_name = "deploy_manager"

urlpatterns = [
    path("webhooks/<uuid:key>/", receive, name="webhook"),
]
