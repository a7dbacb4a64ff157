# curl and wget: `sh client.sh URL curl --http2` or `sh client.sh URL wget`. Prints the three statuses.
set -eu
base=$1 tool=$2
shift 2
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
json='{"model":"openai/m","input":"a text"}'
printf '\001\002' >"$folder/a.png"

by_curl() { # path, then options
    path=$1
    shift
    curl -s -o /dev/null -D "$folder/head" -w '%{http_code}' "$@" "$base$path"
}

by_wget() {
    path=$1
    shift
    wget -q -S -O /dev/null "$@" "$base$path" 2>"$folder/head" || true
    sed -n 's|^ *HTTP/1.1 \([0-9]*\).*|\1|p' "$folder/head" | tail -1 | tr -d '\n'
}

location() { sed -n 's/^ *[Ll]ocation: //p' "$folder/head" | tr -d '\r'; }

case $tool in
curl)
    submit=$(by_curl /v1/async/embeddings "$@" -H 'Content-Type: application/json' -d "$json")
    poll=$(by_curl "$(location)" "$@")
    form=$(by_curl /v1/async/images/variations "$@" -F model=openai/m -F "image=@$folder/a.png")
    ;;
wget)
    submit=$(by_wget /v1/async/embeddings --post-data "$json" --header 'Content-Type: application/json')
    poll=$(by_wget "$(location)")
    {
        printf -- '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/m\r\n'
        printf -- '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        cat "$folder/a.png"
        printf -- '\r\n--b--\r\n'
    } >"$folder/form"
    form=$(by_wget /v1/async/images/variations --post-file "$folder/form" \
        --header 'Content-Type: multipart/form-data; boundary=b')
    ;;
esac
echo "$submit $poll $form"
