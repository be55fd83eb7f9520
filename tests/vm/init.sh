#!/bin/busybox sh
# Pid 1 of the guest, started by its kernel from the read-only file system that the host serves. Makes it a usual
# machine: a writable root (in memory), /proc, /sys, /dev, one unified cgroup hierarchy; runs the command; powers off.
# The kernel's command line gives this script its directory as $vmrun.
box=/bin/busybox
cwd=$($box cat "$vmrun/cwd")
$box mount -t proc proc /proc
$box mount -t sysfs sysfs /sys
$box grep -q ' /dev devtmpfs' /proc/mounts || $box mount -t devtmpfs devtmpfs /dev
for module in "$vmrun"/*.ko; do $box insmod "$module"; done

# What is written goes to memory. pivot_root, so that "/" is a mount like any other and jails can pivot in their turn.
$box mount -t tmpfs -o mode=755 tmpfs /mnt
$box mkdir /mnt/written /mnt/work /mnt/root
$box mount -t overlay -o lowerdir=/,upperdir=/mnt/written,workdir=/mnt/work overlay /mnt/root
cd /mnt/root || $box poweroff -f
for dir in proc sys dev; do $box mount --move /$dir $dir; done
$box mkdir -p dev/pts dev/shm run tmp
$box mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
$box mount -t tmpfs -o mode=1777 tmpfs dev/shm
$box mount -t tmpfs -o mode=755 tmpfs run
$box mkdir run/guest run/before
$box cp "$vmrun/command" run/guest/command
case $cwd in # /tmp is new here, but a checkout may lie below it
/tmp/*) $box mkdir run/guest/cwd && $box mount --bind ".$cwd" run/guest/cwd ;;
esac
$box mount -t tmpfs -o mode=1777 tmpfs tmp
case $cwd in
/tmp/*) $box mkdir -p ".$cwd" && $box mount --move run/guest/cwd ".$cwd" ;;
esac
$box pivot_root . run/before
cd / && $box umount -l /run/before && $box rmdir /run/before
$box mount --make-rshared / # as systemd leaves it
[ -e /dev/fd ] || $box ln -s /proc/self/fd /dev/fd

# The options of a systemd machine; every controller given to the children of the root.
$box mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
for controller in $($box cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
$box mkdir -p /mnt/disk
$box mount -t ext4 /dev/vda /mnt/disk && $box chmod 1777 /mnt/disk
$box mkswap /dev/vdb >/dev/null && $box swapon /dev/vdb
$box ip link set lo up
$box hostname guest
tries=0
until [ -c "$(echo /dev/vport*p1)" ] && [ -c "$(echo /dev/vport*p2)" ]; do
    $box usleep 10000
    tries=$((tries + 1))
    [ $tries -lt 500 ] || break
done
$box setsid /bin/sh /run/guest/command </dev/null >"$(echo /dev/vport*p1)" 2>&1
echo $? >"$(echo /dev/vport*p2)"
$box poweroff -f
