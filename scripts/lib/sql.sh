# shellcheck shell=bash
# MariaDB and MySQL. The servers come as Debian packages, unpacked into the cache and run with the
# libraries they came with, so they need no root, and the machine's own version does not matter:
# MySQL 9.7 runs on a Debian that has no MySQL. A `mysqld` or `mariadbd` in the PATH is used where there
# is no apt.
#
# A cached server is a directory with `program`, wherein `server` and `client` are small scripts, `data`
# (a freshly initialised data directory, to be copied) and `version`.

SQL_RECIPE=1 # counts up when what is in the cached directory changes

# shellcheck disable=SC2034 # used by name
mariadb_packages=(bookworm 'mariadb-server-core(-[0-9.]+)?' 'mariadb-client-core(-[0-9.]+)?')
# shellcheck disable=SC2034
mysql_packages=(sid 'mysql-server-core(-[0-9.]+)?' 'mysql-client-core(-[0-9.]+)?')

sql_cached() { echo "$CACHE/$1-$SQL_RECIPE"; }

# The server in the PATH, if it is what its name promises: Debian's mysqld is MariaDB.
sql_in_path() {
  local server version
  case $1 in
    mariadb) command -v mariadbd ;;
    mysql)
      server=$(command -v mysqld) || return 1
      version=$("$server" --no-defaults --version 2>/dev/null)
      [[ $version != *MariaDB* && $version =~ Ver\ ([0-9.]+) ]] &&
        printf '%s\n' 8.0.20 "${BASH_REMATCH[1]}" | sort -V -C && echo "$server"
      ;;
  esac
}

sql_possible() { [[ -d $(sql_cached "$1") ]] || have_apt || sql_in_path "$1" >/dev/null; }

mariadb_possible() { sql_possible mariadb; }
mysql_possible() { sql_possible mysql; }
mariadb_needs() { echo "install MariaDB 10.6 or later (\`mariadbd\` in the PATH)"; }
mysql_needs() { echo "install MySQL 8.0.20 or later (Oracle's \`mysqld\` in the PATH)"; }
mariadb_prepare() { sql_prepare mariadb; }
mysql_prepare() { sql_prepare mysql; }

# Returns 2 if no package and no server is to be had.
sql_prepare() {
  local name=$1 cached temp status=0
  cached=$(sql_cached "$name")
  [[ ! -d $cached ]] || return 0
  temp=$(mktemp -d "$CACHE/$name.XXXXXX")
  mkdir "$temp/program"
  if have_apt; then
    say "fetching $name (once)"
    sql_unpack "$name" "$temp/program" || status=$?
  fi
  if [[ ! -x $temp/program/server ]]; then
    sql_borrow "$name" "$temp/program" || { rm -rf "$temp"; return $((status == 0 ? 2 : status)); }
  fi
  say "initialising $name (once)"
  "${name}_initialise" "$temp" >"$temp/log" 2>&1 || { tail -n 30 "$temp/log" >&2; die "cannot initialise $name in $temp"; }
  "$temp/program/server" --version | sed -E 's/.*Ver ([^ ]+).*/\1/' >"$temp/version"
  [[ -s $temp/version ]] || die "$name does not tell its version"
  # The servers run as a user of no rights, who must be able to read this.
  chmod 755 "$temp"
  mv -T "$temp" "$cached"
}

# Unpacks the packages and writes the two scripts, which run the programs by the loader and the
# libraries beside them.
sql_unpack() {
  local name=$1 into=$2 temp=$2/unpacked file server client loader status=0
  local -n packages=${name}_packages
  mkdir "$temp"
  unpack_packages "$temp" "${packages[@]}" || { status=$?; rm -rf "$temp"; return "$status"; }
  mkdir -p "$into/lib" "$into/usr/lib" "$into/usr/share" "$into/bin"
  find "$temp"/lib/*-linux-gnu* "$temp"/usr/lib/*-linux-gnu* -maxdepth 1 -name '*.so*' -exec cp -a -t "$into/lib" {} + 2>/dev/null || true
  for file in lib/mysql share/{mysql,mariadb}; do
    [[ ! -d $temp/usr/$file ]] || mv "$temp/usr/$file" "$into/usr/$file"
  done
  server=$(first_file "$temp"/usr/sbin/{mariadbd,mysqld}) || die "no server in the packages"
  client=$(first_file "$temp"/usr/bin/{mariadb,mysql}) || die "no client in the packages"
  loader=$(cd "$into/lib" && first_file ld-linux*.so.*) || die "no loader in the packages"
  mv "$server" "$into/bin/server"
  mv "$client" "$into/bin/client"
  rm -rf "$temp"
  # shellcheck disable=SC2016 # expanded when the script runs
  sql_script "$into/server" '"$here/lib/'"$loader"'" --library-path "$here/lib:$here/usr/lib/mysql/private" "$here/bin/server" --no-defaults \
  "--basedir=$here/usr" "--plugin-dir=$here/usr/lib/mysql/plugin"'
  # shellcheck disable=SC2016
  sql_script "$into/client" '"$here/lib/'"$loader"'" --library-path "$here/lib" "$here/bin/client" --no-defaults'
}

# The same two scripts, for the programs in the PATH.
sql_borrow() {
  local name=$1 into=$2 server client
  server=$(sql_in_path "$name") || return 1
  client=$(command -v "$name") || client=false
  sql_script "$into/server" "'$server' --no-defaults"
  sql_script "$into/client" "'$client' --no-defaults"
}

# sql_script FILE COMMAND
sql_script() {
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nexec %s "$@"\n' "$2" >"$1"
  chmod 755 "$1"
}

first_file() {
  local file
  for file; do [[ -f $file && ! -L $file ]] && echo "$file" && return 0; done
  return 1
}

# Without being told so, they refuse to be run by root.
SQL_AS_ROOT=()
((EUID != 0)) || SQL_AS_ROOT=(--user=root)

mysql_initialise() {
  "$1/program/server" "${SQL_AS_ROOT[@]}" --initialize-insecure --datadir="$1/data"
  rm -f "$1/data/auto.cnf"
}

# What mariadb-install-db does, which does not work in a place that is not its own.
mariadb_initialise() {
  local base file files=()
  base=$("$1/program/server" --verbose --help 2>/dev/null | awk '$1 == "basedir" { print $2 }')
  # In one of two directories and after one of two names, by version.
  for file in "$base"/share/{mysql,mariadb}/{mysql,mariadb}_{system_tables,performance_tables,system_tables_data}.sql; do
    if [[ -f $file ]] && ((${#files[@]} < 3)); then files+=("$file"); fi
  done
  ((${#files[@]} == 3)) || { echo "no SQL for the system tables below $base/share"; return 1; }
  mkdir "$1/data"
  {
    printf '%s\n' 'create database mysql;' 'use mysql;' # one to a line, in this mode
    cat "${files[@]}"
  } | "$1/program/server" "${SQL_AS_ROOT[@]}" --bootstrap --datadir="$1/data"
}

mariadb_launch() { sql_launch mariadb; }
mysql_launch() { sql_launch mysql --mysqlx=OFF --secure-file-priv=NULL; }

# Durability and limits are left as the servers' makers set them. The data directory is on loan from the
# cache, the users are made anew by the init file at each start, before the first connection.
sql_launch() {
  local name=$1 dir=$RUN/$1 cached as=()
  shift
  cached=$(sql_cached "$name")
  if [[ ! -d $dir/data ]]; then
    put "$name" port "$(free_port)"
    put "$name" user tidemill
    put "$name" password "$(random_hex)"
    put "$name" version "$(<"$cached/version")"
    cp -a "$cached/data" "$dir/data"
    mkdir "$dir/tmp"
    # A copy (links, if the file systems allow), since other users may not look into the cache.
    cp -al "$cached/program" "$dir/" 2>/dev/null || { rm -rf "$dir/program"; cp -a "$cached/program" "$dir/"; }
    cat >"$dir/users.sql" <<END
CREATE DATABASE IF NOT EXISTS tidemill_test CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'tidemill'@'%' IDENTIFIED BY '$(get "$name" password)';
GRANT ALL PRIVILEGES ON *.* TO 'tidemill'@'%' WITH GRANT OPTION;
END
    ((EUID != 0)) || chown -R "$SQL_USER" "$dir/data" "$dir/tmp" "$dir/users.sql"
  fi
  # After a kill -9 MySQL would not start if it found its old pid in use, if only as a zombie.
  rm -f "$dir"/data/server.{sock,sock.lock,pid}
  # Started by root they refuse to run as root.
  if ((EUID == 0)); then
    as=(setpriv "--reuid=${SQL_USER%:*}" "--regid=${SQL_USER#*:}" --clear-groups)
    "${as[@]}" test -r "$dir/data" -a -x "$dir/program/server" ||
      die "$name cannot run: user ${SQL_USER%:*} cannot reach $dir; set TIDEMILL_SERVICES_DIR to a directory that others may enter"
  fi
  spawn "$name" "${as[@]}" "$dir/program/server" "--datadir=$dir/data" "--tmpdir=$dir/tmp" \
    --bind-address=127.0.0.1 "--port=$(get "$name" port)" --socket=server.sock --pid-file=server.pid \
    --skip-name-resolve --innodb-buffer-pool-size=192M "--init-file=$dir/users.sql" "$@"
}
SQL_USER=65534:65534 # nobody, who has nothing

# sql_greeting HOST PORT   the version that the server says when connected to. It comes before any login,
# but only once the server takes logins. The greeting: three bytes of length, of which two are zero, a
# sequence number, also zero, then the protocol's version (a line feed: 10), the text and a zero.
sql_greeting() (
  exec 3<>"/dev/tcp/$1/$2" || return 1
  for _ in 1 2 3; do IFS= read -r -d '' -t 5 -u 3 _ || return 1; done
  IFS= read -r -d '' -t 5 -u 3 text || return 1
  [[ $text == $'\n'?* ]] && echo "${text:1}"
) 2>/dev/null

mariadb_ready() { sql_greeting 127.0.0.1 "$(get mariadb port)" >/dev/null; }
mysql_ready() { sql_greeting 127.0.0.1 "$(get mysql port)" >/dev/null; }

sql_url() {
  echo "mysql://$(get "$1" user):$(get "$1" password)@127.0.0.1:$(get "$1" port)/tidemill_test"
}

# sql_client NAME ARGUMENT…
sql_client() {
  local name=$1
  shift
  export MYSQL_PWD
  MYSQL_PWD=$(get "$name" password)
  "$RUN/$name/program/client" --protocol=tcp --host=127.0.0.1 "--port=$(get "$name" port)" \
    "--user=$(get "$name" user)" "$@"
}
