#!/bin/bash
# A real systemd as process 1 of namespaces, for tests of the unit and the packages. Needs root.
#
#   boot-systemd.sh base FILE.tar      a small Debian with systemd in it, from apt's own mirror
#   boot-systemd.sh boot FILE.tar DIR  boots it in the foreground; ends with the machine
#   boot-systemd.sh clean DIR          removes the control groups that a killed machine has left
#
# The machine's disk is a tmpfs in a mount namespace of its own: when its processes are gone, so is
# everything else. The child of the foreground process is the machine's process 1: enter it with
# nsenter. It has no network but loopback, and no limits on memory or tasks.
set -euo pipefail

base() {
  local file=$1 mirror suite
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sed -n 1p)
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # unpacked in memory where there is room: dpkg syncs each file, which takes minutes on a disk
  local room
  room=$(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1 || echo 0)
  if [ "$room" -gt 1500 ]; then export TMPDIR=/dev/shm; fi
  mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,dbus,procps,ca-certificates,sqlite3,adduser \
    --customize-hook='rm -f "$1/usr/sbin/policy-rc.d"; : > "$1/etc/machine-id"; mkdir -p "$1/var/log/journal"' \
    --customize-hook='for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
      dpkg-db-backup.timer console-getty.service getty@tty1.service systemd-timesyncd.service; do
      ln -sf /dev/null "$1/etc/systemd/system/$unit"; done' \
    --customize-hook='mkdir -p "$1/etc/systemd/journald.conf.d";
      printf "[Journal]\nRateLimitIntervalSec=0\n" > "$1/etc/systemd/journald.conf.d/all.conf"' \
    "$suite" "$file" "$mirror"
}

# Inside the new namespaces: fills the root with what a kernel would offer, and becomes systemd.
become_systemd() {
  local root=$1 node major minor
  cd "$root"
  mount -t proc -o nosuid,nodev,noexec proc proc
  mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
  mount -t tmpfs -o nosuid,strictatime,mode=755 tmpfs dev
  while read -r node major minor; do mknod -m 666 "dev/$node" c "$major" "$minor"; done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs dev/shm
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for node in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${node%:*}" "dev/${node#*:}"; done
  mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs tmp
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
  echo lab > etc/hostname
  printf '127.0.0.1 localhost lab\n::1 localhost\n' > etc/hosts
  hostname lab
  ip link set lo up
  mkdir .before
  pivot_root . .before
  cd /
  umount -l /.before
  rmdir /.before
  # systemd leaves this to whoever starts it; without it LoadCredential= gives an empty folder
  mount --make-rshared /
  exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --show-status=0
}

# In a mount namespace of our own: disk and control group, then the other namespaces.
prepare() {
  local file=$1 dir=$2 group
  mkdir -p "$dir/root" "$dir/groups"
  mount -t tmpfs -o mode=755,size=3G tmpfs "$dir/root"
  tar -C "$dir/root" -xf "$file" --exclude='./dev/*'
  mount -t cgroup2 cgroup2 "$dir/groups"
  group=$dir/groups/$(group_name "$dir")
  mkdir -p "$group"
  # before the control group namespace is made: it is rooted where its maker is
  echo $$ > "$group/cgroup.procs"
  exec unshare --mount --uts --ipc --net --cgroup --pid --fork --kill-child --propagation private \
    bash "$0" become-systemd "$dir/root"
}

group_name() { echo "crmsync-lab-$(basename "$1")"; }

clean() {
  mkdir -p "$1/groups"
  mount -t cgroup2 cgroup2 "$1/groups"
  # the last processes of a killed machine are reaped a moment later
  local group tries=100
  group=$1/groups/$(group_name "$1")
  while [ -d "$group" ] && [ "$tries" -gt 0 ]; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
    tries=$((tries - 1))
  done
}

verb=${1:-}
case "$verb" in
  base) base "$2" ;;
  boot) exec unshare --mount --propagation private bash "$0" prepare "$2" "$3" ;;
  prepare) prepare "$2" "$3" ;;
  become-systemd) become_systemd "$2" ;;
  clean) exec unshare --mount --propagation private bash "$0" clean-inside "$2" ;;
  clean-inside) clean "$2" ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
