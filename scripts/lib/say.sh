# shellcheck shell=bash
# What the scripts say: everything on standard error, so that standard output is for answers.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
