ln -s "../../venvs/$venv" "releases/$release/venv"
cd "releases/$release"
venv/bin/python manage.py collectstatic --noinput --verbosity 0
venv/bin/python manage.py check
