#!/bin/sh
# Installs what the tests need on Debian, or says what is missing and fails.
set -eu

packages='sendmail-bin sendmail-base sendmail-cf sensible-mda m4 perl strace util-linux
	python3-flufl.bounce libmail-deliverystatus-bounceparser-perl'

missing=
for p in $packages; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "the tests need these packages:$missing" >&2
	echo "install them (as root, on Debian: apt-get install$missing), then try again" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
