#!/bin/sh
# Packs the commit, as pyinfra runs on the servers only, and deploys it.
set -eu
ARCHIVE=$(mktemp)
export ARCHIVE
trap 'rm -f "$ARCHIVE"' EXIT
git -C "$REPOSITORY" archive --format=tar.gz --add-file="$LOCK" --output="$ARCHIVE" "$COMMIT"
"$PROGRAMS/pyinfra" --yes pyinfra_inventory.py pyinfra_deploy.py
