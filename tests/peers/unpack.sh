mkdir -p "releases/$release" venvs
tar -xzf - -C "releases/$release"
