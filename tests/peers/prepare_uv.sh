if [ ! -e "venvs/$venv/.complete" ]; then
    ~/bin/uv venv --quiet --python python3 "venvs/$venv"
    ~/bin/uv pip install --quiet --python "venvs/$venv/bin/python" --index-url "$index" \
        --compile-bytecode --require-hashes --no-deps -r "releases/$release/requirements.lock"
    touch "venvs/$venv/.complete"
fi
