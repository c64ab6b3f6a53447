# Unpacks the base tree, lays the overlay over it, settles what differs between builds, and makes the ext4 image.
# Runs as root, or as root of a user namespace. Variables: TREE BASE OVERLAY IMAGE EPOCH ENABLE MASK RELEASE UUID.
set -eu
# Only here may files of other users' ids be removed.
trap 'cd / && rm -rf "$TREE"' EXIT
mkdir "$TREE"
tar -C "$TREE" --numeric-owner --xattrs --xattrs-include=security.capability --exclude='./dev/*' -xpf "$BASE"
# What is written by chance, by time or by the building machine.
cd "$TREE"
rm -rf var/log/* var/cache/* var/lib/apt var/tmp/* tmp/* run/* boot/* root/.[!.]* \
  var/lib/systemd/random-seed var/lib/systemd/catalog var/lib/dbus/machine-id \
  var/lib/dpkg/*-old var/lib/dpkg/lock* var/lib/dpkg/triggers/Lock etc/.pwd.lock etc/*- var/backups/* \
  etc/apt/sources.list etc/apt/sources.list.d etc/apt/preferences.d etc/resolv.conf etc/hostname \
  usr/share/man/* usr/share/info/* usr/share/locale/* usr/share/lintian usr/share/bug
: >etc/machine-id
: >etc/.updated
: >var/.updated
printf '127.0.0.1 localhost\n::1 localhost\n' >etc/hosts
ln -s /run/ccnode/resolv.conf etc/resolv.conf
# The recipe's own files come last: what they say stands.
tar -C "$TREE" --numeric-owner --keep-directory-symlink -xpf "$OVERLAY"
root() { chroot "$TREE" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
for unit in $ENABLE; do root systemctl --quiet enable "$unit" 2>"$TREE.err" || { cat "$TREE.err" >&2; exit 1; }; done
# Never a shell: what systemd would fall back to stays shut, whatever the recipe masks.
for unit in emergency.service rescue.service debug-shell.service $MASK; do root systemctl --quiet mask "$unit" 2>"$TREE.err" || { cat "$TREE.err" >&2; exit 1; }; done
if [ -n "$RELEASE" ]; then
  [ -e "$TREE/sbin/depmod" ] || { echo "[root] modules needs the package kmod: add it to [root] packages" >&2; exit 1; }
  root depmod "$RELEASE"
fi
find . -exec touch -h -m -d "@$EPOCH" {} +
# Blocks: files by 4 KiB, one for each folder and long link; then inodes, journal, bitmaps and a little room.
set -- $(find . -printf '%y %s\n' | awk '{ n++; b += ($1 == "f") ? int(($2 + 4095) / 4096) : 1 } END { print n, b }')
blocks=$(( $2 + $2 / 64 + 2048 + 2048 ))
inodes=$(( blocks / 2 ))
[ $inodes -gt $(( $1 + 512 )) ] || inodes=$(( $1 + 512 ))
blocks=$(( blocks + inodes / 16 ))
rm -f "$IMAGE"
mke2fs -q -F -t ext4 -b 4096 -I 256 -N $inodes -m 1 -L root -U "$UUID" -J size=8 \
  -E "hash_seed=$UUID,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard" -d . "$IMAGE" $blocks
