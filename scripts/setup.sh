#!/bin/sh
# Sees to it that what a verb needs is on this machine.
#
#   scripts/setup.sh ITEM...
#
# ITEM is one of
#   cargo              a cargo that can build xtask, and a C linker for it
#   toolchain:TARGET   a compiler with `core` and `alloc` for a bare target
#   qemu:ARCH          qemu-system-ARCH, new enough
#   clippy, rustfmt    the linter (of host programs) and the formatter
#   clippy:TARGET      the linter of the toolchain that serves TARGET
#   gdb                a debugger that knows all four architectures
#   valgrind           what counts instructions of host programs
#   fuzz               a nightly Rust with cargo-fuzz, and a C++ compiler
#   miri               a nightly Rust with Miri
#
# One line an item on standard output tells which one serves:
#   cargo              the cargo to call: `cargo`, or `/usr/bin/cargo`, which is
#                      Debian's and to be called with Debian's rustc
#   toolchain:TARGET   `std` (the toolchain on PATH has the target) or
#                      `build-std` (Debian's, which builds it from source)
#   clippy, clippy:TARGET, rustfmt    `path` or `debian`
#   the others         `ok`
# All else that is said goes to standard error. Where everything is there,
# nothing is said, nothing is installed and no network is touched. What is
# missing is named first, with the words of a program that is there and fails,
# and then installed. Where that is not possible, the commands that would do it
# are printed, and the exit status is 3.
set -eu

QEMU_LEAST=9.0
here=$(cd "$(dirname "$0")/.." && pwd)
RUST_LEAST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
: "${RUST_LEAST:=1.85}"

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least FOUND LEAST: versions as a person compares them.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The first version number in a program's answer to --version.
version_of() {
    "$@" --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9][0-9.]*\).*/\1/p'
}

is_new_rust() { at_least "$(version_of "$1")" "$RUST_LEAST"; }

# The rustc that a cargo on PATH calls.
path_rustc=${RUSTC:-rustc}

# complaint COMMAND...: prints what the program says if it is there and fails.
complaint() {
    have "$1" || return 0
    words=$(RUST_BACKTRACE=0 "$@" 2>&1) || printf '%s: %s\n' "$1" "$words"
}

# --- What serves each item; fails if nothing does ---------------------------

cargo_now() {
    have cc || return 1
    if is_new_rust cargo && is_new_rust "$path_rustc"; then
        echo cargo
    elif is_new_rust /usr/bin/cargo && is_new_rust /usr/bin/rustc; then
        words=$(rust_complaints)
        [ -z "$words" ] || say "$words
The Rust on PATH fails; Debian's is taken, /usr/bin/cargo."
        echo /usr/bin/cargo
    else
        return 1
    fi
}

rust_complaints() {
    words=$(complaint cargo --version)
    [ -n "$words" ] || words=$(complaint "$path_rustc" --version)
    [ -z "$words" ] || printf '%s\n' "$words"
}

# The toolchain on PATH has the target's std.
has_std() {
    is_new_rust "$path_rustc" || return 1
    libdir=$("$path_rustc" --print target-libdir --target "$1" 2>/dev/null) || return 1
    set -- "$libdir"/libcore-*.rlib
    [ -e "$1" ]
}

# Debian's compiler, with the library's source and a linker.
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
    case $(serves "$1") in
    std) echo "the one on PATH, $(rustc --version)" ;;
    *) echo "Debian's, $(/usr/bin/rustc --version), building core and alloc from source" ;;
    esac
}

qemu_now() {
    have "qemu-system-$1" && at_least "$(version_of "qemu-system-$1")" "$QEMU_LEAST" || return 1
    # Debian packs riscv64's firmware apart. Where QEMU came another way, it has it.
    if [ "$1" = riscv64 ] && [ "$(command -v qemu-system-riscv64)" = /usr/bin/qemu-system-riscv64 ] && have dpkg; then
        [ -e /usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin ] || return 1
    fi
    echo ok
}

# rustup puts a proxy on PATH for a component that it has not got.
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

# Miri builds the library that it runs programs with from its source.
miri_now() {
    nightly cargo miri --version >/dev/null || return 1
    [ -d "$(nightly rustc --print sysroot)/lib/rustlib/src/rust/library/core" ] && echo ok
}

serves() {
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
    *) say "setup.sh: no such item: $1"; exit 2 ;;
    esac
}

# complaints ITEM: what the programs say that are there for it and fail.
complaints() {
    case $1 in
    cargo) rust_complaints; complaint cc --version ;;
    toolchain:*) rust_complaints ;;
    clippy*) complaint cargo-clippy --version ;;
    rustfmt) complaint rustfmt --version ;;
    qemu:*) complaint "qemu-system-${1#qemu:}" --version ;;
    fuzz | miri) complaint rustup --version ;;
    esac
}

# --- Installing --------------------------------------------------------------

# How to become root: sets `root` to run, sudo or no.
find_root() {
    if [ "$(id -u)" = 0 ]; then
        root=run
    elif have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        root=sudo
    else
        root=no
    fi
}

# As root: shown, then done; where root is not to be had, only shown.
as_root() {
    case $root in
    no) say "    $*" ;;
    run) say "+ $*"; "$@" >&2 ;;
    sudo) say "+ sudo $*"; sudo "$@" >&2 ;;
    esac
}

# as_root_write FILE TEXT
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

# The version that apt would install of a package.
candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null |
        sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}\([0-9][0-9.]*\).*/\2/p'
}

# The Rust packages of this release: `-web` where a newer compiler is kept
# beside the release's own (for the browsers), else the release's own.
rust_flavour() {
    if ! at_least "$(candidate rustc-web)" "$RUST_LEAST" &&
        at_least "$(candidate rustc)" "$RUST_LEAST"; then
        echo ""
    else
        echo "-web"
    fi
}

# The linker's package follows the LLVM that the compiler is built with.
lld_package() {
    llvm=$(LC_ALL=C apt-cache depends "$1" 2>/dev/null | sed -n 's/.*Depends: llvm-\([0-9]*\)$/\1/p' | head -n 1)
    [ -n "$llvm" ] || llvm=$(LC_ALL=C apt-cache search '^lld-[0-9]+$' 2>/dev/null |
        sed -n 's/^lld-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1)
    [ -z "$llvm" ] || echo "lld-$llvm"
}

# The packages of an item of the Rust world. A package that was renamed with a
# flavour has it behind its first word: rustc-web, rust-web-src.
rust_packages() {
    flavour=$(rust_flavour)
    case $1 in
    cargo) echo "gcc libc6-dev rustc$flavour cargo$flavour" ;;
    toolchain:*) echo "rustc$flavour cargo$flavour rust$flavour-src rust$flavour-llvm $(lld_package "rust$flavour-llvm")" ;;
    clippy*) echo "rust$flavour-clippy" ;;
    rustfmt) echo "rustfmt$flavour" ;;
    esac
}

# qemu_packages ARCH
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

# "URI SIGNED-BY" of the source that this machine has the release from, in
# either of apt's two formats; nothing if none is found.
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

# Makes a QEMU that is new enough installable: sets `qemu_from` to the options
# that apt needs for it. Older Debian releases have one in their backports.
find_qemu() {
    qemu_from=""
    at_least "$(candidate qemu-system-misc)" "$QEMU_LEAST" && return 0
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    system=$(. /etc/os-release && echo "${ID:-}")
    backports="$release-backports"
    if [ "$system" != debian ] || [ -z "$release" ]; then
        say "This release's QEMU is $(candidate qemu-system-misc), older than $QEMU_LEAST: install a newer one by hand."
        return 1
    fi
    qemu_from="-t $backports"
    LC_ALL=C apt-cache policy 2>/dev/null | grep -q "n=$backports" && return 0

    set -- $(release_source "$release")
    if [ $# = 0 ]; then
        say "No apt source for $release found here: add $backports by hand, then repeat."
        return 1
    fi
    say "$release's QEMU is older than $QEMU_LEAST; $backports has a newer one. With it as an apt source,"
    say "only packages asked for from it are taken from there:"
    if [ $# = 2 ]; then signed="Signed-By: $2\\n"; else signed=""; fi
    as_root_write "/etc/apt/sources.list.d/$backports.sources" \
        "Types: deb\\nURIs: $1\\nSuites: $backports\\nComponents: main\\n$signed"
    apt update || say "(apt-get update failed; going on with the lists that are here)"
}

# A target's std by rustup, where rustup is. Quietly fails where it can't.
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

# All that fuzzing takes but a C++ compiler comes by rustup and cargo.
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
    say "Miri takes a nightly Rust, which only rustup has. Please install by hand, then repeat:"
    have rustup || say "    rustup, from https://rustup.rs"
    say "    rustup toolchain install nightly --component miri --component rust-src"
    exit 3
}

fuzz_by_hand() {
    say "Fuzzing takes a nightly Rust, which only rustup has, and cargo-fuzz. Please install by hand, then repeat:"
    have rustup || say "    rustup, from https://rustup.rs"
    nightly rustc --version >/dev/null || say "    rustup toolchain install nightly"
    nightly cargo fuzz --version >/dev/null || say "    cargo install cargo-fuzz"
    have c++ || say "    a C++ compiler (g++ or clang++)"
    exit 3
}

# What an item is, in words.
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

by_hand() {
    say "This machine has no apt-get, so nothing was installed. Please install by hand, then repeat:"
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

# What rustup can bring without root is tried first: sets `missing` to the rest.
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

# apt_failed WORD...: what apt-get was to install.
apt_failed() {
    say "apt-get could not install that; its own words are above. When it can, repeat, or type as root:"
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
        say "No root here and no sudo, so nothing was installed. Please run as root, then repeat:"
    fi
    [ "$root" = no ] || say "Installing it with apt-get, once:"
    apt update || say "(apt-get update failed; going on with the lists that are here)"

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

missing="" answers=""
for item in "$@"; do
    if answer=$(serves "$item"); then
        answers="$answers$answer
"
    else
        missing="$missing $item"
    fi
done

if [ -n "$missing" ]; then
    root=run
    say "Missing on this machine:"
    for item in $missing; do
        say "  - $(words_for "$item")"
        complaints "$item" | sed 's/^/    | /' >&2
    done
    wanted=$missing
    install_by_rustup
    [ -z "$missing" ] || install_by_apt
    answers=""
    for item in "$@"; do
        if answer=$(serves "$item"); then
            answers="$answers$answer
"
        else
            say "Set-up ran through, and yet there is no $item:"
            complaints "$item" | sed 's/^/    | /' >&2
            say "Please mend that by hand, then repeat."
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
printf '%s' "$answers"
