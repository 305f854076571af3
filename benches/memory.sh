#!/usr/bin/env bash
# Streams bars in and out (5,000,000 unless told otherwise) and fails where that takes 200 MB or more.
# Needs /usr/bin/time (Debian's package time). PROFILE is cargo's (release).
set -euo pipefail
cd "$(dirname "$0")/.."
limit_kb=200000
count=${1:-5000000}
measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
profile=${PROFILE:-release}
cargo build --profile "$profile" --locked -p buffetbot-db --example stream_millions
[ "$profile" = dev ] && folder=debug || folder=$profile
/usr/bin/time -v -o "$measured" "${CARGO_TARGET_DIR:-target}/$folder/examples/stream_millions" "$count"
peak=$(awk -F': ' '/Maximum resident set size/ { print $2 }' "$measured")
echo "maximum resident set size: $peak kB (limit $limit_kb kB)"
[ "$peak" -lt "$limit_kb" ]
