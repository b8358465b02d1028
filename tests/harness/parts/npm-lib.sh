# shellcheck shell=bash
# Stand-ins that come as npm packages: what kinesis-local.sh and kinesalite.sh share. Each sets PACKAGE and VERSION.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fetch() {
    need node nodejs
    once "$PACKAGE-$VERSION" fetch_npm
}

fetch_npm() {
    need npm npm
    npm install --prefix "$1" --silent --no-audit --no-fund --no-update-notifier --no-save "$PACKAGE@$VERSION"
}

address() {
    echo "http://127.0.0.1:$(port "$1" 1)"
}

# program FILE: FILE of the package, with what `node` needs before it.
program() {
    PROGRAM=(node --require "$here/loopback.cjs" "$(fetch)/node_modules/$PACKAGE/$1")
}
