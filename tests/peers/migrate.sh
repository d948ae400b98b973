cd "releases/$release"
venv/bin/python manage.py migrate --noinput
