#!/bin/sh
# Installs the programs that a verb needs, unless they are on this computer already.
#
#   scripts/setup.sh ITEM...
#
# ITEM is one of
#   cargo              a cargo that can build xtask, and a C linker for it
#   toolchain:TARGET   a compiler with `core` and `alloc` for a bare target
#   qemu:ARCH          qemu-system-ARCH, new enough
#   clippy, rustfmt    the linter (of host programs) and the formatter
#   clippy:TARGET      the linter of the toolchain that serves TARGET
#   gdb                gdb-multiarch, which knows several architectures
#   valgrind           valgrind, which counts instructions of host programs
#   fuzz               a nightly Rust with cargo-fuzz, and a C++ compiler
#   miri               a nightly Rust with Miri
#
# For each item, a line on standard output says what provides it:
#   cargo              the cargo to call: `cargo`, or `/usr/bin/cargo`, which is
#                      Debian's and must be called with Debian's rustc
#   toolchain:TARGET   `std` (the toolchain on PATH has the target) or
#                      `build-std` (Debian's, which builds it from source)
#   clippy, clippy:TARGET, rustfmt    `path` (on PATH) or `debian` (in /usr/bin)
#   all others         `ok`
# Messages go to standard error. If no item is missing, the script prints no message,
# installs nothing and does not use the network. Otherwise it lists what is missing,
# with the error message of each program that is installed but fails, and installs it.
# If that is not possible, it prints the commands that would do it, and exits with
# status 3.
set -eu

QEMU_LEAST=9.0
here=$(cd "$(dirname "$0")/.." && pwd)
RUST_LEAST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
: "${RUST_LEAST:=1.85}"

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least FOUND LEAST: whether a version is LEAST or newer.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# version_of COMMAND...: prints the first version number in the output of --version.
version_of() {
    "$@" --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9][0-9.]*\).*/\1/p'
}

is_new_rust() { at_least "$(version_of "$1")" "$RUST_LEAST"; }

# The rustc that a cargo on PATH calls.
path_rustc=${RUSTC:-rustc}

# error_of COMMAND...: prints the output of the program if it is installed but fails.
error_of() {
    have "$1" || return 0
    output=$(RUST_BACKTRACE=0 "$@" 2>&1) || printf '%s: %s\n' "$1" "$output"
}

# --- What provides each item; these functions fail if it is missing ----------

cargo_now() {
    have cc || return 1
    if is_new_rust cargo && is_new_rust "$path_rustc"; then
        echo cargo
    elif is_new_rust /usr/bin/cargo && is_new_rust /usr/bin/rustc; then
        errors=$(rust_errors)
        [ -z "$errors" ] || say "$errors
The Rust toolchain on PATH fails, so Debian's is used: /usr/bin/cargo."
        echo /usr/bin/cargo
    else
        return 1
    fi
}

rust_errors() {
    errors=$(error_of cargo --version)
    [ -n "$errors" ] || errors=$(error_of "$path_rustc" --version)
    [ -z "$errors" ] || printf '%s\n' "$errors"
}

# has_std TARGET: whether the toolchain on PATH has the target's library.
has_std() {
    is_new_rust "$path_rustc" || return 1
    libdir=$("$path_rustc" --print target-libdir --target "$1" 2>/dev/null) || return 1
    set -- "$libdir"/libcore-*.rlib
    [ -e "$1" ]
}

# Whether Debian's compiler is installed, with the library's source and a linker.
has_build_std() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && have rust-lld || return 1
    [ -d /usr/lib/rustlib/src/rust/library/core ] || return 1
    [ "$(/usr/bin/rustc --print sysroot 2>/dev/null)" = /usr ] || return 1
    at_least "$(version_of /usr/bin/rustc)" "$RUST_LEAST"
}

toolchain_now() {
    if has_std "$1"; then
        echo std
    elif has_build_std; then
        echo build-std
    else
        return 1
    fi
}

toolchain_words() {
    case $(provider "$1") in
    std) echo "the one on PATH, $(rustc --version)" ;;
    *) echo "Debian's, $(/usr/bin/rustc --version), which builds core and alloc from source" ;;
    esac
}

qemu_now() {
    have "qemu-system-$1" && at_least "$(version_of "qemu-system-$1")" "$QEMU_LEAST" || return 1
    # Debian has riscv64's firmware in a package of its own. Other QEMUs include it.
    if [ "$1" = riscv64 ] && [ "$(command -v qemu-system-riscv64)" = /usr/bin/qemu-system-riscv64 ] && have dpkg; then
        [ -e /usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin ] || return 1
    fi
    echo ok
}

# rustup has a proxy on PATH also for a component that is not installed, so the program is
# run.
component_now() {
    if "$1" --version >/dev/null 2>&1; then
        echo path
    elif "/usr/bin/$1" --version >/dev/null 2>&1; then
        echo debian
    else
        return 1
    fi
}

clippy_now() {
    if has_std "$1"; then
        cargo-clippy --version >/dev/null 2>&1 && echo path
    else
        /usr/bin/cargo-clippy --version >/dev/null 2>&1 && echo debian
    fi
}

gdb_now() {
    have gdb-multiarch && echo ok
}

valgrind_now() {
    have valgrind && echo ok
}

nightly() { have rustup && rustup run nightly "$@" 2>/dev/null; }

fuzz_now() {
    have c++ && nightly rustc --version >/dev/null && nightly cargo fuzz --version >/dev/null && echo ok
}

# Miri builds the standard library from its source.
miri_now() {
    nightly cargo miri --version >/dev/null || return 1
    [ -d "$(nightly rustc --print sysroot)/lib/rustlib/src/rust/library/core" ] && echo ok
}

# provider ITEM: prints what provides the item; fails if it is missing.
provider() {
    case $1 in
    cargo) cargo_now ;;
    toolchain:*) toolchain_now "${1#toolchain:}" ;;
    qemu:*) qemu_now "${1#qemu:}" ;;
    clippy) component_now cargo-clippy ;;
    clippy:*) clippy_now "${1#clippy:}" ;;
    rustfmt) component_now rustfmt ;;
    gdb) gdb_now ;;
    valgrind) valgrind_now ;;
    fuzz) fuzz_now ;;
    miri) miri_now ;;
    *) say "setup.sh: $1: unknown item; the head of scripts/setup.sh lists the valid ones"; exit 2 ;;
    esac
}

# errors_of ITEM: prints the errors of its programs that are installed but fail.
errors_of() {
    case $1 in
    cargo) rust_errors; error_of cc --version ;;
    toolchain:*) rust_errors ;;
    clippy*) error_of cargo-clippy --version ;;
    rustfmt) error_of rustfmt --version ;;
    qemu:*) error_of "qemu-system-${1#qemu:}" --version ;;
    fuzz | miri) error_of rustup --version ;;
    esac
}

# --- Installing --------------------------------------------------------------

# Finds out how to run a command as root, and sets `root`: `run` (this is root), `sudo`, or
# `no`.
find_root() {
    if [ "$(id -u)" = 0 ]; then
        root=run
    elif have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        root=sudo
    else
        root=no
    fi
}

# as_root COMMAND...: prints the command, and runs it as root. Without root it is only
# printed.
as_root() {
    case $root in
    no) say "    $*" ;;
    run) say "+ $*"; "$@" >&2 ;;
    sudo) say "+ sudo $*"; sudo "$@" >&2 ;;
    esac
}

# as_root_write FILE TEXT: writes a file as root. Without root the command is only printed.
as_root_write() {
    case $root in
    no) say "    printf '$2\\n' > $1" ;;
    run) say "+ write $1: $2"; printf "$2\\n" >"$1" ;;
    sudo) say "+ sudo tee $1: $2"; printf "$2\\n" | sudo tee "$1" >/dev/null ;;
    esac
}

apt() {
    if [ "$root" = no ]; then
        say "    apt-get $*"
        return
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@"
}

# candidate PACKAGE: prints the version that apt would install.
candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null |
        sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}\([0-9][0-9.]*\).*/\2/p'
}

# Prints the suffix of this release's Rust packages. Some Debian releases have a newer
# compiler beside their own, to build browsers: its packages have the suffix `-web`.
rust_flavour() {
    if ! at_least "$(candidate rustc-web)" "$RUST_LEAST" &&
        at_least "$(candidate rustc)" "$RUST_LEAST"; then
        echo ""
    else
        echo "-web"
    fi
}

# lld_package PACKAGE: prints the package of the linker of the LLVM that the compiler uses.
lld_package() {
    llvm=$(LC_ALL=C apt-cache depends "$1" 2>/dev/null | sed -n 's/.*Depends: llvm-\([0-9]*\)$/\1/p' | head -n 1)
    [ -n "$llvm" ] || llvm=$(LC_ALL=C apt-cache search '^lld-[0-9]+$' 2>/dev/null |
        sed -n 's/^lld-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1)
    [ -z "$llvm" ] || echo "lld-$llvm"
}

# rust_packages ITEM: prints the packages of an item that belongs to Rust. The suffix of the
# release is behind the first word of a name: rustc-web, rust-web-src.
rust_packages() {
    flavour=$(rust_flavour)
    case $1 in
    cargo) echo "gcc libc6-dev rustc$flavour cargo$flavour" ;;
    toolchain:*) echo "rustc$flavour cargo$flavour rust$flavour-src rust$flavour-llvm $(lld_package "rust$flavour-llvm")" ;;
    clippy*) echo "rust$flavour-clippy" ;;
    rustfmt) echo "rustfmt$flavour" ;;
    esac
}

# qemu_packages ARCH: prints the packages of a machine's QEMU and firmware.
qemu_packages() {
    case $1 in
    riscv64)
        if [ -n "$(candidate qemu-system-riscv)" ] || [ "$root" = no ]; then
            echo "qemu-system-riscv opensbi"
        else
            echo "qemu-system-misc opensbi"
        fi ;;
    x86_64) echo "qemu-system-x86 seabios ipxe-qemu" ;;
    aarch64) echo "qemu-system-arm ipxe-qemu" ;;
    loongarch64) echo "qemu-system-misc" ;;
    esac
}

# release_source RELEASE: prints "URI SIGNED-BY" of the apt source that has the release, from
# files in either of apt's two formats. Prints nothing if there is no such source.
release_source() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        found=$(awk -v suite="$1" '
            function flush(    i) {
                if (ours && uri != "" && binary && !off && !found) { print uri, key; found = 1 }
                uri = ""; key = ""; ours = 0; binary = 0; off = 0
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            tolower($1) == "types:" { for (i = 2; i <= NF; i++) if ($i == "deb") binary = 1 }
            tolower($1) == "uris:" { uri = $2 }
            tolower($1) == "suites:" { for (i = 2; i <= NF; i++) if ($i == suite) ours = 1 }
            tolower($1) == "signed-by:" { key = $2 }
            tolower($1) == "enabled:" && tolower($2) == "no" { off = 1 }
            END { flush() }' "$file")
        [ -z "$found" ] || { echo "$found"; return 0; }
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] || continue
        found=$(awk -v suite="$1" '
            $1 == "deb" {
                key = ""; i = 2
                if (substr($2, 1, 1) == "[") {
                    for (; i <= NF; i++) {
                        word = $i
                        gsub(/[][]/, "", word)
                        if (word ~ /^signed-by=/) key = substr(word, 11)
                        if ($i ~ /\]$/) { i++; break }
                    }
                }
                if ($i !~ /^cdrom:/ && $(i + 1) == suite && !found) { print $i, key; found = 1 }
            }' "$file")
        [ -z "$found" ] || { echo "$found"; return 0; }
    done
}

# Makes sure that apt can install a QEMU that is new enough, and sets `qemu_from` to the
# options that apt needs for it. Older Debian releases have one in their backports.
find_qemu() {
    qemu_from=""
    at_least "$(candidate qemu-system-misc)" "$QEMU_LEAST" && return 0
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    system=$(. /etc/os-release && echo "${ID:-}")
    backports="$release-backports"
    if [ "$system" != debian ] || [ -z "$release" ]; then
        say "This release's QEMU is $(candidate qemu-system-misc), but $QEMU_LEAST or newer is needed. Please install one by hand."
        return 1
    fi
    qemu_from="-t $backports"
    LC_ALL=C apt-cache policy 2>/dev/null | grep -q "n=$backports" && return 0

    set -- $(release_source "$release")
    if [ $# = 0 ]; then
        say "No apt source for $release was found. Please add $backports by hand, then repeat."
        return 1
    fi
    say "$release's QEMU is older than $QEMU_LEAST. $backports has a newer one, so it is added as an"
    say "apt source. Other packages are not taken from it unless you ask for that:"
    if [ $# = 2 ]; then signed="Signed-By: $2\\n"; else signed=""; fi
    as_root_write "/etc/apt/sources.list.d/$backports.sources" \
        "Types: deb\\nURIs: $1\\nSuites: $backports\\nComponents: main\\n$signed"
    apt update || say "(apt-get update failed; continuing with the package lists that are here)"
}

# try_rustup TARGET: adds a target by rustup. Fails silently without rustup.
try_rustup() {
    have rustup && have cargo && at_least "$(version_of cargo)" "$RUST_LEAST" || return 1
    say "+ rustup target add $1"
    rustup target add "$1" >&2
}

try_rustup_component() {
    have rustup || return 1
    say "+ rustup component add $1"
    rustup component add "$1" >&2
}

# Installs what fuzzing needs by rustup and cargo. A C++ compiler must be there already.
try_fuzz() {
    have rustup || return 1
    if ! nightly rustc --version >/dev/null; then
        say "+ rustup toolchain install nightly --profile minimal"
        rustup toolchain install nightly --profile minimal >&2 || return 1
    fi
    if ! nightly cargo fuzz --version >/dev/null; then
        say "+ rustup run nightly cargo install cargo-fuzz --locked"
        rustup run nightly cargo install cargo-fuzz --locked >&2 || return 1
    fi
    fuzz_now >/dev/null
}

try_miri() {
    have rustup || return 1
    nightly rustc --version >/dev/null && set -- component add --toolchain nightly miri rust-src ||
        set -- toolchain install nightly --profile minimal --component miri --component rust-src
    say "+ rustup $*"
    rustup "$@" >&2 || return 1
    miri_now >/dev/null
}

miri_by_hand() {
    say "Miri needs a nightly Rust, which only rustup has. Please install by hand, then repeat:"
    have rustup || say "    rustup, from https://rustup.rs"
    say "    rustup toolchain install nightly --component miri --component rust-src"
    exit 3
}

fuzz_by_hand() {
    say "Fuzzing needs a nightly Rust, which only rustup has, and cargo-fuzz. Please install by hand, then repeat:"
    have rustup || say "    rustup, from https://rustup.rs"
    nightly rustc --version >/dev/null || say "    rustup toolchain install nightly"
    nightly cargo fuzz --version >/dev/null || say "    cargo install cargo-fuzz"
    have c++ || say "    a C++ compiler (g++ or clang++)"
    exit 3
}

# words_for ITEM: prints the item in words, for a message.
words_for() {
    case $1 in
    cargo) if at_least "$(version_of cargo)" "$RUST_LEAST"; then
            echo "a C compiler, for its linker"
        else
            echo "Rust $RUST_LEAST or newer, and a C compiler"
        fi ;;
    toolchain:*) echo "Rust's library for ${1#toolchain:}" ;;
    clippy*) echo "clippy" ;;
    rustfmt) echo "rustfmt" ;;
    qemu:*) echo "qemu-system-${1#qemu:} $QEMU_LEAST or newer" ;;
    gdb) echo "gdb-multiarch" ;;
    valgrind) echo "valgrind" ;;
    fuzz) echo "a nightly Rust with cargo-fuzz, and a C++ compiler" ;;
    miri) echo "a nightly Rust with Miri" ;;
    esac
}

# by_hand ITEM...: prints how to install items without apt-get.
by_hand() {
    say "This computer has no apt-get, so nothing was installed. Please install by hand, then repeat:"
    for item in "$@"; do
        case $item in
        cargo) say "    cc (gcc or clang), and: rustup toolchain install stable" ;;
        toolchain:*) say "    rustup target add ${item#toolchain:}" ;;
        clippy*) say "    rustup component add clippy" ;;
        rustfmt) say "    rustup component add rustfmt" ;;
        *) say "    $(words_for "$item")" ;;
        esac
    done
}

# Installs what rustup can, since that needs no root. Sets `missing` to the other items.
install_by_rustup() {
    left=""
    for item in $missing; do
        case $item in
        toolchain:*) try_rustup "${item#toolchain:}" || left="$left $item" ;;
        clippy:*) has_std "${item#clippy:}" && try_rustup_component clippy || left="$left $item" ;;
        clippy | rustfmt) try_rustup_component "$item" || left="$left $item" ;;
        fuzz) try_fuzz || fuzz_by_hand ;;
        miri) try_miri || miri_by_hand ;;
        *) left="$left $item" ;;
        esac
    done
    missing=$left
}

# apt_failed WORD...: reports that apt-get could not install these packages, and exits.
apt_failed() {
    say "apt-get could not install that; its error is above. Repeat when it can, or type as root:"
    say "    apt-get install --no-install-recommends $*"
    exit 3
}

install_by_apt() {
    if ! have apt-get; then
        by_hand $missing
        exit 3
    fi
    find_root
    if [ "$root" = no ]; then
        say "Nothing was installed, because this is not root and sudo cannot be used. Please run as root, then repeat:"
    fi
    [ "$root" = no ] || say "Installing it by apt-get:"
    apt update || say "(apt-get update failed; continuing with the package lists that are here)"

    plain="" qemus=""
    for item in $missing; do
        case $item in
        qemu:*) qemus="$qemus $(qemu_packages "${item#qemu:}")" ;;
        gdb) plain="$plain gdb-multiarch" ;;
        valgrind) plain="$plain valgrind" ;;
        cargo) if at_least "$(version_of cargo)" "$RUST_LEAST"; then
                plain="$plain gcc libc6-dev"
            else
                plain="$plain $(rust_packages cargo)"
            fi ;;
        *) plain="$plain $(rust_packages "$item")" ;;
        esac
    done
    if [ -n "$plain" ]; then
        plain=$(printf '%s\n' $plain | sort -u)
        apt install --no-install-recommends $plain || apt_failed $plain
    fi
    if [ -n "$qemus" ]; then
        find_qemu || exit 3
        qemus=""
        for item in $missing; do
            case $item in qemu:*) qemus="$qemus $(qemu_packages "${item#qemu:}")" ;; esac
        done
        qemus=$(printf '%s\n' $qemus | sort -u)
        apt install --no-install-recommends $qemu_from $qemus || apt_failed $qemu_from $qemus
    fi
    [ "$root" != no ] || exit 3
}

# --- All items ---------------------------------------------------------------

missing="" providers=""
for item in "$@"; do
    if found=$(provider "$item"); then
        providers="$providers$found
"
    else
        missing="$missing $item"
    fi
done

if [ -n "$missing" ]; then
    root=run
    say "Missing on this computer:"
    for item in $missing; do
        say "  - $(words_for "$item")"
        errors_of "$item" | sed 's/^/    | /' >&2
    done
    wanted=$missing
    install_by_rustup
    [ -z "$missing" ] || install_by_apt
    providers=""
    for item in "$@"; do
        if found=$(provider "$item"); then
            providers="$providers$found
"
        else
            say "The set-up ended without an error, but $item is still missing:"
            errors_of "$item" | sed 's/^/    | /' >&2
            say "Please install it by hand, then repeat."
            exit 3
        fi
    done
    for item in $wanted; do
        case $item in
        toolchain:*) say "Toolchain for ${item#toolchain:}: $(toolchain_words "$item")" ;;
        esac
    done
    say "Set-up is complete."
fi
printf '%s' "$providers"
