#!/usr/bin/env bash
# Installs what is missing to build and run Quarrel (`setup.sh run`) or also to test it
# (`setup.sh test`). Says what it installs; where nothing is missing, it changes nothing.
#
# Debian and its likes, as root or with sudo: everything. macOS: Rust. Elsewhere it says what is
# missing. Kept to what bash 3.2, macOS's own, understands.
set -euo pipefail

# The oldest Rust that builds the workspace: rust-version in Cargo.toml.
NEEDED_MINOR=95

have() { command -v "$1" >/dev/null 2>&1; }
say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    fail "root or sudo is needed for: $*"
  fi
}

# Whether a C program can be linked: some crates compile C.
links_c() {
  have cc || return 1
  local folder ok=0
  folder=$(mktemp -d)
  echo 'int main(void) { return 0; }' >"$folder/a.c"
  cc "$folder/a.c" -o "$folder/a" >/dev/null 2>&1 || ok=1
  rm -rf "$folder"
  return "$ok"
}

has_vulkan_loader() {
  local ldconfig=/sbin/ldconfig
  # Read whole: a pipe that closes early would count as a failure.
  case "$("$ldconfig" -p 2>/dev/null)" in *libvulkan.so.1*) return 0 ;; esac
  return 1
}

has_vulkan_driver() {
  [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
  local folder driver
  for folder in /usr/share /usr/local/share /etc "$HOME/.local/share"; do
    for driver in "$folder"/vulkan/icd.d/*.json; do
      [ ! -e "$driver" ] || return 0
    done
  done
  return 1
}

has_pip() {
  python3 -m pip --version >/dev/null 2>&1 || have pip3 || have pip
}

setup_linux() {
  local missing=()
  links_c || missing+=(gcc libc6-dev)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki/tls/certs ] \
    || missing+=(ca-certificates)
  # Fetches Rust.
  new_enough || have rustup || have curl || missing+=(curl)
  # One of the sources of the model is a Python package.
  has_pip || missing+=(python3-pip)
  has_vulkan_loader || missing+=(libvulkan1)
  # Vulkan in software, for machines without a GPU.
  has_vulkan_driver || missing+=(mesa-vulkan-drivers)
  [ "$1" != test ] || has_browser || missing+=(chromium)
  [ "${#missing[@]}" -gt 0 ] || return 0
  have apt-get || fail "missing, under the names that Debian gives them: ${missing[*]}"
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# What the plan's page is tested in.
has_browser() {
  have chromium || have chromium-browser || have google-chrome
}

# Whether cargo runs here and is new enough.
new_enough() {
  local version major minor
  version=$(cargo --version 2>/dev/null) || return 1
  # cargo 1.95.0 (…)
  version=${version#cargo }
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  [ "$major" -gt 1 ] || [ "$minor" -ge "$NEEDED_MINOR" ]
}

setup_rust() {
  new_enough && return
  if have rustup; then
    say "installing Rust's stable toolchain, for this folder"
    rustup toolchain install stable --profile minimal --component rustfmt --component clippy
    rustup override set stable
  else
    say "installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
      | sh -s -- -y --profile minimal --component rustfmt --component clippy
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  new_enough || fail "cargo 1.$NEEDED_MINOR or newer is needed; there is: $(cargo --version)"
}

# What the checks of format and lints need.
setup_checks() {
  local missing=()
  cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
  cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
  [ "${#missing[@]}" -gt 0 ] || return 0
  have rustup || fail "missing: ${missing[*]}"
  say "installing ${missing[*]}"
  rustup component add "${missing[@]}"
}

cd "$(dirname "$0")/.."
case "$(uname -s)" in
  Linux) setup_linux "${1:-run}" ;;
  Darwin) links_c || fail "Apple's command line tools are missing: xcode-select --install" ;;
  *) fail "only Linux and macOS are known here" ;;
esac
setup_rust
case "${1:-run}" in
  run) ;;
  test) setup_checks ;;
  *) fail "usage: setup.sh [run|test]" ;;
esac
