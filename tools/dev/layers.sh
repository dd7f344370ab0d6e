#!/bin/sh
# tools/dev/layers.sh LAYER ALLOWED... - every quoted include of LAYER's files must begin with an allowed path.
layer=$1
shift
allowed=$(printf '%s\n' "$@" | sed 's/[.]/\\./g' | paste -sd'|')
bad=$(find "$layer" -name '*.[ch]' -o -name '*.def' | sort | xargs -r grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
      grep -vE "\"($allowed)(/|\\.h\"|_)")
if [ -n "$bad" ]; then
    echo "layers: $layer may include only: $*" >&2
    printf '%s\n' "$bad" >&2
    exit 1
fi
