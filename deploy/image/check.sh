#!/usr/bin/env bash
# Builds both targets of the Dockerfile without Docker and rehearses the chart in the image's own file system.
# Needs root, and Debian's buildah and mmdebstrap. The base is Debian 12 with its Python 3.11, made here: the slim image
# that the Dockerfile names by default is Debian 12 with Python 3.11 too.
set -euo pipefail
cd "$(dirname "$0")/../.."
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
work=$(mktemp -d)
containers=()
cleanup() {
    for container in "${containers[@]}"; do buildah rm "$container" >/dev/null; done
    rm -rf "$work"
}
trap cleanup EXIT

base=localhost/coatcheck-base
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-venv,python3-pip,python-is-python3,ca-certificates bookworm "$work/base.tar"
    containers+=("$(buildah from scratch)")
    buildah add --quiet "${containers[0]}" "$work/base.tar" / >/dev/null
    buildah commit --quiet "${containers[0]}" "$base" >/dev/null
fi

# Where certificates of the network are this machine's own, pip inside the build has to know them.
options=(--network host --layers --build-arg "PYTHON_IMAGE=$base")
if [ -n "${PIP_CERT:-}" ]; then
    cp --dereference "$PIP_CERT" "$work/ca.pem"
    printf '[global]\ncert = /etc/build-ca.pem\n' >"$work/pip.conf"
    options+=(--volume "$work/ca.pem:/etc/build-ca.pem:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
fi
buildah bud --quiet "${options[@]}" --tag localhost/coatcheck .
buildah bud --quiet "${options[@]}" --target local-models --tag localhost/coatcheck-local-models .
buildah images --format '{{.Name}} {{.Size}}'

image=$(buildah from localhost/coatcheck)
containers+=("$image")
buildah run "$image" -- coatcheck version
root=$(buildah mount "$image")
TEST_IMAGE_ROOT=$root .venv/bin/python -m pytest -q tests/deploy/test_rehearsal.py
