#!/bin/bash
# Exits 0 if GET /healthz answers 200. The image has no curl; bash can speak HTTP by itself.
# `kakitome status` is no substitute: it needs a key, reads the whole state, and is well while the worker is not.
set -u
listen="${KAKITOME_LISTEN:-127.0.0.1:7625}"
port="${listen##*:}"
answer="$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit
    printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    IFS= read -r -t 4 line <&3 && printf '%s' "$line"
)"
case "$answer" in
    "HTTP/1.1 200 "*) exit 0 ;;
    *)
        echo "/healthz: ${answer:-no answer}" >&2
        exit 1
        ;;
esac
