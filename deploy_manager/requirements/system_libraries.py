"""Which libraries of the system Python packages load that do not bring them: known cases, named.

Names are those of Debian and Ubuntu. Where releases differ all names are listed: the first that a
system has is the one.
"""

from collections.abc import Collection, Iterator

ALTERNATIVES = tuple[str, ...]
"""Names of one library in several releases."""

_PQ: ALTERNATIVES = ("libpq5",)
_CAIRO: ALTERNATIVES = ("libcairo2",)
_GLIB: ALTERNATIVES = ("libglib2.0-0t64", "libglib2.0-0")
_GEOS: ALTERNATIVES = ("libgeos-c1t64", "libgeos-c1v5")
_GDAL: ALTERNATIVES = ("gdal-bin",)  # the library's own name has a number for each release

LIBRARIES: dict[str, tuple[ALTERNATIVES, ...]] = {
    "psycopg": (_PQ,),
    "psycopg-c": (_PQ,),
    "psycopg2": (_PQ,),
    "mysqlclient": (("libmariadb3",),),
    "pyodbc": (("libodbc2", "libodbc1"),),
    "pylibmc": (("libmemcached11t64", "libmemcached11"),),
    "pycurl": (("libcurl4t64", "libcurl4"),),
    "python-magic": (("libmagic1t64", "libmagic1"),),
    "python-ldap": (("libldap2", "libldap-2.5-0"),),
    "xmlsec": (("libxmlsec1t64-openssl", "libxmlsec1-openssl"),),
    "weasyprint": (("libpango-1.0-0",), ("libpangoft2-1.0-0",), ("libharfbuzz-subset0",)),
    "cairosvg": (_CAIRO,),
    "cairocffi": (_CAIRO,),
    "pycairo": (_CAIRO,),
    "pyzbar": (("libzbar0t64", "libzbar0"),),
    "opencv-python": (("libgl1",), _GLIB),
    "opencv-python-headless": (_GLIB,),
    "gdal": (_GDAL,),
    "django-leaflet": (_GDAL, _GEOS),
    "djangorestframework-gis": (_GDAL, _GEOS),
    "pdf2image": (("poppler-utils",),),
    "pytesseract": (("tesseract-ocr",),),
    "pydub": (("ffmpeg",),),
    "ffmpeg-python": (("ffmpeg",),),
    "pyenchant": (("libenchant-2-2",),),
    "python-gnupg": (("gnupg",),),
    "pycups": (("libcups2t64", "libcups2"),),
    "pyvips": (("libvips42t64", "libvips42"),),
    "soundfile": (("libsndfile1",),),
}

BRINGS = {"psycopg": "psycopg-binary"}
"""Packages that have the library in another one: then the system's is not needed."""


def libraries_of(packages: Collection[str]) -> Iterator[tuple[ALTERNATIVES, str]]:
    """Yield what these packages load, each library once, and the first package that needs it."""
    seen: set[ALTERNATIVES] = set()
    for package in sorted(packages):
        if BRINGS.get(package) in packages:
            continue
        for names in LIBRARIES.get(package, ()):
            if names not in seen:
                seen.add(names)
                yield names, package
