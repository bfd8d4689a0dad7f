#!/bin/sh
# The browser in which the report is tested: Debian's Chromium, installed where that is allowed. Without one these tests skip, and
# say so; where CI is set they fail.
set -u

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "Installing Chromium, in which the report is tested ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
echo "No Chromium, and it cannot be installed here: tests of the report in a browser will skip (apt-get install chromium)." >&2
