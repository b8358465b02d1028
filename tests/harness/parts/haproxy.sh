#!/usr/bin/env bash
# HAProxy as a reverse proxy before a server of the caller's.
#
#   haproxy.sh fetch              says where it is
#   haproxy.sh start DIR [PORT]   starts it on 127.0.0.1; prints where it answers and, after a comma, where it expects the
#                                 server to which it passes every request
#   haproxy.sh stop DIR           stops it
#   haproxy.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# Programs: haproxy.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PATH=$PATH:/usr/sbin
PORTS=2

fetch() {
    need haproxy haproxy
    command -v haproxy
}

configure() {
    cat >"$1/haproxy.cfg" <<CONF
global
    maxconn 256
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend all
    bind 127.0.0.1:$(port "$1" 1)
    default_backend behind
backend behind
    http-reuse always
    server one 127.0.0.1:$(port "$1" 2)
CONF
}

serve() {
    exec setsid nohup haproxy -db -f "$1/haproxy.cfg"
}

ready() {
    listening "$(port "$1" 1)"
}

address() {
    echo "127.0.0.1:$(port "$1" 1),127.0.0.1:$(port "$1" 2)"
}

main "$@"
