#!/usr/bin/env bash
# Builds every image of the Dockerfile, unchanged, with buildah: what `make images` does.
#
#   deploy/docker/build.sh [ROOTFS|again]
#
# Without ROOTFS the base image comes from its registry. ROOTFS is a folder with a root file system (of `debootstrap
# --include=python3,python3-pip,python3-venv,ca-certificates bookworm`, for example) that takes its place where no
# registry can be reached; `again` takes the one of an earlier call, whose layers can be used again then. IMAGES says
# which ones, TAG how they are tagged. Needs root, or a rootless buildah.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tag=${TAG:-dev}
images=${IMAGES:-admin queue propeller executor cli task}
options=(--format oci --isolation "${ISOLATION:-chroot}" --network host)
certificates=/etc/ssl/certs/ca-certificates.crt

if [ $# -gt 0 ]; then
    if [ "$1" = again ]; then
        known=$(buildah images --format '{{.Name}}:{{.Tag}}')
        python=$(sed -n 's,^docker.io/library/python:\(.*\)-slim-bookworm$,\1,p' <<<"$known")
    else
        root=$1
        python=$(chroot "$root" /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        base=docker.io/library/python:$python-slim-bookworm
        container=$(buildah from scratch)
        buildah add --quiet "$container" "$root" / >/dev/null
        # As in the image that it stands for: `python` and `pip` may install where they are. And uv asks the system whom
        # to trust, as pip does, for where a proxy has an authority of its own.
        buildah run --isolation chroot "$container" sh -c \
            'ln -sf /usr/bin/python3 /usr/local/bin/python; rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
             mkdir -p /etc/uv; echo "system-certs = true" > /etc/uv/uv.toml'
        buildah commit --quiet --rm "$container" "$base" >/dev/null
    fi
    options+=(--pull-never --build-arg "PYTHON=$python" -v "$certificates:$certificates:ro")
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
