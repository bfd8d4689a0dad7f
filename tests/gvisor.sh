#!/bin/sh
# The gVisor under which trials are tested, put into the folder that is named: Debian 13's package, fetched where that
# is allowed and none that is new enough is there. Without one these tests skip, and say so.
set -u

folder=$1
oldest=20240729

new_enough() {
    day=$("$1" --version 2>/dev/null | grep -oE '20[0-9]{6}' | head -n 1)
    [ "${day:-0}" -ge $oldest ]
}

for program in "$folder/runsc" "$(command -v runsc)"; do
    [ -x "$program" ] && new_enough "$program" && exit 0
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if command -v apt-get >/dev/null 2>&1 && [ -r $keys ]; then
    echo "Fetching gVisor, under which trials are tested ..."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 2>/dev/null | awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
    echo "deb [signed-by=$keys] $mirror trixie main" >"$work/sources.list"
    own="-qq -o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache"
    # shellcheck disable=SC2086
    (cd "$work" && apt-get $own update && apt-get $own -o APT::Sandbox::User=root download runsc && dpkg -x runsc_*.deb .) >/dev/null &&
        install -m 755 "$work/usr/bin/runsc" "$folder/runsc" && new_enough "$folder/runsc" && exit 0
fi
echo "No gVisor of $oldest or later, and it cannot be fetched here: tests of trials under it will skip (Debian 13: runsc)." >&2
