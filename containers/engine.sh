#!/bin/sh
# Make sure that a Docker Engine answers: use the one that runs, start the one that is installed, or install Debian's.
# Safe to run at any time; says in one sentence what to do where it may not act itself.
set -eu

log=${BELLJAR_DOCKERD_LOG:-/var/log/belljar-dockerd.log}
pidfile=/var/run/docker.pid

answers() { docker info >/dev/null 2>&1; }

stop_with() { echo "$1" >&2; exit 3; }

missing() {
    for tool in dockerd mmdebstrap ip nft; do
        command -v "$tool" >/dev/null 2>&1 || echo "$tool"
    done
}

install_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        stop_with "Docker Engine is not running and this is not Debian or Ubuntu: install Docker Engine and start it, then run this again."
    echo "Installing Docker Engine and what builds images (docker.io, mmdebstrap, iproute2, nftables) ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends docker.io mmdebstrap iproute2 nftables ca-certificates >/dev/null
}

runs() { # a killed process that nobody has waited for yet still has its name
    [ -n "$2" ] && [ "$(cat "/proc/$2/comm" 2>/dev/null || true)" = "$1" ] &&
        ! grep -q '^State:[[:space:]]*Z' "/proc/$2/status" 2>/dev/null
}

forget() { # program, pid file
    [ -f "$2" ] || return 0
    runs "$1" "$(cat "$2" 2>/dev/null || true)" || rm -f "$2"
}

forget_dead_daemon() {
    forget dockerd "$pidfile"
    forget containerd /var/run/docker/containerd/containerd.pid
}

start_daemon() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
    else
        forget_dead_daemon
        echo "Starting dockerd in the background (log: $log) ..."
        nohup setsid dockerd >"$log" 2>&1 </dev/null &
    fi
}

wait_for_daemon() {
    for _ in $(seq 1 120); do
        answers && return 0
        sleep 0.5
    done
    tail -n 5 "$log" >&2 2>/dev/null || true
    stop_with "The Docker daemon did not answer within 60 seconds; its log is $log."
}

if answers && [ -z "$(missing)" ]; then exit 0; fi
if [ "$(id -u)" -ne 0 ]; then
    if answers; then exit 0; fi
    if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
        stop_with "You have no rights to the Docker socket: run as root, or 'sudo usermod -aG docker $(id -un)' and log in again."
    fi
    stop_with "No Docker daemon answers: as root run 'apt-get install docker.io mmdebstrap iproute2 nftables' and start it ('systemctl start docker' or 'dockerd &')."
fi
if [ -n "$(missing)" ]; then install_packages; fi
answers || { start_daemon; wait_for_daemon; }
