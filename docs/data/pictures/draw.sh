#!/bin/sh
# Draws the pictures of the tour from the pages that its commands have written: sh draw.sh FOLDER_OF_THE_TOUR OUT
set -eu
pages=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
command -v chromium >/dev/null || exit 127
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

draw() { # PAGE PICTURE WIDTH,HEIGHT
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch" \
        --window-size="$3" --screenshot="$out/$2" "file://$pages/$1" >/dev/null 2>&1
}

draw sales.html diff.png 1000,880
draw adult.html profile.png 1000,920
draw drift.html drift.png 1000,760
