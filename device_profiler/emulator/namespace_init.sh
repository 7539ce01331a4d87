#!/bin/sh
# Process 1 of the phone's user, mount, pid, net, ipc and uts namespaces.
# Arguments: FOLDER of the phone (root/, emu/, binfmt/), INTERPRETER, LISTEN (file descriptor), NAME, ADBD, SHIM.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin   # an ordinary user may lack chroot in PATH
folder=$1 interpreter=$2 listen=$3 name=$4 adbd=$5 shim=$6
root=$folder/root
trap 'exit 75' TERM   # the phone's reboot: everything in the namespace ends, the supervisor starts anew

mount -t binfmt_misc binfmt_misc "$folder/binfmt"
printf '%s' ":phone:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$interpreter:PF" > "$folder/binfmt/register"
mount --bind "$root" "$root"
mount --bind "${interpreter%/*}" "$root/emu"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t proc proc "$root/proc"
mount --bind "$root/vendor/etc/cpuinfo" "$root/proc/cpuinfo"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  : > "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
hostname "$name"
chroot "$root" /system/bin/busybox ifconfig lo 127.0.0.1 up
echo 1 > "$root/run/boot.pid"
cd /
while :; do
  chroot "$root" /system/bin/env -i PATH=/system/bin:/vendor/bin HOME=/ TMPDIR=/data/local/tmp \
    ANDROID_ROOT=/system ANDROID_DATA=/data LD_PRELOAD="$shim" ADBD_LISTEN="acceptfd:$listen" "$adbd" &
  status=0
  wait $! || status=$?
  case $status in 126|127) echo "adbd can't be run"; exit 1 ;; esac
  echo "adbd ended with status $status; starting it again"
  sleep 0.2
done
