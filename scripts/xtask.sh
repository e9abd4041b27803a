#!/bin/sh
# Builds xtask, the build tool, where it is not built yet, and becomes it:
#
#   scripts/xtask.sh VERB [NAME=value ...]
#
# It ends when the process that called this script (make) is gone. Where it cannot
# be built, cargo's own words say why, and the exit status is 3.
set -eu
caller=$PPID
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# why_not FOLDER: why no file of 1 MiB can be written there; nothing if it can.
why_not() {
    # cargo makes its own folders.
    [ "$1" = "${TMPDIR:-/tmp}" ] || mkdir -p "$1" 2>&1 || return 0
    probe="$1/.tessera-probe-$$"
    { head -c 1048576 /dev/zero >"$probe"; } 2>&1 || true
    rm -f "$probe" 2>/dev/null || true
}

# Names each folder that cargo needs and cannot write to.
explain() {
    say "xtask, the build tool, cannot be built: see above."
    home=${CARGO_HOME:-${HOME:-}/.cargo}
    for place in "target:CARGO_TARGET_DIR:${CARGO_TARGET_DIR:-$PWD/target}" \
        "cargo's downloads:CARGO_HOME or HOME:$home" \
        "temporary files:TMPDIR:${TMPDIR:-/tmp}"; do
        what=${place%%:*} rest=${place#*:}
        folder=${rest#*:}
        reason=$(why_not "$folder")
        [ -z "$reason" ] ||
            say "  $folder ($what) cannot be written: ${reason##*: }. Mend it, or set ${rest%%:*} to a folder that can."
    done
}

cargo=$(scripts/setup.sh cargo)
# Debian's cargo goes with Debian's rustc, whatever is on PATH.
if [ "$cargo" = /usr/bin/cargo ]; then
    unset RUSTUP_TOOLCHAIN
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
fi

# The build's progress is shown only the first time. `cargo run -q` alone would
# say nothing of a build that fails.
quiet=-q
[ -e target/debug/xtask ] || quiet=
if ! "$cargo" build $quiet --manifest-path xtask/Cargo.toml; then
    explain
    exit 3
fi
exec "$cargo" run -q --manifest-path xtask/Cargo.toml -- --child-of="$caller" "$@"
