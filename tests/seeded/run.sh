#!/usr/bin/env bash
# Proves that the tests notice faults: applies one patch of this directory at a time to a copy of the tree, runs the
# tests that it names, and demands that one of them fails.
#
#   tests/seeded/run.sh --check              every patch still applies (also a normal test)
#   MILLSTREAM_SOAK=1 tests/seeded/run.sh    all of them: hours, since each is a build
#   MILLSTREAM_SOAK=1 tests/seeded/run.sh 7 22 --target DIR --keep
#                                            these alone, built in DIR, with the copy and its logs kept
#
# A patch begins with lines `Fault:`, `Guarantee:` and, once for each command, `Run: WHERE FILTER..`, where WHERE is
# `behaviours` (tests/main.rs), `lib` (unit tests of the workspace) or the name of a package that is tested by itself.
# CARGO is the command to build with. To add a fault: change the code, `git diff -U2 >tests/seeded/NN-name.patch`, write
# the header, change the code back.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
check='' keep='' target='' numbers=()
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=1 ;;
        --keep) keep=1 ;;
        --target) target=$2; shift ;;
        [0-9]*) numbers+=("$(printf '%02d' "$((10#$1))")") ;;
        *) echo "run.sh: unknown argument $1; see the head of $0" >&2; exit 2 ;;
    esac
    shift
done

patches() {
    local number
    if [ ${#numbers[@]} -eq 0 ]; then ls "$here"/[0-9]*.patch; return; fi
    for number in "${numbers[@]}"; do ls "$here/$number"-*.patch; done
}

# One line of context must fit: lines may have moved, and neighbours may have changed.
apply() { git apply --recount -C1 "$@"; }

if [ -n "$check" ]; then
    cd "$root"
    wrong=0
    for patch in $(patches); do
        for word in Fault Guarantee Run; do
            grep -q "^$word: ." "$patch" || { echo "${patch#"$root"/}: no line \`$word:\`"; wrong=1; }
        done
        apply --check "$patch" || { echo "${patch#"$root"/}: applies no more; make it anew for the code as it is"; wrong=1; }
    done
    [ $wrong -eq 0 ] && echo "$(patches | wc -l) patches apply"
    exit $wrong
fi
if [ "${MILLSTREAM_SOAK:-}" != 1 ]; then
    echo "run.sh: builds the program once for each fault, which takes hours: say MILLSTREAM_SOAK=1 (or --check)" >&2
    exit 2
fi
# The tests themselves are run in their short form.
unset MILLSTREAM_SOAK

tree=$(mktemp -d "${TMPDIR:-/var/tmp}/millstream-seeded-XXXXXX")
[ -n "$keep" ] || trap 'rm -rf "$tree"' EXIT
git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && xargs -0 ls -d 2>/dev/null) |
    tar -C "$root" --no-recursion -T - -cf - | tar -C "$tree" -xf -
export CARGO_TARGET_DIR=${target:-$tree/target}
mkdir -p "$tree/logs"
cd "$tree"

# A fault may hang a test: that is caught, too, but late.
SECONDS_MAX=1800
run() {
    local where=$1 words=(test --locked)
    shift
    case $where in
        behaviours) words+=(--workspace --test behaviours) ;;
        lib) words+=(--workspace --lib) ;;
        *) words+=(-p "$where") ;;
    esac
    # Unquoted: CARGO may be several words.
    timeout $SECONDS_MAX ${CARGO:-cargo} "${words[@]}" -- "$@"
}

caught=0 survived=0 broken=0
printf '%-42s %-9s %6s  %s\n' fault result seconds 'noticed by'
for patch in $(patches); do
    name=$(basename "$patch" .patch) began=$SECONDS result=survived by=''
    apply "$patch"
    while read -r _ where filters; do
        log="$tree/logs/$name-$where"
        code=0
        # shellcheck disable=SC2086 # the filters are words
        run "$where" $filters </dev/null >"$log" 2>&1 || code=$?
        [ $code -eq 0 ] && continue
        if [ $code -eq 124 ]; then
            result=caught by="a test that hangs ($where)"
        elif grep -q '^test result: FAILED' "$log"; then
            result=caught by=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | head -2 | paste -sd' ')
        else
            # Neither passed nor failed: it does not compile, or a test program died.
            result=broken by="see the log: $(grep -m1 -E '^error' "$log" || tail -1 "$log")"
        fi
        break
    done < <(grep '^Run: ' "$patch")
    apply -R "$patch"
    case $result in
        caught) caught=$((caught + 1)) ;;
        survived) survived=$((survived + 1)) by=$(grep '^Guarantee: ' "$patch") ;;
        broken) broken=$((broken + 1)) ;;
    esac
    printf '%-42s %-9s %6s  %s\n' "$name" "$result" $((SECONDS - began)) "$by"
done
[ -z "$keep" ] || echo "copy and logs: $tree"
[ $broken -eq 0 ] || echo "$broken could not be judged"
echo "$caught caught, $survived survived"
[ $survived -eq 0 ] && [ $broken -eq 0 ]
