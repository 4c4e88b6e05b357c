#!/usr/bin/env bash
# Installs Debian packages where it may, and says what is missing where it may not.
# Usage: tools/debian_packages.sh COMMAND[,COMMAND...]:PACKAGE:WHAT_FOR ...
# A package is wanted if none of its commands is found; in place of a command, /PATH is a file (or a
# pattern of files) that a package without commands brings. Exit status 0, unless an install fails:
# what needs the package says so itself and is left out.
set -euo pipefail

missing=()
for entry in "$@"; do
    IFS=: read -r commands package purpose <<<"$entry"
    found=no
    for command in ${commands//,/ }; do
        case $command in
            /*) if compgen -G "$command" >/dev/null; then found=yes; fi ;;
            *) if command -v "$command" >/dev/null; then found=yes; fi ;;
        esac
    done
    if [ "$found" = no ]; then
        missing+=("$package")
        echo "missing: $package ($purpose)"
    fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
    echo "not root on a Debian system: what needs these is skipped. To have it, run"
    echo "    sudo apt-get install ${missing[*]}"
    echo "or install the same programs with your system's package manager."
fi
