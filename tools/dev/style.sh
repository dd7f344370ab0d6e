#!/bin/sh
# tools/dev/style.sh - the house rules that a script can check. Prints each breach as file:line: rule; exit 1 if there is one.
cd "$(dirname "$0")/../.." || exit 2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
files() { find . \( -path ./build -o -path ./.git \) -prune -o -type f -print | sed 's|^[.]/||' | sort; }
src=$(files | grep -E '[.](c|h|def)$')
say() { sed "s|\$|    <- $1|" >>"$out"; }

# shellcheck disable=SC2086
{
grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|alloca|atoi|atol|atoll|strtok)[[:space:]]*\(' $src | say "use the checked form"
grep -nP '\t' $src | say "four spaces, no tabs"
grep -nE '[[:space:]]+$' $src | say "trailing blanks"
grep -nE '.{121,}' $src | say "longer than 120 columns"
grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $src | say "finish it or say it in an issue"
grep -nE '^typedef struct' $src | say "no typedef for structs"
grep -nE '\bvolatile\b' $src | say "C11 atomics, not volatile"
for f in $src; do
    head -1 "$f" | grep -q '^/\*' || echo "$f:1: no head comment that says what the file is for" >>"$out"
    lines=$(wc -l <"$f")
    [ "$lines" -le 1200 ] || echo "$f:1: $lines lines; split it" >>"$out"
    case $f in *.h) [ "$lines" -le 400 ] || echo "$f:1: $lines lines of header; split it" >>"$out" ;; esac
done
# A function body runs from a '{' in column 1 to a '}' in column 1.
awk '/^\{/ { start = FNR } /^\}/ { if (start && FNR - start > 121) printf "%s:%d: function of %d lines\n", FILENAME, start, FNR - start; start = 0 }' $src >>"$out"
files | grep -E '^tests/.*\.(py|c|sh)$' |
    xargs -r grep -nE '\b(sleep|usleep|nanosleep|time\.sleep)[[:space:]]*\(' | say "tests wait for states; they do not sleep"
}
if [ -s "$out" ]; then
    cat "$out" >&2
    echo "style: $(wc -l <"$out") breaches" >&2
    exit 1
fi
