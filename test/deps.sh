#!/bin/sh
# Installs what the tests need on Debian, or says what is missing and fails.
set -eu

packages='iproute2 sendmail-bin sendmail-base sendmail-cf sensible-mda m4 perl strace util-linux redis-server
	systemd adduser e2fsprogs procps make man-db groff-base logrotate zsh fish
	python3-flufl.bounce libmail-deliverystatus-bounceparser-perl'

install() {
	missing=
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
	done
	[ -n "$missing" ] || return 0

	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "the tests need these packages:$missing" >&2
		echo "install them (as root, on Debian: apt-get install$missing), then try again" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# shellcheck disable=SC2086 # a list of words
install $packages

# postfix and sendmail exclude each other: its package is only kept, and a test
# unpacks it; the libraries that it needs are installed.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/backscatterd-test
if ! ls "$cache"/postfix_*.deb >/dev/null 2>&1; then
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	cd "$new"
	apt-get download -qq postfix 2>/dev/null || {
		[ "$(id -u)" != 0 ] || apt-get update -qq
		apt-get download -qq postfix
	} || {
		echo "the tests need the package postfix, which cannot be downloaded (as above)" >&2
		echo "put its postfix_*.deb into $cache, then try again" >&2
		exit 1
	}
	mv postfix_*.deb "$cache"
fi
for deb in "$cache"/postfix_*.deb; do
	# shellcheck disable=SC2046 # a list of words
	install $(dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ ]*\).*/\1/p')
done
