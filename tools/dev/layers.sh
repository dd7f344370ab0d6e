#!/bin/sh
# tools/dev/layers.sh LAYER ALLOWED... [-SUBFOLDER...] - every quoted include of LAYER's files must begin with an allowed
# path. Files in SUBFOLDER have a rule of their own and are passed over.
layer=$1
shift
except='^$'
for w; do case $w in -*) except="$except|^${w#-}/" ;; esac; done
allowed=$(printf '%s\n' "$@" | grep -v '^-' | sed 's/[.]/\\./g' | paste -sd'|')
bad=$(find "$layer" -name '*.[ch]' -o -name '*.def' | sort | grep -vE "$except" | xargs -r grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
      grep -vE "\"($allowed)(/|\\.h\"|_)")
if [ -n "$bad" ]; then
    echo "layers: $layer may include only: $*" >&2
    printf '%s\n' "$bad" >&2
    exit 1
fi
