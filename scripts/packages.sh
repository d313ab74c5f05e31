# Sourced by the scripts that install what is missing. Fast and silent about what is there.
#
#   name=setup; . scripts/packages.sh
#   need COMMAND PACKAGE...   asks for the packages when the command is not there
#   install_packages          installs what was asked for: Debian and Ubuntu through apt-get, with sudo when this is not root

# shellcheck shell=bash
packages=()

say() { echo "${name:?}: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

need() {
    local command=$1
    shift
    have "$command" || packages+=("$@")
}

install_packages() {
    ((${#packages[@]})) || return 0
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    local root=()
    if ((EUID != 0)); then
        if ! have sudo; then
            say "missing: ${packages[*]}; this is not root and there is no sudo. Install them and start again."
            exit 1
        fi
        root=(sudo)
    fi
    if ! have apt-get; then
        say "missing (by their Debian names): ${packages[*]}; there is no apt-get here. Install them and start again."
        exit 1
    fi
    say "installing with apt-get: ${packages[*]}"
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

need_rust() {
    have cargo && return
    say "there is no Rust here: install it with rustup (https://rustup.rs) and start again"
    exit 1
}
