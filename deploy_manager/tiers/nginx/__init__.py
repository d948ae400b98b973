"""nginx: serves static files, and passes requests on to the site's processes."""

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.web import WEB_OPTIONS, WebServer


class Nginx(WebServer):
    name = "nginx"
    title = _("nginx: static files, balancing")
    # The first one is installed if none is there: each of them has all that we use.
    packages = ("nginx-light|nginx|nginx-core|nginx-full|nginx-extras",)
    stopped = ("nginx.service",)
    removed = ("/etc/nginx/sites-enabled/default",)
    folder = "/etc/nginx/sites-enabled"
    test = ("nginx", "-t", "-q")
    unit = "nginx.service"
    options = WEB_OPTIONS


KIND = Nginx()
