#!/usr/bin/env bash
# nginx as a reverse proxy before a server of the caller's.
#
#   nginx.sh fetch              says where it is
#   nginx.sh start DIR [PORT]   starts it on 127.0.0.1; prints where it answers and, after a comma, where it expects the
#                               server to which it passes every request
#   nginx.sh stop DIR           stops it
#   nginx.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# Programs: nginx.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PATH=$PATH:/usr/sbin
PORTS=2

fetch() {
    need nginx nginx-light
    command -v nginx
}

# It passes on every header that it is given, whatever its name: what a client smuggled in would be seen.
configure() {
    mkdir -p "$1/temp"
    cat >"$1/nginx.conf" <<CONF
daemon off;
# With a master it would write its title over its environment, by which it is known.
master_process off;
pid $1/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    underscores_in_headers on;
    ignore_invalid_headers off;
    client_body_temp_path $1/temp/body;
    proxy_temp_path $1/temp/proxy;
    fastcgi_temp_path $1/temp/fastcgi;
    uwsgi_temp_path $1/temp/uwsgi;
    scgi_temp_path $1/temp/scgi;
    upstream behind { server 127.0.0.1:$(port "$1" 2); keepalive 8; }
    server {
        listen 127.0.0.1:$(port "$1" 1);
        client_max_body_size 0;
        location / {
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
        }
    }
}
CONF
}

serve() {
    exec setsid nohup nginx -p "$1" -c "$1/nginx.conf"
}

ready() {
    listening "$(port "$1" 1)"
}

address() {
    echo "127.0.0.1:$(port "$1" 1),127.0.0.1:$(port "$1" 2)"
}

main "$@"
