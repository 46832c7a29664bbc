#!/bin/bash
# pipewire.sh OUT.wav LINE: runs a line for five seconds in a session of its own (D-Bus, PipeWire, WirePlumber) that has one sink of
# three channels, and writes what came out of the sink.
set -eu
out=$1 line=$2
if [ -z "${MICRING_SESSION:-}" ]; then
    MICRING_SESSION=1 exec dbus-run-session -- "$0" "$@" 2>/dev/null
fi
home=$(mktemp -d)
export XDG_RUNTIME_DIR=$home XDG_STATE_HOME=$home HOME=$home
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$home"' EXIT
pipewire &
pids+=($!)
until [ -S "$home/pipewire-0" ]; do sleep 0.1; done
wireplumber &
pids+=($!)
until pw-cli ls Client | grep -q WirePlumber; do sleep 0.1; done
pw-cli create-node adapter '{ factory.name=support.null-audio-sink node.name=sink media.class=Audio/Sink object.linger=true
    audio.position=[AUX0 AUX1 AUX2] audio.channels=3 }' >/dev/null
until pw-link --input | grep -q '^sink:'; do sleep 0.1; done
pw-record --target sink -P '{ stream.capture.sink=true }' --channels 3 --channel-map AUX0,AUX1,AUX2 --rate 48000 --format f32 "$out" &
recorder=$!
until pw-link --links | grep -q '^sink:monitor'; do sleep 0.1; done
timeout 5 bash -c "$line" || true
kill -INT $recorder
wait $recorder || true
