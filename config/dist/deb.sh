#!/bin/sh
# Builds backscatterd_VERSION_ARCH.deb into a folder, by make, Go and dpkg-deb.
# usage: deb.sh FOLDER [VERSION]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=${2:-$(git -C "$src" describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g' || true)}
# Without a tag: by date and commit, below any release.
[ -n "$version" ] || version=0~git$(git -C "$src" show -s --format=%cd.%h --date=format:%Y%m%d)
arch=$(dpkg --print-architecture)

root=$(mktemp -d)
made=$(mktemp -d)
trap 'rm -rf "$root" "$made"' EXIT
chmod 755 "$root"
put() { # mode file target
	install -D -m "$1" "$2" "$root/$3"
}

cd "$src"
mkdir -p "$root/usr/bin"
make -s build BIN="$root/usr/bin/backscatterd" VERSION="$version"

"$root/usr/bin/backscatterd" manual "$made"
for page in "$made"/man?/*; do
	gzip -9n "$page"
	section=$(basename "$(dirname "$page")")
	put 644 "$page.gz" "usr/share/man/$section/$(basename "$page").gz"
done
put 644 "$made/bash/backscatterd" usr/share/bash-completion/completions/backscatterd
put 644 "$made/zsh/_backscatterd" usr/share/zsh/vendor-completions/_backscatterd
put 644 "$made/fish/backscatterd.fish" usr/share/fish/vendor_completions.d/backscatterd.fish

# Safe as it comes: the sweeper says what it would do, the milter is off until a
# domain is named, and tags.
sed -e 's/^# dry_run = false$/dry_run = true/' -e 's/^# socket_group = ""$/socket_group = "smmsp"/' config/default.toml >"$made/backscatterd.toml"
grep -qx 'dry_run = true' "$made/backscatterd.toml"
grep -qx 'socket_group = "smmsp"' "$made/backscatterd.toml"
"$root/usr/bin/backscatterd" -c "$made/backscatterd.toml" config check >/dev/null 2>&1
put 644 "$made/backscatterd.toml" etc/backscatterd/backscatterd.toml
put 644 "$here/debian/logrotate" etc/logrotate.d/backscatterd
for unit in "$here"/systemd/*; do
	put 644 "$unit" "lib/systemd/system/$(basename "$unit")"
done
put 644 "$here/debian/sysusers.conf" usr/lib/sysusers.d/backscatterd.conf
put 644 "$here/debian/tmpfiles.conf" usr/lib/tmpfiles.d/backscatterd.conf
put 644 "$here/m4/backscatterd.m4" usr/share/sendmail/cf/feature/backscatterd.m4
# As they lie here, so that the links between them lead somewhere; nor are they
# compressed. What is there to be copied is where Debian has examples.
for doc in README.md docs/*.md docs/*.png docs/*.svg config/default.toml; do
	put 644 "$doc" "usr/share/doc/backscatterd/$doc"
done
put 644 LICENSE usr/share/doc/backscatterd/copyright
for example in "$here"/examples/* docs/*.json docs/*.tmpl; do
	put 644 "$example" "usr/share/doc/backscatterd/examples/$(basename "$example")"
done
for example in docs/*.json docs/*.tmpl; do
	ln -s "../examples/$(basename "$example")" "$root/usr/share/doc/backscatterd/$example"
done
put 644 "$here/debian/lintian-overrides" usr/share/lintian/overrides/backscatterd
maintainer='backscatterd <backscatterd@users.noreply.github.com>'
LC_ALL=C date -R -d "@$(git -C "$src" log -1 --format=%ct 2>/dev/null || date +%s)" >"$made/date"
gzip -9nc >"$made/changelog.gz" <<END
backscatterd ($version) unstable; urgency=medium

  * What has changed is told at https://github.com/backscatterd/backscatterd

 -- $maintainer  $(cat "$made/date")
END
put 644 "$made/changelog.gz" usr/share/doc/backscatterd/changelog.gz

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<END
Package: backscatterd
Version: $version
Architecture: $arch
Section: mail
Priority: optional
Maintainer: $maintainer
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: adduser
Recommends: sendmail-bin
Suggests: sendmail-cf
Homepage: https://github.com/backscatterd/backscatterd
Description: backscatter guard for sendmail
 A sweeper takes stuck bounces and spam out of sendmail's queues, by rules and
 under sendmail's own locks, with a dry run, an audit log and a way back. A
 milter signs and records what leaves, and tags bounces that come in.
END
printf '%s\n' /etc/backscatterd/backscatterd.toml /etc/logrotate.d/backscatterd >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 755 "$here/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\n' | sort | xargs md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$root" "$out/backscatterd_${version}_$arch.deb"
