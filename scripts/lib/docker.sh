# shellcheck shell=bash
# The same services as containers, for machines where they cannot be had otherwise (not Debian or Ubuntu,
# or no root and no Java) but where a Docker engine runs. Published on loopback only.
#
# This file was written where no Docker engine runs: only its command lines were checked, with a stand-in
# for `docker` that printed them.

docker_possible() {
  [[ ${TIDEMILL_SERVICES_DOCKER:-} != never ]] && command -v docker >/dev/null && docker info >/dev/null 2>&1
}

docker_image() {
  case $1 in
    kafka) echo "apache/kafka:$KAFKA_VERSION" ;;
    mariadb) echo mariadb:10.11 ;;
    mysql) echo mysql:9 ;;
  esac
}

docker_launch() {
  local name=$1 container options=() line key
  container=$(get "$name" container)
  if [[ -n $container ]]; then
    docker start "$container" >/dev/null || die "$name: docker cannot start $container"
    return 0
  fi
  put "$name" port "$(free_port)"
  put "$name" version "$(docker_image "$name")"
  if [[ $name == kafka ]]; then
    options=(-p "127.0.0.1:$(get kafka port):$(get kafka port)")
    # The image takes its properties from the environment: group.id is KAFKA_GROUP_ID.
    while IFS= read -r line; do
      [[ -n $line ]] || continue
      key=${line%%=*}
      key=${key//./_}
      options+=(-e "KAFKA_${key^^}=${line#*=}")
    done < <(kafka_properties 0.0.0.0 127.0.0.1 "$(get kafka port)" 9093 /tmp/kafka-logs)
  else
    put "$name" user root
    put "$name" password "$(random_hex)"
    options=(-p "127.0.0.1:$(get "$name" port):3306" -e "MYSQL_ROOT_PASSWORD=$(get "$name" password)"
      -e MYSQL_ROOT_HOST=% -e MYSQL_DATABASE=tidemill_test)
  fi
  # Not --rm: a killed container must keep its data.
  container=$(docker run -d --label tidemill-test-service "${options[@]}" "$(docker_image "$name")") ||
    die "$name: docker cannot run $(docker_image "$name")"
  put "$name" container "$container"
}

docker_state() { docker inspect -f '{{.State.Status}}' "$(get "$1" container)" 2>/dev/null; }
docker_alive() { [[ $(docker_state "$1") == @(running|paused) ]]; }
docker_kill() { docker kill "$(get "$1" container)" >/dev/null 2>&1 || true; }
docker_stop() { docker stop "$(get "$1" container)" >/dev/null; }
docker_pause() { docker pause "$(get "$1" container)" >/dev/null; }
docker_resume() { docker unpause "$(get "$1" container)" >/dev/null; }
docker_remove() { [[ -z $(get "$1" container) ]] || docker rm -f -v "$(get "$1" container)" >/dev/null; }
docker_sql() {
  local name=$1
  shift
  docker exec -i -e "MYSQL_PWD=$(get "$name" password)" "$(get "$name" container)" "$name" --user=root "$@"
}
docker_log() { docker logs --tail "$2" "$(get "$1" container)" 2>&1; }
