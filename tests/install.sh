#!/bin/sh
# Installs what the tests need beside Rust: Debian's Mosquitto, RabbitMQ, NATS and Node.js where they
# are missing, and the foreign MQTT clients at the versions of requirements.txt and package-lock.json, into
# tests/.venv and tests/node_modules. Run again, it does only what is left to do.
set -eu
cd "$(dirname "$0")"

# Debian's packages of brokers start them on their usual ports where there is systemd. No test uses
# those, or their ports.
missing=""
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ] || missing="$missing nats-server"
command -v mosquitto_pub >/dev/null || missing="$missing mosquitto-clients"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
command -v python3 >/dev/null || missing="$missing python3"
command -v ip >/dev/null && command -v tc >/dev/null || missing="$missing iproute2"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo"
    echo "installing$missing" >&2
    $as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $missing
fi

# What was installed is kept beside it, so that a changed list is noticed. A machine of another
# Python or a moved folder breaks a virtual environment: then it is made anew.
if ! .venv/bin/python -c 'import paho.mqtt.client, aiomqtt, gmqtt' 2>/dev/null ||
    ! cmp -s requirements.txt .venv/installed.txt; then
    echo "installing the Python clients into tests/.venv" >&2
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt .venv/installed.txt
fi
if ! cmp -s package-lock.json node_modules/installed.json; then
    echo "installing the Node.js clients into tests/node_modules" >&2
    npm ci --silent
    cp package-lock.json node_modules/installed.json
fi
