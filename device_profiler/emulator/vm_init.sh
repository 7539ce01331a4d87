#!/system/bin/sh
# Process 1 of the virtual machine. Arguments of the kernel's command line come as environment: NAME, ADBD, SHIM.
export PATH=/system/bin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
busybox mount -t devpts devpts /dev/pts
busybox mount --bind /vendor/etc/cpuinfo /proc/cpuinfo
for module in /vendor/modules/*.ko; do
  busybox insmod "$module"
done
busybox ifconfig lo 127.0.0.1 up
busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
busybox hostname "$NAME"
exec /system/bin/sh /vendor/etc/phone_init.sh tcp:5555 "$ADBD" "$SHIM"
