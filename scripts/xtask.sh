#!/bin/sh
# Builds xtask, the build tool, if it is not up to date, and replaces this process by it:
#
#   scripts/xtask.sh VERB [NAME=value ...]
#
# xtask ends when the process that called this script (make) has ended. If xtask cannot
# be built, cargo prints why, and the exit status is 3.
set -eu
caller=$PPID
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# why_not FOLDER: prints why a file of 1 MiB cannot be written to the folder, or nothing if
# it can be.
why_not() {
    # cargo creates its folders itself, but TMPDIR must exist.
    [ "$1" = "${TMPDIR:-/tmp}" ] || mkdir -p "$1" 2>&1 || return 0
    probe="$1/.tessera-probe-$$"
    { head -c 1048576 /dev/zero >"$probe"; } 2>&1 || true
    rm -f "$probe" 2>/dev/null || true
}

# Prints each folder that cargo needs and that cannot be written.
explain() {
    say "xtask, the build tool, could not be built. The error is above."
    home=${CARGO_HOME:-${HOME:-}/.cargo}
    for place in "target:CARGO_TARGET_DIR:${CARGO_TARGET_DIR:-$PWD/target}" \
        "cargo's downloads:CARGO_HOME or HOME:$home" \
        "temporary files:TMPDIR:${TMPDIR:-/tmp}"; do
        what=${place%%:*} rest=${place#*:}
        folder=${rest#*:}
        reason=$(why_not "$folder")
        [ -z "$reason" ] ||
            say "  $folder ($what) cannot be written: ${reason##*: }. Repair it, or set ${rest%%:*} to a writable folder."
    done
}

cargo=$(scripts/setup.sh cargo)
# Debian's cargo is used with Debian's rustc, even if another rustc is on PATH.
if [ "$cargo" = /usr/bin/cargo ]; then
    unset RUSTUP_TOOLCHAIN
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
fi

# The build's progress is shown only the first time. The build is a command of its own,
# because its failure is explained here, and not that of the run.
quiet=-q
[ -e target/debug/xtask ] || quiet=
if ! "$cargo" build $quiet --manifest-path xtask/Cargo.toml; then
    explain
    exit 3
fi
exec "$cargo" run -q --manifest-path xtask/Cargo.toml -- --child-of="$caller" "$@"
