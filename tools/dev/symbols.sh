#!/bin/sh
# tools/dev/symbols.sh BUILD_DIR - no function or object may be defined in two of our libraries: the linker would silently take
# the first for both.
twice=$(nm -A --defined-only "$1"/lib*.a 2>/dev/null | awk 'NF > 2 && $(NF-1) ~ /^[TDBRC]$/ { print $NF }' | sort | uniq -d)
[ -z "$twice" ] && exit 0
echo "symbols: defined in more than one place:" >&2
for s in $twice; do nm -A --defined-only "$1"/lib*.a 2>/dev/null | grep -E " [TDBRC] $s\$" >&2; done
exit 1
