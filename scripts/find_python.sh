#!/bin/sh
# Usage: find_python.sh 3.13 [CANDIDATE ...]
# Prints the first interpreter of exactly this version that can make environments; exit status 1 if there is none.
version=$1
shift
for candidate in "$@" "python$version" "$(pyenv root 2>/dev/null)/versions/$version".*/bin/python; do
    if "$candidate" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
        echo "$candidate"
        exit 0
    fi
done
exit 1
