#!/system/bin/sh
# Keeps adbd running, inside the phone (forms without a namespace of their own). Arguments: LISTEN, ADBD, SHIM.
# A reboot ends every process of the phone: as process 1 by killing them, else by ending, which ends the rest.
listen=$1 adbd=$2 shim=$3
restart() {
  [ $$ = 1 ] || exit 75
  kill -9 -1
}
trap restart TERM
echo $$ > /run/boot.pid
while :; do
  env -i PATH=/system/bin:/vendor/bin HOME=/ TMPDIR=/data/local/tmp ANDROID_ROOT=/system ANDROID_DATA=/data \
    LD_PRELOAD="$shim" ADBD_LISTEN="$listen" "$adbd" &
  wait $!
  sleep 0.2
done
