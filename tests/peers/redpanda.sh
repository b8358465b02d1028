#!/usr/bin/env bash
# Redpanda Connect, built from its Go module under the name that it had until May 2024: Benthos 4.27.0.
#
#   redpanda.sh fetch              builds the program (4 minutes on two busy cores), prints its directory
#
# Programs: go (1.21 or later).

# shellcheck source=../harness/parts/lib.sh
. "$(dirname "$0")/../harness/parts/lib.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fetch() {
    once benthos-4.27.0 fetch_benthos
}

fetch_benthos() {
    need go golang
    go build -C "$here/redpanda" -buildvcs=false -trimpath -o "$1/benthos" .
}

main "$@"
