#!/bin/sh
# A deployment as people write it: ssh and sh, all servers side by side.
set -eu
into() {
    printf 'set -eu; cd ~/%s; set -a; . ./variables; set +a; release=%s venv=%s index=%s\n' \
        "$FOLDER" "$RELEASE" "$VENV" "$INDEX"
    cat "$PEERS/$1"
}
each() {
    running=""
    for server in $SERVERS; do
        "$@" "$server" &
        running="$running $!"
    done
    for process in $running; do wait "$process"; done
}
prepare() { ssh -F "$SSH_CONFIG" "$1" "$prepare" <"$archive"; }
switch() { ssh -F "$SSH_CONFIG" "$1" "$switch"; }

archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
git -C "$REPOSITORY" archive --format=tar.gz --add-file="$LOCK" --output="$archive" "$COMMIT"
prepare=$(into unpack.sh && cat "$PEERS/prepare_$INSTALLER.sh" "$PEERS/prepare.sh")
migrate=$(into migrate.sh)
switch=$(into switch.sh)
each prepare
ssh -F "$SSH_CONFIG" "${SERVERS%% *}" "$migrate"
each switch
