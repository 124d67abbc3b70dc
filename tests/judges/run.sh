#!/bin/sh
# Starts the sandbox with a certificate made for the occasion, lets the judges loose on it, stops it.
# Usage: tests/judges/run.sh [SANDBOX_BINARY]; needs python3 with venv, openssl and PyPI, node 18 with
# npm and its registry. What is missing is a failure: a judge that does not come has not agreed.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sandbox=${1:-$root/target/debug/crmsync-sandbox}
[ -x "$sandbox" ] || {
    echo "judge: there is no sandbox at $sandbox; hint: cargo build -p crmsync-sandbox" >&2
    exit 1
}
work=$(mktemp -d)
pid=
finish() {
    status=$?
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

venv=$root/.venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/tests/judges/requirements.txt"

judges=$root/tests/judges
command -v npm >/dev/null || { echo "judge: there is no npm; hint: bash .ci/deps test" >&2; exit 1; }
if ! cmp -s "$judges/package-lock.json" "$judges/node_modules/.stamp"; then
    (cd "$judges" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$judges/package-lock.json" "$judges/node_modules/.stamp"
fi
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' || {
    echo "judge: node is older than 18; hint: bash .ci/deps test" >&2
    exit 1
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj "/CN=crmsync-sandbox test CA" -addext "basicConstraints=critical,CA:TRUE" \
    -addext "keyUsage=critical,keyCertSign" \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>"$work/openssl.log" || { cat "$work/openssl.log" >&2; exit 1; }
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=judge.my.salesforce.com" \
    -keyout "$work/key.pem" -out "$work/leaf.csr" 2>"$work/openssl.log" || { cat "$work/openssl.log" >&2; exit 1; }
cat >"$work/leaf.ext" <<EXT
subjectAltName=DNS:*.salesforce.com,DNS:*.my.salesforce.com,DNS:localhost,IP:127.0.0.1
basicConstraints=CA:FALSE
extendedKeyUsage=serverAuth
EXT
openssl x509 -req -in "$work/leaf.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial \
    -days 2 -extfile "$work/leaf.ext" -out "$work/cert.pem" 2>"$work/openssl.log" || { cat "$work/openssl.log" >&2; exit 1; }

# Each judge gets a sandbox of its own: they delete, break and exhaust.
serve() {
    mkfifo "$work/ready.$1"
    "$sandbox" serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --tls-cert "$work/cert.pem" \
        --tls-key "$work/key.pem" --public-url https://judge.my.salesforce.com \
        --records Account=4300 --records Contact=50 --order shuffled >"$work/ready.$1" &
    pid=$!
    # Opening the pipe waits for the sandbox; its end without a line ends the read.
    read -r ready <"$work/ready.$1" || { echo "judge: the sandbox did not get ready" >&2; exit 1; }
}
serve python
"$venv/bin/python" "$judges/simple_salesforce_judge.py" --ready "$ready" --ca "$work/ca.pem"
kill "$pid"
wait "$pid" 2>/dev/null || true
serve node
NODE_EXTRA_CA_CERTS=$work/ca.pem node "$judges/jsforce_judge.mjs" --ready "$ready"
