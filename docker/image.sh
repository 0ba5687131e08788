#!/usr/bin/env bash
# image.sh build        build the image
# image.sh smoke        build it, then run doctor, evaluate and predict in it without network
#
# IMAGE_TOOL names what builds and runs: docker, podman, or a script with the words "build ...",
# "run ...", "size IMAGE". Unset: docker where a daemon answers, podman, or the script beside the
# checkout; with none of them the smoke test is skipped with exit code 0 and a line that says so.
set -euo pipefail
cd "$(dirname "$0")/.."
image=docker.io/histoscope/histoscope:$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
beside=../shared/tools/image-lab.sh

tool=${IMAGE_TOOL:-}
if [ -z "$tool" ]; then
  if docker info >/dev/null 2>&1; then tool=docker
  elif command -v podman >/dev/null 2>&1 && [ ! -x "$beside" ]; then tool=podman
  elif [ -x "$beside" ]; then tool=$beside
  else echo "image: no docker daemon, no podman, no IMAGE_TOOL: skipped"; exit 0; fi
fi

build() {
  local began=$SECONDS
  case $tool in
    docker | podman) "$tool" build --tag "$image" --file docker/Dockerfile . ;;
    *) "$tool" build --no-wheels -t "$image" -f docker/Dockerfile . ;;
  esac
  echo "image: $image built in $((SECONDS - began)) s, $(size)"
}

size() {
  case $tool in
    docker | podman) "$tool" image inspect --format '{{.Size}}' "$image" | awk '{printf "%.2f GB", $1 / 1e9}' ;;
    *) "$tool" size "$image" ;;
  esac
}

run() {
  case $tool in
    docker | podman)
      "$tool" run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL \
        --security-opt no-new-privileges "$@" ;;
    *) "$tool" run --hardened --network none "$@" ;;
  esac
}

smoke() {
  local began code=0 slides
  scratch=$(mktemp -d) # not local: the trap runs after this function
  trap 'rm -rf "$scratch"' EXIT
  build
  .venv/bin/python -m tests.smoke "$scratch"
  slides=../shared/data/pathology/slides/CMU-1-Small-Region.svs
  mkdir "$scratch/slides" "$scratch/out" && chmod 777 "$scratch/out"
  if [ -f "$slides" ]; then cp "$slides" "$scratch/slides/"; else cp "$scratch"/phantom/new/*.tif "$scratch/slides/"; fi
  share "$scratch/store" "$scratch/package" "$scratch/slides"
  began=$SECONDS
  run "$image" doctor
  run --group-add "$group" -v "$scratch/store:/elsewhere:ro" -v "$scratch/package:/package:ro" \
    -v "$scratch/out:/out" "$image" evaluate /package /elsewhere --out /out/evaluation
  run --group-add "$group" -v "$scratch/slides:/slides:ro" -v "$scratch/package:/package:ro" \
    -v "$scratch/out:/out" "$image" predict /slides --package /package --out /out/predicted || code=$?
  [ "$code" = 0 ] || { echo "image: predict ended with $code"; exit 1; }
  [ -s "$scratch/out/predicted/report.html" ] || { echo "image: no report"; exit 1; }
  echo "image: doctor, evaluate and predict without network in $((SECONDS - began)) s"
  forbid
}

# files of a colleague, who lets a group read them: the image's user comes by that group
share() {
  group=$(id -g)
  if [ "$(id -u)" = 0 ]; then group=20002; chown -R "20001:$group" "$@"; fi
  find "$@" -type d -exec chmod 0750 {} + -o -type f -exec chmod 0640 {} +
}

# without the group it is said that the package may not be read, not that it is not there
forbid() {
  local code=0 said
  said=$(run -v "$scratch/store:/elsewhere:ro" -v "$scratch/package:/package:ro" \
    -v "$scratch/out:/out" "$image" evaluate /package /elsewhere --out /out/none 2>&1) || code=$?
  echo "image: without the group: exit code $code, $said"
  if [ "$code" != 2 ] || [[ ! $said =~ "not readable"|"Permission denied" ]]; then
    echo "image: expected exit code 2, and that the package may not be read"
    exit 1
  fi
}

case ${1:-} in
  build) build ;;
  smoke) smoke ;;
  *) sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
