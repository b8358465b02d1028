#!/usr/bin/env bash
# One real Apache Kafka broker (4.3.1, KRaft) on 127.0.0.1.
#
#   kafka.sh fetch              fetches the programs (55 MB), prints their directory
#   kafka.sh start DIR [PORT]   starts it with its data in DIR; prints its bootstrap address
#   kafka.sh stop DIR           stops it; a later start has the data and the ports again
#   kafka.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# KAFKA_SECURE=1 at the first start: three more listeners, whose addresses are lines of DIR/listeners (NAME HOST:PORT):
#   SSL             TLS; a client's certificate is looked at, and not required
#   SASL_SSL        TLS and a password
#   SASL_PLAINTEXT  a password
# Password: SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN, user `millstream`, password `secret-of-millstream`.
# A kcat on librdkafka 2.0 fails at SCRAM with any Kafka since 3.9, whatever the password; newer ones do not.
# DIR/tls: ca.pem; client.pem and client.key, signed by it; stranger.pem, which has signed nothing. The server's
# certificate is for 127.0.0.1 and localhost.
# KAFKA_PROPERTIES: more lines for server.properties.
# Programs: java (17 or later), mvn for the first time, openssl with KAFKA_SECURE=1.

# shellcheck source=kafka-lib.sh
. "$(dirname "$0")/kafka-lib.sh"

PORTS=5
USER_NAME=millstream
USER_PASSWORD='secret-of-millstream'

configure() {
    local secure=${KAFKA_SECURE:-0}
    # What is formatted with it keeps it.
    [ ! -d "$1/tls" ] || secure=1
    if [ "$secure" = 1 ]; then
        need openssl openssl
        [ -d "$1/tls" ] || certificates "$1/tls"
    fi
    {
        common_properties 1
        echo "node.id=1"
        echo "controller.quorum.voters=1@127.0.0.1:$(port "$1" 2)"
        echo "log.dirs=$1/data"
        listeners "$1" "$secure"
        echo "${KAFKA_PROPERTIES:-}"
    } >"$1/server.properties"
    local user="[name=$USER_NAME,password=$USER_PASSWORD]"
    if [ "$secure" = 1 ]; then
        format "$1" --add-scram "SCRAM-SHA-256=$user" --add-scram "SCRAM-SHA-512=$user"
    else
        format "$1"
    fi
}

# listeners DIR SECURE: the properties about them; DIR/listeners for who wants to connect.
listeners() {
    local names=(PLAINTEXT) all='' map='' at=0 name
    [ "$2" != 1 ] || names+=(SSL SASL_SSL SASL_PLAINTEXT)
    : >"$1/listeners"
    for name in "${names[@]}"; do
        # The second port is the controller's.
        at=$((at == 1 ? 3 : at + 1))
        echo "$name 127.0.0.1:$(port "$1" "$at")" >>"$1/listeners"
        all+="$name://127.0.0.1:$(port "$1" "$at"),"
        map+="$name:$name,"
    done
    echo "listeners=${all}CONTROLLER://127.0.0.1:$(port "$1" 2)"
    echo "advertised.listeners=${all%,}"
    echo "listener.security.protocol.map=${map}CONTROLLER:PLAINTEXT"
    [ "$2" = 1 ] || return 0
    local login=org.apache.kafka.common.security
    echo "ssl.keystore.type=PEM"
    echo "ssl.keystore.location=$1/tls/server.both"
    echo "ssl.truststore.type=PEM"
    echo "ssl.truststore.location=$1/tls/ca.pem"
    echo "listener.name.ssl.ssl.client.auth=requested"
    echo "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN"
    for name in sasl_ssl sasl_plaintext; do
        for at in 256 512; do
            echo "listener.name.$name.scram-sha-$at.sasl.jaas.config=$login.scram.ScramLoginModule required;"
        done
        echo "listener.name.$name.plain.sasl.jaas.config=$login.plain.PlainLoginModule required" \
            "user_$USER_NAME=\"$USER_PASSWORD\";"
    done
}

# certificates DIRECTORY: made on the spot, good for ten days.
certificates() {
    local new=$1.new name ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    rm -rf "$new"
    mkdir "$new"
    (
        cd "$new"
        for name in ca stranger; do
            # shellcheck disable=SC2086
            openssl req -x509 $ec -days 10 -subj "/CN=$name" -keyout $name.key -out $name.pem
        done
        echo 'subjectAltName=IP:127.0.0.1,DNS:localhost' >server.names
        echo 'subjectAltName=DNS:client' >client.names
        for name in server client; do
            # shellcheck disable=SC2086
            openssl req $ec -subj "/CN=$name" -keyout $name.key -out $name.csr
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 10 \
                -extfile $name.names -out $name.pem
        done
        cat server.key server.pem >server.both
    ) >"$new.log" 2>&1 || { cat "$new.log" >&2; fail "openssl cannot make certificates"; }
    rm "$new.log"
    mv -T "$new" "$1"
}

address() {
    echo "127.0.0.1:$(port "$1" 1)"
}

main "$@"
