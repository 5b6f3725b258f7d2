# shellcheck shell=bash
# Daemons by pid, and free ports. What is known of service NAME is kept in one-line files in $RUN/NAME:
# how (local, docker, external or none), pid, born, port, address, version, …

put() { printf '%s\n' "$3" >"$RUN/$1/$2"; }
get() { if [[ -r $RUN/$1/$2 ]]; then head -n 1 "$RUN/$1/$2"; fi; }

# process_stat PID   its state (one letter), the time it was started, in clock ticks since boot, and its
# number of threads
process_stat() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  # Past the name in parentheses, which may hold anything.
  read -r -a line <<<"${line##*) }"
  echo "${line[0]} ${line[19]} ${line[17]}"
}

# process_state NAME   prints the state of the daemon; fails if it is gone. A zombie is gone (where pid 1
# reaps nobody they stay for ever), unless other threads than its first still hold files and ports. So is
# a process that was born later and got the same pid.
process_state() {
  local pid state born threads
  pid=$(get "$1" pid)
  [[ -n $pid ]] || return 1
  read -r state born threads < <(process_stat "$pid") || return 1
  [[ $born == "$(get "$1" born)" ]] || return 1
  [[ $state != [ZX] ]] || ((threads > 1)) || return 1
  echo "$state"
}

process_alive() { process_state "$1" >/dev/null; }

# spawn NAME COMMAND…   in a session of its own, so that Ctrl-C in our terminal does not reach it
spawn() {
  local name=$1 stat
  shift
  setsid "$@" </dev/null >>"$RUN/$name/log" 2>&1 &
  put "$name" pid $!
  disown $! # or the shell would tell of its death
  stat=$(process_stat $!) || die "$name: could not be started"
  read -r _ stat _ <<<"$stat"
  put "$name" born "$stat"
}

# signal NAME SIGNAL
signal() { kill "-$2" "$(get "$1" pid)"; }

# within SECONDS COMMAND…   waits until COMMAND succeeds
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

process_gone() { ! process_alive "$1"; }
process_paused() { [[ $(process_state "$1") == T ]]; }

process_kill() {
  process_alive "$1" || return 0
  signal "$1" KILL
  within 30 process_gone "$1" || die "$1: pid $(get "$1" pid) survives SIGKILL"
}

# In order: a paused process would not see SIGTERM.
process_stop() {
  process_alive "$1" || return 0
  signal "$1" TERM
  signal "$1" CONT
  within 60 process_gone "$1" || { say "$1: not gone 60 s after SIGTERM, killing it"; process_kill "$1"; }
}

# free_port   prints a loopback port that nothing listens on. It lies below the ports that outgoing
# connections are given, else one of them might have taken it between `kill` and `restart`.
free_port() {
  local low=32768 port
  read -r low _ </proc/sys/net/ipv4/ip_local_port_range || true
  ((low > 16000)) || low=32768
  for _ in {1..100}; do
    port=$((15000 + (RANDOM * 32768 + RANDOM) % (low - 15000)))
    # Nor may it be one that a service of this set is about to take.
    ! grep -qsx "$port" "$RUN"/*/{port,controller_port} || continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return 0; }
  done
  die "no free port between 15000 and $low"
}
