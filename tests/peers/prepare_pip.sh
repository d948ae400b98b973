if [ ! -e "venvs/$venv/.complete" ]; then
    python3 -m venv "venvs/$venv"
    "venvs/$venv/bin/pip" install --quiet --disable-pip-version-check --index-url "$index" \
        --require-hashes --no-deps -r "releases/$release/requirements.lock"
    touch "venvs/$venv/.complete"
fi
