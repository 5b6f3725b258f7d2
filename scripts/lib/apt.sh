# shellcheck shell=bash
# Debian's and Ubuntu's packages: installed into the system (needs root), or unpacked beside it
# (needs nothing). Servers are only ever unpacked: an installed one would start a daemon at boot and
# could push out a MySQL that is already there. Uses `say` and `die`.

have_apt() { command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; }

# True if `as_root` can work without asking, or by asking a person.
can_be_root() {
  ((EUID == 0)) && return 0
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# install_packages PACKAGE…   installs into the system, never removing anything for it. Of a PACKAGE
# written a|b|c the first one that there is.
install_packages() {
  local package command='apt-get install -y --no-install-recommends --no-remove' output
  if have_apt && can_be_root; then
    # A list that cannot be refreshed (a third party's source, say) is not our concern yet.
    as_root apt-get -qq update >&2 || say "apt-get update failed; trying with the lists that are there"
  fi
  for package; do command+=" $(first_package "$package")"; done
  { have_apt && can_be_root; } || die "as root, run: $command"
  say "installing: ${command#*--no-remove }"
  # shellcheck disable=SC2086
  output=$(as_root env DEBIAN_FRONTEND=noninteractive $command -qq 2>&1) || die "$output
this failed: $command"
}

# first_package A|B|C   prints the first one that this system's sources offer, or else A
first_package() {
  local package packages
  IFS='|' read -r -a packages <<<"$1"
  for package in "${packages[@]}"; do
    [[ -n $(apt-cache search --names-only "^$package\$" 2>/dev/null) ]] && echo "$package" && return 0
  done
  echo "${packages[0]}"
}

# The address that this Debian takes its main packages from.
debian_mirror() {
  local codename
  if [[ -n ${TIDEMILL_DEBIAN_MIRROR:-} ]]; then echo "$TIDEMILL_DEBIAN_MIRROR"; return 0; fi
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016 # apt's own notation
  # Security updates have a line of their own, whose release is not the plain codename.
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v codename="$codename" '
      $2 == "main" && ($1 == codename || $1 ~ /^(stable|testing|unstable|sid)$/) { print $3; exit }'
}

is_debian() { [[ $(. /etc/os-release 2>/dev/null && echo "${ID:-}") == debian ]]; }

# unpack_packages INTO SUITE PATTERN…   unpacks the newest package matching each PATTERN, with all that
# it depends on, below INTO, as `dpkg-deb -x` does: no maintainer script runs, nothing is registered.
# On Debian the packages come from SUITE of the machine's mirror, elsewhere from the machine's own
# sources. apt is given a state of its own, with no package installed, so it fetches every library.
# Returns 2 if these sources have no such package.
unpack_packages() {
  local into=$1 suite=$2 state pattern package packages=() options deb stale=
  shift 2
  state=$into/.apt
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : >"$state/status"
  options=(
    -qq -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
    -o "Dir::Cache=$state/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o APT::Install-Recommends=0
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0 -o Acquire::Retries=3
    # An old list will do: of a mirror's snapshot, or by a clock that is ahead. It is signed all the same.
    -o Acquire::Check-Valid-Until=false
  )
  if is_debian; then
    local mirror
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "no Debian mirror in apt's sources; set TIDEMILL_DEBIAN_MIRROR to the address of one"
    echo "deb $(debian_keyring) $mirror $suite main" >"$state/sources.list"
    options+=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
      -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null)
  fi
  # One source of several may have failed, and not be needed.
  apt-get "${options[@]}" update >&2 || stale=yes
  for pattern; do
    package=$(apt-cache "${options[@]}" search --names-only "^$pattern\$" | cut -d' ' -f1 | sort -V | tail -n 1)
    if [[ -z $package ]]; then
      [[ -z $stale ]] || die "apt-get update failed, and without it there is no package $pattern"
      return 2
    fi
    packages+=("$package")
  done
  apt-get "${options[@]}" install -y --download-only "${packages[@]}" >&2 || die "cannot download ${packages[*]}"
  for deb in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$deb" "$into" || die "cannot unpack $deb"
  done
  rm -rf "$state"
}

# Debian's own signing keys, wherever the keyring package of this release puts them; without the file,
# the keys that apt trusts for everything.
debian_keyring() {
  local file
  for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
    [[ -r $file ]] && echo "[signed-by=$file]" && return 0
  done
  return 0
}
