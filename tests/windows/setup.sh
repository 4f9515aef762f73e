#!/usr/bin/env bash
# Installs what cross-builds collabd.exe and runs it: Debian's Rust with its source, a C compiler for Windows, wine.
set -euo pipefail
# The three of Rust have to be one version: std is compiled from the source of the compiler that compiles it.
packages=(rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64 wine64)

missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "make windows needs packages of the system. Install them: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
versions=$(dpkg-query --show --showformat='${Version}\n' rustc-web cargo-web rust-web-src | sort -u)
if [ "$(wc -l <<<"$versions")" -ne 1 ]; then
    echo "rustc-web, cargo-web and rust-web-src differ in version: $(tr '\n' ' ' <<<"$versions")" >&2
    exit 1
fi
echo "windows: $(/usr/bin/rustc --version), $(x86_64-w64-mingw32-gcc -dumpfullversion) for C, wine $(dpkg-query --show --showformat='${Version}' wine64)"
