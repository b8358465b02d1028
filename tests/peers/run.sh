#!/usr/bin/env bash
# millstream beside what people would use instead, on one PostgreSQL and one broker: see README.md.
#
#   run.sh [--binary MILLSTREAM] [--events N] [--runs N] [--peers a,b,c] [--out FOLDER] [--json] ...
#
# Without --binary, millstream is built (release, with Kafka). `run.sh --help` tells the rest.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
cd "$OLDPWD"

need() {
    command -v "$1" >/dev/null || { echo "run.sh: $1 is missing (Debian: apt-get install $2)" >&2; exit 1; }
}
need python3 python3
need java default-jre-headless
need javac default-jdk-headless
need psql postgresql-client
need setpriv util-linux

binary=() asked=
for argument in "$@"; do
    case $argument in
        --binary | --binary=*) binary=(given) ;;
        -h | --help) asked=1 ;;
    esac
done
if [ -n "$asked" ]; then
    binary=(--binary none)
elif [ ${#binary[@]} = 0 ]; then
    need cargo rustup
    (cd "$here" && cargo build --release --locked -p millstream --features kafka >&2)
    target=$(cd "$here" && cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    binary=(--binary "$target/release/millstream")
else
    binary=()
fi
# Nothing is written into the tree.
exec python3 -B "$here/run.py" "${binary[@]}" "$@"
