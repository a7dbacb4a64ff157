#!/bin/sh
# Submit a request, poll its job until it has ended, print the result. Needs nothing but curl.
set -eu
url="${COATCHECK_URL:-http://127.0.0.1:8080}/v1/async/embeddings"

call() {
    curl --silent --show-error --fail ${COATCHECK_API_KEY:+--header "Authorization: Bearer $COATCHECK_API_KEY"} "$@"
}
field() {
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# With an Idempotency-Key this line may be repeated after any error: it stays one job.
job=$(call --header "Idempotency-Key: curl-$(date +%s)-$$" --retry 3 "$url" \
    --data '{"model": "local/minilm", "input": "the cat sat"}' | field id)
echo "job $job" >&2

status=pending
while [ "$status" = pending ] || [ "$status" = processing ]; do
    sleep 1 # what Retry-After asks for
    answer=$(call "$url/$job")
    status=$(printf '%s' "$answer" | cut -c 1-300 | field status)
done

echo "status $status" >&2
printf '%s\n' "$answer" | cut -c 1-400
[ "$status" = completed ]
