#!/bin/sh
# tools/dev/run.sh BUILD_DIR [klammd options] - what `make run` does once all is built: a broker in the foreground from
# config/server.properties (127.0.0.1:9092, data under build/), and, when it is ready, what to try next. Ctrl-C stops it.
build=$1
shift
mkdir -p build
"$build/klammd" config/server.properties "$@" | while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in
    *"ready in "*)
        printf '\nTry, in two other windows:\n'
        printf '  %s/bin/kafka-console-producer.sh --broker-list localhost:9092 --topic t\n' "$build"
        printf '  %s/bin/kafka-console-consumer.sh --bootstrap-server localhost:9092 --topic t --from-beginning\n\n' "$build"
        ;;
    esac
done
