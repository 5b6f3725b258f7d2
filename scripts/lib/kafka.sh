# shellcheck shell=bash disable=SC2031 # kafka_record has a RUN of its own, in a subshell
# One Kafka node (KRaft, broker and controller in one process), from Maven Central's jars.

KAFKA_VERSION=${TIDEMILL_SERVICES_KAFKA_VERSION:-4.3.1}
KAFKA_JARS=$CACHE/kafka-$KAFKA_VERSION

java_command() { if [[ -n ${JAVA_HOME:-} ]]; then echo "$JAVA_HOME/bin/java"; else command -v java; fi; }

# Kafka's broker needs Java 17.
have_java() {
  local java version
  java=$(java_command) || return 1
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  ((${version:-0} >= 17))
}

kafka_possible() {
  have_java && { [[ -d $KAFKA_JARS ]] || command -v mvn >/dev/null; } && return 0
  have_apt && can_be_root
}

kafka_needs() {
  if have_apt; then
    echo "as root, run: apt-get install -y $(first_package "$JAVA_PACKAGES") maven"
  else
    echo "install a Java runtime of version 17 or later, and Maven"
  fi
}

JAVA_PACKAGES='openjdk-21-jre-headless|openjdk-17-jre-headless|openjdk-25-jre-headless'

kafka_prepare() {
  local packages=()
  have_java || packages+=("$JAVA_PACKAGES")
  [[ -d $KAFKA_JARS ]] || command -v mvn >/dev/null || packages+=(maven)
  ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
  [[ -d $KAFKA_JARS ]] || kafka_fetch
  [[ $(kafka_archive) -nt $KAFKA_JARS ]] || kafka_record
}

kafka_fetch() {
  local temp output
  say "fetching Kafka $KAFKA_VERSION (once)"
  temp=$(mktemp -d "$CACHE/kafka.XXXXXX")
  output=$(mvn -q -B -f "$LIB/kafka-pom.xml" "-Dkafka.version=$KAFKA_VERSION" dependency:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$temp" </dev/null 2>&1) ||
    die "$output
Maven could not fetch Kafka $KAFKA_VERSION"
  # What `format` would write into every new data directory, saving a JVM at each start.
  kafka_properties 127.0.0.1 127.0.0.1 9092 9093 "$temp/format" >"$temp/server.properties"
  output=$(kafka_java "$temp" -Dtidemill.log=ERROR kafka.tools.StorageTool format \
    --cluster-id "$(kafka_id)" --config "$temp/server.properties" 2>&1) ||
    die "$output
Kafka's storage format failed"
  mv "$temp/format/bootstrap.checkpoint" "$temp/"
  rm -rf "$temp/format" "$temp/server.properties"
  chmod 755 "$temp"
  rm -f "$KAFKA_JARS"-*.jsa # of jars that are gone
  mv -T "$temp" "$KAFKA_JARS"
}

# The classes that a broker loads, in the JVM's own form (class data sharing). It saves half the time
# until Kafka is up. It serves only the JVM that made it, and only for jars at the same place.
kafka_archive() { echo "$KAFKA_JARS-$("$(java_command)" -version 2>&1 | cksum | cut -d' ' -f1).jsa"; }

# Runs a broker once, which writes the archive as it ends. Without one everything works, only slower.
kafka_record() {
  say "recording Kafka's classes (once)"
  rm -f "$KAFKA_JARS"-*.jsa
  (
    # shellcheck disable=SC2030 # for this broker only
    RUN=$(mktemp -d "$CACHE/kafka.XXXXXX")
    mkdir "$RUN/kafka"
    trap 'process_kill kafka; rm -rf "$RUN"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    kafka_launch "-XX:ArchiveClassesAtExit=$RUN/classes.jsa"
    within 120 kafka_ready || exit 1
    process_stop kafka
    chmod 644 "$RUN/classes.jsa"
    mv "$RUN/classes.jsa" "$(kafka_archive)"
  ) || say "that failed; Kafka will start more slowly"
}

# A random id of the form that Kafka uses: 22 characters of base64.
kafka_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=\n'; }

# kafka_java JARS ARGUMENT…   with the compiler's first stage only: half the CPU time until it is up
kafka_java() {
  local jars=$1
  shift
  # shellcheck disable=SC2086
  "$(java_command)" -Xmx512m ${TIDEMILL_SERVICES_KAFKA_JAVA_OPTS--XX:TieredStopAtLevel=1} \
    "-Dlog4j2.configurationFile=$LIB/kafka-log4j2.properties" -cp "$jars/*" "$@"
}

# kafka_properties BIND VOTER PORT CONTROLLER_PORT DATA
# What the broker says to itself goes by a listener of its own, and so past a proxy that clients are sent through.
kafka_properties() {
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$2:$4
listeners=PLAINTEXT://$1:$3,INTERNAL://127.0.0.1:0,CONTROLLER://$1:$4
advertised.listeners=PLAINTEXT://127.0.0.1:${TIDEMILL_SERVICES_KAFKA_ADVERTISED_PORT:-$3},INTERNAL://127.0.0.1:0
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
log.dirs=$5
auto.create.topics.enable=false
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.streams.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
${TIDEMILL_SERVICES_KAFKA_PROPERTIES:-}
END
  # The two lines on the broker's session: after `kill`, the controller refuses the new broker until the
  # old one's session is over, which by default takes nine seconds.
}

# kafka_launch [JVM_OPTION…]
kafka_launch() {
  local dir=$RUN/kafka
  if [[ ! -d $dir/data ]]; then
    put kafka port "$(free_port)"
    put kafka controller_port "$(free_port)"
    kafka_properties 127.0.0.1 127.0.0.1 "$(get kafka port)" "$(get kafka controller_port)" "$dir/data" \
      >"$dir/server.properties"
    put kafka cluster "$(kafka_id)"
    kafka_format "$dir/data" 1
    [[ ${TIDEMILL_SERVICES_KAFKA_CONTROLLER:-} != apart ]] || kafka_part
  fi
  put kafka version "$KAFKA_VERSION"
  (($#)) || set -- "-XX:SharedArchiveFile=$(kafka_archive)"
  [[ ! -d $RUN/controller ]] || kafka_launch_controller "$@"
  kafka_spawn kafka -Xms512m -Xmx1g "$@"
}

# kafka_spawn NAME JVM_OPTION…
kafka_spawn() {
  local name=$1
  shift
  # shellcheck disable=SC2086
  spawn "$name" "$(java_command)" ${TIDEMILL_SERVICES_KAFKA_JAVA_OPTS--XX:TieredStopAtLevel=1} "$@" \
    "-Dlog4j2.configurationFile=$LIB/kafka-log4j2.properties" -cp "$KAFKA_JARS/*" \
    kafka.Kafka "$RUN/$name/server.properties"
}

# kafka_format DATA NODE
kafka_format() {
  mkdir "$1"
  cp "$KAFKA_JARS/bootstrap.checkpoint" "$1/"
  printf '%s\n' version=1 "node.id=$2" "cluster.id=$(get kafka cluster)" "directory.id=$(kafka_id)" >"$1/meta.properties"
}

# Makes two nodes of the one, with the controller in a process of its own, which `kill` spares, as it does
# where there are several brokers. A node that is both, and starts again while its own controller still counts
# on the one before, loses transactions that were being committed (see docs/RELIABILITY.md).
kafka_part() {
  local broker=$RUN/kafka/server.properties all quorum
  quorum="controller.quorum.voters=2@127.0.0.1:$(get kafka controller_port)"
  all=$(grep -vE '^(process.roles|node.id|controller.quorum.voters|(advertised.)?listeners|log.dirs)=' "$broker")
  mkdir "$RUN/controller"
  chmod 711 "$RUN/controller"
  printf '%s\n' "$all" process.roles=controller node.id=2 "$quorum" "log.dirs=$RUN/controller/data" \
    "listeners=CONTROLLER://127.0.0.1:$(get kafka controller_port)" >"$RUN/controller/server.properties"
  kafka_format "$RUN/controller/data" 2
  printf '%s\n' "$all" process.roles=broker node.id=1 "$quorum" "$(grep -E '^(advertised.listeners|log.dirs)=' "$broker")" \
    "listeners=PLAINTEXT://127.0.0.1:$(get kafka port),INTERNAL://127.0.0.1:0" >"$broker.new"
  mv "$broker.new" "$broker"
}

# kafka_launch_controller JVM_OPTION…   unless it runs; then waits until it has given up a killed broker
kafka_launch_controller() {
  if ! process_alive controller; then
    kafka_spawn controller -Xmx256m "$@"
  elif [[ -n $(get kafka given_up) ]]; then
    within 30 kafka_given_up || die "the controller does not give up the broker that was killed"
  fi
  put kafka given_up ''
}

# How often the controller has given up the broker because it was silent.
kafka_times_given_up() { grep -c 'Fencing broker 1 ' "$RUN/controller/log" || true; }

kafka_given_up() { (($(kafka_times_given_up) > $(get kafka given_up))); }

kafka_kill() {
  [[ ! -d $RUN/controller ]] || put kafka given_up "$(kafka_times_given_up)"
  process_kill kafka
}

# kafka_ask PORT REQUEST LENGTH   sends the bytes (in printf's notation) and prints as many of the
# response as unsigned numbers: 0–3 its length, 4–7 the correlation id, then what the protocol says.
kafka_ask() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf '%b' "$2" >&3
  timeout 5 head -c "$3" <&3 | od -An -v -tu1
) 2>/dev/null

# Up is: the broker is in its own metadata, and both coordinators have their topics. They create them when
# first asked; without this the first test with a group or a transaction would wait for it.
kafka_ready() {
  local port answer kind
  port=$(get kafka port)
  # Metadata v4 as client "tidemill", all topics. 16–19: the error-free answer's number of brokers, 12–15.
  read -r -d '' -a answer < <(kafka_ask "$port" \
    '\x00\x00\x00\x17\x00\x03\x00\x04\x00\x00\x00\x01\x00\x08tidemill\xff\xff\xff\xff\x00' 16) || true
  [[ ${answer[15]:-0} == 1 ]] || return 1
  for kind in 00 01; do
    # FindCoordinator v2 of group, then of transactional id, "warm". 12–13: the error.
    read -r -d '' -a answer < <(kafka_ask "$port" \
      '\x00\x00\x00\x19\x00\x0a\x00\x02\x00\x00\x00\x02\x00\x08tidemill\x00\x04warm\x'$kind 14) || true
    [[ ${answer[12]:-x}${answer[13]:-x} == 00 ]] || return 1
  done
}

# kafka_tool TOOL ARGUMENT…   one of Kafka's command line tools on our broker
kafka_tool() {
  local class tool=$1
  shift
  case $tool in
    topics) class=TopicCommand ;;
    get-offsets) class=GetOffsetShell ;;
    consumer-groups) class=consumer.group.ConsumerGroupCommand ;;
    streams-groups) class=streams.StreamsGroupCommand ;;
    console-producer) class=ConsoleProducer ;;
    console-consumer) class=consumer.ConsoleConsumer ;;
    *) die "no such tool: $tool (topics, get-offsets, consumer-groups, streams-groups, console-producer, console-consumer)" ;;
  esac
  [[ -d $KAFKA_JARS ]] || die "Kafka's tools are not in $KAFKA_JARS"
  kafka_java "$KAFKA_JARS" -Dtidemill.log=ERROR "org.apache.kafka.tools.$class" \
    --bootstrap-server "$(get kafka address)" "$@"
}
