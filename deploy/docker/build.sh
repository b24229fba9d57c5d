#!/usr/bin/env bash
# Builds every image of the Dockerfile, unchanged, with buildah: what `make images` does.
#
#   deploy/docker/build.sh [ROOTFS]
#
# Without ROOTFS the base image comes from its registry. ROOTFS is a folder with a root file system (of `debootstrap
# --include=python3,python3-pip,python3-venv,ca-certificates bookworm`, for example) that takes its place where no
# registry can be reached. IMAGES says which ones, TAG how they are tagged. Needs root, or a rootless buildah.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tag=${TAG:-dev}
images=${IMAGES:-admin queue propeller executor cli task}
options=(--format oci --isolation "${ISOLATION:-chroot}" --network host)
certificates=/etc/ssl/certs/ca-certificates.crt

if [ $# -gt 0 ]; then
    root=$1
    python=$(chroot "$root" /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    base=docker.io/library/python:$python-slim-bookworm
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root" / >/dev/null
    # As in the image that it stands for: `python` and `pip` may install where they are.
    buildah run --isolation chroot "$container" sh -c \
        'ln -sf /usr/bin/python3 /usr/local/bin/python; rm -f /usr/lib/python3*/EXTERNALLY-MANAGED'
    buildah commit --quiet --rm "$container" "$base" >/dev/null
    # The authorities of this machine, for where a proxy has its own.
    options+=(--pull-never --build-arg "PYTHON=$python" -v "$certificates:/run/ca.crt:ro")
    options+=(--env PIP_CERT=/run/ca.crt --env SSL_CERT_FILE=/run/ca.crt)
fi

for image in $images; do
    case $image in
        task) arguments=(--target task) ;;
        executor) arguments=(--target executor --build-arg SERVICE=executor) ;;
        cli) arguments=(--target service --build-arg SERVICE=cli --build-arg "EXTRAS=cli store") ;;
        *) arguments=(--target service --build-arg "SERVICE=$image") ;;
    esac
    echo "airscrew-$image:$tag"
    buildah bud "${options[@]}" "${arguments[@]}" --layers -f deploy/docker/Dockerfile -t "airscrew-$image:$tag" .
done
